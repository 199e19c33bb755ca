"""A preview: what a proposal would change, checked, counted, signed with a digest, and kept."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from agents.log_reading import read_range
from agents.settings import WorkerOptions
from infra import runs
from infra.code import code_version
from infra.datasets import lineage
from infra.datasets.snapshots import load_all
from infra.errors import AssayError, Exit
from infra.history.choosing import At
from infra.history.kafka import KafkaHistory
from infra.history.source import History
from infra.kafka.reading import ends, live_states
from infra.policies import previews
from infra.policies.tuning import book, policy_digest
from infra.settings import Settings
from infra.settling import committed_by
from infra.whatif.replaying import Control, Found, Job, Replay, Window
from infra.wiring import bootstrap
from schemas.events import AnyEvent, SubmissionEdited, SubmissionReceived, TrainingFinished
from schemas.manifest import Manifest
from schemas.policy import Policy
from schemas.topics import EVENTS, VERDICTS
from schemas.wire import Undecodable, decode
from streams.annotators import ANNOTATORS_PROJECTION
from streams.annotators import Row as PersonRow
from streams.consequences import STANDS, UNDETERMINED, Compared, Flip, Text, shares
from streams.diversity import DIVERSITY, with_vectors
from streams.diversity import Row as SliceRow
from streams.flagging import Change, changes, treat_alike
from streams.indices import of_embeddings
from streams.policy_book import difference
from streams.projection import Json
from streams.rates import rate_of
from streams.rules import DEFAULT_RULES
from streams.whatif import Proposal

Watch = Callable[[str, int, int], None]


class Request(NamedTuple):
    """What is asked: a policy for a project, or for one slice of it, over the history from `since` on."""

    project: str
    policy: Policy
    slice: str = ""
    since: At = At(offset=0)
    flips: int = 20
    price_per_vote: float = 0.0
    cache: bool = True


class Asked(NamedTuple):
    """A request against what there is: the policy in force, and the records to fold."""

    before: Policy
    version: int
    next_version: int
    windows: tuple[Window, ...]
    #: Events that production has not handled yet, and which are left out therefore.
    behind: int


# --- what there is -----------------------------------------------------------------------------


async def asked(settings: Settings, history: History, request: Request) -> Asked:
    """Raises AssayError where production has handled nothing yet."""
    brokers = bootstrap(settings)
    found = await book(brokers)
    now = found.deciding(request.project, request.slice or None)
    windows, behind = await _windows(settings, brokers, history, request.since)
    if not any(window.end for window in windows):
        hint = "`assay up` runs the workers; a preview is checked against what they decided"
        raise AssayError("no worker has handled anything yet", where=EVENTS.name, hint=hint, exit_code=Exit.FAILED)
    return Asked(now.policy, now.version, found.next_version(request.project), windows, behind)


async def _windows(settings: Settings, brokers: str, history: History, since: At) -> tuple[tuple[Window, ...], int]:
    found, behind = [], 0
    log_ends, handled = await history.ends(EVENTS.name), await _handled(settings, brokers)
    # After what is handled was asked for: the facts of all of it are on the log by now.
    said = await ends(brokers, VERDICTS.name)
    for place, log_end in sorted(log_ends.items()):
        end, partition = min(log_end, handled.get(place, 0)), place[1]
        behind += log_end - end
        start = await since.offset_in(history, place, end)
        found.append(Window(partition, start, end, said.get((VERDICTS.name, partition), 0)))
    return tuple(found), behind


async def _handled(settings: Settings, brokers: str) -> dict[tuple[str, int], int]:
    """Up to where the workers of review have made everything durable."""
    found: dict[tuple[str, int], int] = {}
    for group in sorted({settings.worker.group, WorkerOptions().group, WorkerOptions(agents="review").group}):
        for place, offset in (await committed_by(brokers, group)).items():
            found[place] = max(offset, found.get(place, 0))
    return found


# --- the replay --------------------------------------------------------------------------------


class Preview(NamedTuple):
    """A preview as JSON, where it is kept, and whether it was kept already."""

    said: Json
    path: Path | None
    cached: bool


def preview(settings: Settings, request: Request, watch: Watch = lambda what, done, total: None) -> Preview:
    """Replay, check, and say what would change. A preview whose replay does not reproduce production is told and not kept."""
    history = KafkaHistory(bootstrap(settings))
    about = asyncio.run(asked(settings, history, request))
    manifests = load_all(settings)
    key = _key(request, about, manifests)
    kept = previews.kept(settings.data_dir, key) if request.cache else None
    if kept is not None:
        return Preview(kept, previews.path_of(settings.data_dir, kept["digest"]), True)
    proposal = Proposal(request.project, about.next_version, request.policy, request.slice)
    between = _between(about.before, request.policy)
    too_new = settings.worker.too_new
    job = Job(history, about.windows, (proposal,), request.flips, too_new=too_new, between=between)
    with Replay(job) as replay:
        found = replay.found(None, lambda done: watch("replaying", done, replay.total))
        if not found.control.holds:
            return Preview(_refused(request, about, found.control), None, False)
        watch("people and slices", replay.total, replay.total)
        people = asyncio.run(_people(settings, request, about, found.compared[0]))
        held_back = {one.annotator: one.restricted_from for one in people if one.restricted_from is not None}
        if held_back:
            found = replay.found(held_back)
    said = _said(settings, request, about, found, people, manifests)
    said["digest"] = previews.digest_of(said)
    return Preview(said, previews.keep(settings.data_dir, key, said), False)


def _between(before: Policy, after: Policy) -> tuple[int, int, bool] | None:
    """The one confidence that is another, as a stretch; None where anything else is, too."""
    differing = [name for name in Policy.model_fields if getattr(before, name) != getattr(after, name)]
    sides = {"approve_confidence_permille": True, "reject_confidence_permille": False}
    if len(differing) != 1 or differing[0] not in sides:
        return None
    low, high = sorted((getattr(before, differing[0]), getattr(after, differing[0])))
    return low, high, sides[differing[0]]


async def _people(settings: Settings, request: Request, about: Asked, found: Compared) -> list[Change]:
    before = about.before
    # Rules about people are the project's: a slice's policy changes none.
    after = before if request.slice else request.policy
    if treat_alike(before, after) and not found.judgements:
        return []
    rows: dict[str, PersonRow] = {}
    in_force = DEFAULT_RULES
    async for state in live_states(bootstrap(settings), ANNOTATORS_PROJECTION):
        rows |= state.rows
        in_force = state.control.get(request.project, in_force)
    return changes(rows, in_force, in_force.policy if request.slice else after, request.project, found.judgements)


# --- what it says ------------------------------------------------------------------------------


def _scope(request: Request, about: Asked) -> Json:
    return {
        "project": request.project,
        "slice": request.slice or None,
        "based_on": about.version,
        "policy_digest": policy_digest(request.policy),
        "changed": difference(about.before, request.policy),
        "code_version": code_version(),
        "window": {f"{EVENTS.name}/{one.partition}": [one.start, one.end] for one in about.windows},
        "behind": about.behind,
    }


def _control(control: Control) -> Json:
    counts = {name: getattr(control, name) for name in ("holds", "expected", "reproduced", "missing", "altered", "unexpected")}
    return {**counts, "differences": control.differences[:20]}


def _refused(request: Request, about: Asked, control: Control) -> Json:
    return {**_scope(request, about), "control": _control(control), "differs": None, "digest": None}


def _said(
    settings: Settings,
    request: Request,
    about: Asked,
    found: Found,
    people: list[Change],
    manifests: list[Manifest],
) -> Json:
    one = found.compared[0]
    stands = shares(one)
    moved = sum(count for (_, _, new), count in one.moves.items() if new != UNDETERMINED)
    differs = bool(one.moves or people or any(old != new for old, new in one.choices))
    return {
        **_scope(request, about),
        "control": _control(found.control),
        "events": found.events,
        "differs": differs,
        "subjects": sum(one.before(stand) for stand in STANDS),
        "stands": stands,
        "matrix": matrix(one),
        "undetermined": {"subjects": one.undetermined, "because": dict(sorted(one.unknown.items()))},
        "flips": {"total": moved, "shown": asyncio.run(_flips(bootstrap(settings), found.flips, request.flips))},
        "nothing_flips_because": None if differs else _nothing(about.before, request.policy, found),
        "votes": _votes(one, request.price_per_vote),
        "golden": {when: _golden(one, when) for when in ("before", "after")},
        "people": [_person(change) for change in people],
        "slices": asyncio.run(_slices(settings, request, one)),
        "comparisons": {f"{old} -> {new}": count for (old, new), count in sorted(one.choices.items())},
        "downstream": downstream(settings, manifests, one),
        "predicted": {
            **{stand: {name: stands[stand][name] for name in ("before", "low", "high")} for stand in STANDS},
            "flips": moved,
            "undetermined": one.undetermined,
        },
    }


def matrix(one: Compared) -> dict[str, dict[str, int]]:
    """Old stand -> new stand -> subjects."""
    names = (*STANDS, UNDETERMINED)
    found = {old: dict.fromkeys(names, 0) for old in STANDS}
    for (_, old), count in one.stands.items():
        if old in found:
            found[old][old] += count
    for (_, old, new), count in one.moves.items():
        if old in found and new in names:
            found[old][old] -= count
            found[old][new] += count
    return found


def _nothing(before: Policy, after: Policy, found: Found) -> str:
    between = _between(before, after)
    if before == after:
        return "0 verdicts change, because the policy is the one in force"
    if between is None:
        return "0 verdicts change in this window"
    low, high, approving = between
    near = ", ".join(f"{one / 1000:.3f}" for one in found.nearest if one is not None) or "none"
    side = "for approval" if approving else "against approval"
    stretch = f"between {low / 1000:.3f} and {high / 1000:.3f}"
    return f"0 verdicts change, because nothing in this window has a confidence {side} {stretch} (nearest {near})"


def _votes(one: Compared, price: float) -> Json:
    low, high = one.needed_low - one.votes_saved, one.needed_high - one.votes_saved
    counts = {"cast": one.votes, "saved": one.votes_saved, "needed_low": one.needed_low, "needed_high": one.needed_high}
    prices = {"price_per_vote": price, "cost_low": round(low * price, 2), "cost_high": round(high * price, 2)}
    return {**counts, "more_low": low, "more_high": high, **prices}


def _golden(one: Compared, when: str) -> Json:
    right, wrong = one.golden[when, "right"], one.golden[when, "wrong"]
    rate = rate_of(right, right + wrong)
    value = None if rate.rate is None else round(rate.rate, 4)
    return {"right": right, "total": rate.total, "accuracy": value, "low": round(rate.low, 4), "high": round(rate.high, 4)}


def _person(change: Change) -> Json:
    rate = rate_of(change.against, change.total)
    return {**change._asdict(), "low": round(rate.low, 4), "high": round(rate.high, 4)}


async def _flips(brokers: str, drawn: list[Flip], most: int) -> list[Json]:
    found: list[Json] = []
    texts = await asyncio.gather(*(_text_at(brokers, flip) for flip in drawn[:most]))
    for flip, text in zip(drawn[:most], texts, strict=True):
        why = {"why_old": flip.why_old, "why_new": flip.why_new, "partition": flip.partition}
        found.append({**flip.moved._asdict(), **text._asdict(), **why})
    return found


class _Text(NamedTuple):
    """A text as the log has it, sealed: previews are kept, and words are not to outlive their key there. With what opens it."""

    text: str | None = None
    revision: int = 0
    by: str = ""


async def _text_at(brokers: str, flip: Flip) -> _Text:
    found = [_Text()]
    if flip.place < 0:
        return found[0]
    # One record, where a fetch has thousands; and to the end, so that its consumer is closed.
    place = (EVENTS.name, flip.partition)
    async for batch in read_range(brokers, place, flip.place, flip.place + 1, max_records=1):
        for raw in batch:
            with contextlib.suppress(Undecodable):
                data = decode(raw.value or b"").data
                if isinstance(data, SubmissionReceived):
                    found.append(_Text(data.text, 1, data.writer))
                elif isinstance(data, SubmissionEdited):
                    found.append(_Text(data.text, data.revision, data.editor))
    return found[-1]


# --- slices ------------------------------------------------------------------------------------


async def _slices(settings: Settings, request: Request, one: Compared) -> list[Json]:
    """Balance and diversity of every slice, before and after; what is undetermined stays where it is in `after`."""
    live: dict[str, SliceRow] = {}
    if one.texts:
        async for state in live_states(bootstrap(settings), DIVERSITY):
            live |= state.rows
    names = sorted({name for name, _ in one.stands})
    total = {when: sum(_approved(one, name)[when] for name in names) for when in ("before", "low", "high")}
    return [_slice(name, one, live.get(name), [text for text in one.texts if text.slice == name], total) for name in names]


def _approved(one: Compared, name: str) -> dict[str, int]:
    own = Compared(
        stands=one.stands.__class__({key: count for key, count in one.stands.items() if key[0] == name}),
        moves=one.moves.__class__({key: count for key, count in one.moves.items() if key[0] == name}),
        possible=one.possible.__class__({key: count for key, count in one.possible.items() if key[0] == name}),
    )
    low, high = own.after("approved")
    return {"before": own.before("approved"), "low": low, "high": high}


def _slice(name: str, one: Compared, live: SliceRow | None, texts: list[Text], total: Mapping[str, int]) -> Json:
    approved = _approved(one, name)
    balance = {when: round(count / total[when], 4) if total[when] else None for when, count in approved.items()}
    said: Json = {"slice": name, "approved": approved, "share_of_approved": balance}
    if live is not None:
        said["diversity"] = {"before": _indices(live), "after": _indices(_after(live, texts))}
    return said


def _after(live: SliceRow, texts: list[Text]) -> SliceRow:
    for sign in (1, -1):
        live = with_vectors(live, [text.embedding for text in texts if text.change == sign and text.model == live.model], sign)
    return live


def _indices(row: SliceRow) -> Json:
    found = of_embeddings(row.embedded, row.sums, row.moments)
    return {"texts": found.total, "mean_pairwise_cosine": round(found.mean_pairwise_cosine, 5), "vendi": round(found.vendi_1, 3)}


# --- what was made from it ---------------------------------------------------------------------


def downstream(settings: Settings, manifests: list[Manifest], one: Compared) -> list[Json]:
    """Sealed snapshots with rows that would no longer be approved, or of which nobody can say; and the models tuned on them."""
    gone = {moved.subject for moved in one.moved if moved.old == "approved" and moved.new != UNDETERMINED}
    unknown = {moved.subject for moved in one.moved if moved.old == "approved" and moved.new == UNDETERMINED}
    if not manifests or not gone | unknown:
        return []
    found, said = [], runs.said(settings)
    for manifest in manifests:
        subjects = {name for _, ends in lineage.ids_of(settings, manifest) for name in ends}
        flips, undetermined = len(subjects & gone), len(subjects & unknown)
        if flips or undetermined:
            models = [event.subject for event in said if _was_trained_on(event, manifest)]
            about = {"snapshot": manifest.name, "digest": manifest.content_digest, "rows": manifest.rows}
            found.append({**about, "flips": flips, "undetermined": undetermined, "models": models})
    return found


def _was_trained_on(event: AnyEvent, manifest: Manifest) -> bool:
    return isinstance(event.data, TrainingFinished) and lineage.uses(event, manifest.content_digest)


# --- signed ------------------------------------------------------------------------------------


def _key(request: Request, about: Asked, manifests: list[Manifest]) -> str:
    shown = {"flips": request.flips, "price": request.price_per_vote, "snapshots": [one.content_digest for one in manifests]}
    return previews.digest_of(_scope(request, about) | shown)
