"""assay policy preview | sweep: what another policy would have made of the same history."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Group, RenderableType

from infra.cli.output import Json, emit, plain, progress, table
from infra.cli.policies import File, Set, Slice, Whose, asked
from infra.errors import AssayError, Exit
from infra.policies import tuning
from infra.settings import Settings
from infra.wiring import bootstrap, key_store, settings

if TYPE_CHECKING:
    from infra.history.choosing import At

Since = Annotated[str | None, Parameter(help="Only history from here on: an offset, or a time in UTC; default: all of it.")]
Price = Annotated[float, Parameter(validator=Number(gte=0), help="What a vote costs, in any currency.")]
Said = dict[str, Any]


def preview(
    *,
    project: Whose = None,
    slice_: Slice = None,
    file: File = None,
    set: Set = None,
    since: Since = None,
    flips: Annotated[int, Parameter(validator=Number(gte=0), help="How many flips are shown with their texts.")] = 20,
    price_per_vote: Price = 0.0,
    cache: Annotated[bool, Parameter(help="Take a preview of the same policy, window and code that was kept.")] = True,
    json: Json = False,
) -> Exit:
    """Say what a changed policy would change, by a replay of history under it. Nothing is written but the preview itself.

    First the replay must reproduce what production said, or the preview is refused. Exit code 0: nothing would change;
    3: something would; 1: refused.

    Examples:
        assay policy preview --project sp --set overlap_min=3
        assay policy preview --file policy.toml --flips 40 --json
        assay policy preview --project sp --set approve_confidence_permille=950 --since 2026-01-01T00:00:00Z --price-per-vote 0.08
    """
    from infra.whatif.preview import Request
    from infra.whatif.preview import preview as previewed

    own, wish = settings(), asked(file, set, project, slice_)
    before = asyncio.run(tuning.book(bootstrap(own))).deciding(wish.project, wish.slice).policy
    policy = tuning.changed(before, wish.set)
    request = Request(wish.project, policy, wish.slice or "", _start(since), flips, price_per_vote, cache)
    with _paced("previewing", json) as watch:
        found = previewed(own, request, watch)
    told = _readable(found.said, own) | {"cached": found.cached, "path": None if found.path is None else str(found.path)}
    emit(told, json, _render)
    if not found.said["control"]["holds"]:
        return Exit.FAILED
    return Exit.DIFFERS if found.said["differs"] else Exit.OK


def _readable(said: Said, own: Settings) -> Said:
    """The same with the texts of its flips opened, for whoever asks now: null where they were erased."""
    from agents.keys import TextReader

    if not said["control"]["holds"]:
        return said
    reader = TextReader(key_store(own))

    def opened(one: Said) -> str | None:
        return one["text"] and reader.read(one["subject"], one["revision"], one["text"], one["by"])

    return said | {"flips": said["flips"] | {"shown": [one | {"text": opened(one)} for one in said["flips"]["shown"]]}}


def _start(since: str | None) -> "At":
    from infra.history.choosing import At, bound

    return At(offset=0) if since is None else bound(since)


class _Pace:
    """How fast it goes, and how long it still takes."""

    def __init__(self, total: int) -> None:
        self.total, self.began = total, time.monotonic()

    def said(self, done: int) -> str:
        rate = done / max(1e-3, time.monotonic() - self.began)
        left = (self.total - done) / rate if rate else 0.0
        return f"{done:,} of {self.total:,} events, {rate:,.0f} a second, some {left:.0f} s left"


@contextmanager
def _paced(what: str, json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress over several steps of work, by name."""
    with progress(json) as bar:
        task, paces = bar.add_task(what, total=None), dict[str, _Pace]()

        def watch(step: str, done: int, total: int) -> None:
            said = paces.setdefault(step, _Pace(total)).said(done)
            bar.update(task, description=f"{step}: {said}", completed=done, total=total)

        yield watch


# --- a preview in words ------------------------------------------------------------------------


def _render(said: Mapping[str, Any]) -> RenderableType:
    control = said["control"]
    if not control["holds"]:
        rows = [(one["what"], one["partition"], one["id"]) for one in control["differences"]]
        head = (
            f"Refused: the replay does not reproduce production ({control['reproduced']:,} of {control['expected']:,} verdicts)."
        )
        return Group(head, table(("difference", "#partition", "fact"), rows), "`assay verify` compares all of the state.")
    parts: list[RenderableType] = [
        f"{control['reproduced']:,} of {control['expected']:,} verdicts reproduced, {said['events']:,} events"
        + (f"; {said['behind']:,} events that no worker has handled yet are left out" if said["behind"] else ""),
        *_caution(said),
        "",
        _matrix(said),
        "",
    ]
    if said["nothing_flips_because"]:
        parts.append(said["nothing_flips_because"])
    parts += [*_stands(said), *_votes(said), *_flips(said), *_people(said), *_slices(said), *_downstream(said)]
    parts.append(f"preview {said['digest']}" + (" (kept from before)" if said["cached"] else ""))
    return Group(*parts)


def _caution(said: Mapping[str, Any]) -> list[str]:
    """What a number below would be taken for, and is not."""
    if not said["subjects"]:
        where = f"{said['project']}/{said['slice']}" if said["slice"] else said["project"]
        return [
            f"nothing of {where} is in this window: is it the name of a project? `assay policy show` lists those with policies"
        ]
    if not said["changed"] and said["differs"]:
        return ["the policy is the one in force; what differs below comes of the policies that were in force before it"]
    return []


def _matrix(said: Mapping[str, Any]) -> RenderableType:
    names = [*said["matrix"], "undetermined"]
    rows = [(old, *(f"{row[name]:,}" for name in names)) for old, row in said["matrix"].items()]
    return table(("now", *(f"#{name}" for name in names)), rows, title="subjects now (rows) and under the proposal")


def _stands(said: Mapping[str, Any]) -> list[RenderableType]:
    because = said["undetermined"]["because"]
    rows = [
        (name, f"{one['before']:,}", _range(one["low"] - one["before"], one["high"] - one["before"]))
        for name, one in said["stands"].items()
    ]
    found: list[RenderableType] = [table(("", "#now", "change"), rows)]
    if because:
        told = ", ".join(f"{count:,} {_UNKNOWN[name]}" for name, count in because.items())
        found.append(f"undetermined: {told}")
    return [*found, ""]


_UNKNOWN = {
    "votes": "would have asked for votes that nobody was asked for",
    "turned": "were turned by votes that would not have been asked for",
    "recheck": "would have been checked once more",
    "person": "rest on work of somebody who would have been handed none",
}


def _range(low: float, high: float) -> str:
    return f"{low:+,}" if low == high else f"{low:+,} to {high:+,}"


def _votes(said: Mapping[str, Any]) -> list[RenderableType]:
    votes, golden = said["votes"], said["golden"]
    told = (
        f"votes: {votes['saved']:,} of {votes['cast']:,} saved, {votes['needed_low']:,} to {votes['needed_high']:,} more needed"
    )
    if votes["price_per_vote"]:
        told += f"; cost {_range(votes['cost_low'], votes['cost_high'])}"
    found: list[RenderableType] = [told]
    if golden["before"]["total"]:
        was, then = (f"{one['right']} of {one['total']} [{one['low']:.3f}-{one['high']:.3f}]" for one in golden.values())
        found.append(f"right on golden tasks: {was} now, {then} under the proposal")
    return [*found, ""]


def _flips(said: Mapping[str, Any]) -> list[RenderableType]:
    rows = [
        (one["subject"], one["old"], one["new"], plain((one["text"] or "")[:120]), plain(one["why_old"]), plain(_why_then(one)))
        for one in said["flips"]["shown"]
    ]
    if not rows:
        return []
    title = (
        f"{len(rows)} of {said['flips']['total'] + said['undetermined']['subjects']:,} that stand otherwise or are undetermined"
    )
    return [table(("subject", "now", "then", "text", "why now", "why then"), rows, title=title), ""]


def _why_then(one: Mapping[str, Any]) -> str:
    """An undetermined one has a reason too, by what was cast: alone it would read as if that were what would have come."""
    unknown = _UNKNOWN.get(one["unknown"])
    return f"Open: {unknown}. By what was cast: {one['why_new']}" if unknown else str(one["why_new"])


def _people(said: Mapping[str, Any]) -> list[RenderableType]:
    rows = [
        (
            one["annotator"], one["task"], one["rule"], one["change"], one["action"], one["against"], one["total"],
            f"[{one['low']:.3f}-{one['high']:.3f}]", one["limit_permille"] / 1_000,
        )
        for one in said["people"]
    ]  # fmt: skip
    columns = ("person", "task", "rule", "change", "action", "#against", "#of", "interval", "#limit")
    return [table(columns, rows, title=f"{len(rows)} people flagged or released"), ""] if rows else []


def _slices(said: Mapping[str, Any]) -> list[RenderableType]:
    rows = []
    for one in said["slices"]:
        approved, share, told = one["approved"], one["share_of_approved"], one.get("diversity")
        vendi = "" if told is None else f"{told['before']['vendi']} -> {told['after']['vendi']}"
        then = f"{approved['low']:,}" if approved["low"] == approved["high"] else f"{approved['low']:,} to {approved['high']:,}"
        rows.append((one["slice"], f"{approved['before']:,}", then, share["before"], share["low"], vendi))
    columns = ("slice", "#approved now", "#then", "#share now", "#share then", "vendi")
    return [table(columns, rows), ""] if rows else []


def _downstream(said: Mapping[str, Any]) -> list[RenderableType]:
    rows = [
        (one["snapshot"], one["rows"], one["flips"], one["undetermined"], ", ".join(one["models"])) for one in said["downstream"]
    ]
    return [table(("snapshot", "#rows", "#flip", "#undetermined", "models"), rows), ""] if rows else []


# --- a sweep -----------------------------------------------------------------------------------


def sweep(
    *,
    project: Whose = None,
    slice_: Slice = None,
    set: Annotated[str, Parameter(name="--set", help="threshold=FROM..TO:STEP")],
    since: Since = None,
    price_per_vote: Price = 0.0,
    json: Json = False,
) -> None:
    """Say what every value of one threshold would lead to, in one pass over history. It reads only.

    Shares are of all subjects, at least and at most; the interval is Wilson's at 95 %.
    Example: assay policy sweep --project sp --set approve_confidence_permille=800..980:20 --price-per-vote 0.08
    """
    from infra.whatif.preview import Request
    from infra.whatif.sweep import Point
    from infra.whatif.sweep import sweep as swept

    name, values = _values(set)
    wishes = [asked(None, [f"{name}={value}"], project, slice_) for value in values]
    first = wishes[0]
    before = asyncio.run(tuning.book(bootstrap(settings()))).deciding(first.project, first.slice).policy
    request = Request(first.project, before, first.slice or "", _start(since), 0, price_per_vote)
    policies = [tuning.changed(before, wish.set) for wish in wishes]
    points = [Point(value, request._replace(policy=policy)) for value, policy in zip(values, policies, strict=True)]
    with _paced("sweeping", json) as watch:
        found = swept(settings(), name, points, watch)
    emit(found, json, _points)


def _values(said: str) -> tuple[str, list[int]]:
    name, _, span = said.partition("=")
    try:
        ends, _, step = span.partition(":")
        low, high = (int(each) for each in ends.split(".."))
        values = range(low, high + 1, int(step or 1))
    except ValueError:
        values = range(0)
    # Not its length, which may be more than there are numbers for.
    if not values or values[MOST_VALUES:]:
        hint = f"as in approve_confidence_permille=800..980:20, at most {MOST_VALUES} values"
        raise AssayError("no values to sweep", got=said, hint=hint)
    return name.strip(), list(values)


MOST_VALUES = 200


def _points(said: Mapping[str, Any]) -> RenderableType:
    title = f"{said['threshold']}; shares in %, votes a subject; {said['events']:,} events; * is in force"
    stands = ("approved", "rejected", "escalated", "waiting", "undetermined")
    cost = ("#cost",) if any(max(one["cost"]) for one in said["points"]) else ()
    columns = ("#value", *(f"#{name}" for name in stands), "#votes", *cost, "golden", "#yield")
    return table(columns, [_point(one, one["value"] == said["in_force"], stands, bool(cost)) for one in said["points"]], title)


def _point(one: Mapping[str, Any], in_force: bool, stands: Sequence[str], priced: bool) -> list[str]:
    shares = [_ends(one[name], lambda share: f"{100 * share:.1f}") for name in stands]
    cost = [_ends(one["cost"], lambda cost: f"{cost:,.2f}")] if priced else []
    low, high = one["golden_interval"]
    golden = "" if one["golden_accuracy"] is None else f"{one['golden_accuracy']:.3f} [{low:.3f}-{high:.3f}]"
    votes, approved = (
        _ends(one["votes_per_subject"], lambda count: f"{count:.2f}"),
        _ends(one["yield"], lambda count: f"{count:,}"),
    )
    return [f"{one['value']}{' *' if in_force else ''}", *shares, votes, *cost, golden, approved]


def _ends(value: Any, said: Callable[[float], str]) -> str:
    """A number, or the ends of what history leaves open, the lower one first."""
    ends = value if isinstance(value, Sequence) else [value]
    return "-".join(dict.fromkeys(said(end) for end in sorted(end for end in ends if end is not None)))
