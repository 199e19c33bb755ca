"""assay annotators list | show | compare | agreement | enroll: people's rates and flags, and how alike they vote."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import Group, RenderableType

from infra import annotators
from infra.cli.output import DryRun, Json, emit, note, table
from infra.errors import AssayError
from infra.kafka.topics import ensure_topics
from infra.wiring import bootstrap, settings
from schemas.events import AnnotatorEnrolled
from streams.agreement import Sums, alpha, compared
from streams.likeness import Pair, row_shares
from streams.people import Person, detail, summary
from streams.rules import DEFAULT_RULES

Project = Annotated[str | None, Parameter(help="Only this project.")]
Sort = Literal["over-limit", "rejection", "disagreement", "golden", "votes", "annotator"]
Names = Annotated[list[str], Parameter(negative="", help="May be repeated; without any, everything goes.")]


def list_all(
    *,
    project: Project = None,
    sort: Annotated[
        Sort, Parameter(help="By the lower bound over the limit, by that of one rate, or by volume or name.")
    ] = "over-limit",
    json: Json = False,
) -> None:
    """List people by project: rates with their 95 % Wilson intervals, time on task, and what their flags lead to.

    Whoever is worst by the lower bound of a rate over its limit comes first, so that one of one never outranks forty of a
    hundred. Example: assay annotators list --project sp --sort golden --json
    """
    found = [one for one in _people() if project in (None, one.project)]
    emit([summary(one) for one in sorted(found, key=lambda one: _rank(one, sort))], json, _list)


def _people(annotator: str | None = None) -> list[Person]:
    async def read() -> list[Person]:
        return [one async for one in annotators.people(bootstrap(settings())) if annotator in (None, one.annotator)]

    return asyncio.run(read())


def _rank(one: Person, sort: Sort) -> tuple[float, str, str]:
    name = (one.annotator, f"{one.project}/{one.task}")
    if sort == "annotator":
        return 0.0, *name
    if sort == "votes":
        return -float(one.tally.counts["timed_votes"]), *name
    return -(one.over_limit()[0] if sort == "over-limit" else one.rate(sort).low), *name


def _list(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = (
        "annotator",
        "project",
        "task",
        "state",
        "#over limit",
        "rejected",
        "disagreed",
        "golden wrong",
        "#s/vote",
        "flags",
    )
    rows = [
        (
            one["annotator"], one["project"], one["task"], one["state"], f"{one['over_limit']:.2f}",
            *(_interval(one[rule]) for rule in ("rejection", "disagreement", "golden")),
            one["seconds_per_vote"], ", ".join(one["flags"]),
        )
        for one in found
    ]  # fmt: skip
    return table(columns, rows, title=None if found else "nobody was judged yet")


def _interval(rate: Mapping[str, Any]) -> str:
    if rate["rate"] is None:
        return "-"
    shown = f"{rate['against']} of {rate['total']}"
    if rate["total"] < rate["minimum"]:
        return f"{shown} (shown from {rate['minimum']})"
    return f"{rate['rate']:.1%} [{rate['low']:.1%}-{rate['high']:.1%}] {shown}"


def show(annotator: Annotated[str, Parameter(help="The person's id.")], *, json: Json = False) -> None:
    """Print all that is known of one person: rates, trend, flags with the records behind them, confusion, likeness.

    Places are partition/offset in assay.events.v1. What would tell a golden answer is left out.
    Example: assay annotators show v-0203
    """
    found = _people(annotator)
    if not found:
        raise AssayError("nobody of this id was judged yet", got=annotator, hint="`assay annotators list` names everybody")
    emit([detail(one) for one in found], json, lambda said: Group(*map(_detail, said)))


def _detail(said: Mapping[str, Any]) -> RenderableType:
    rows: list[tuple[object, object]] = [("state", said["state"])]
    rows += [(rule, _interval(said[rule])) for rule in ("rejection", "disagreement", "golden")]
    rows += [(f"last {total}: {what}", f"{against} of {total}") for what, (against, total) in said["recent"].items() if total]
    if said["timed_votes"]:
        rows.append(("seconds a vote", f"{said['seconds_per_vote']} over {said['timed_votes']} votes"))
    rows += [(f"flag: {flag['rule']}", _flag(flag)) for flag in said["flags"]]
    for name in ("confusion_permille", "golden_confusion_permille"):
        votes = said[name.replace("_permille", "_votes")]
        rows += [
            (f"{name.removesuffix('_permille')}: {truth} is right", f"{_row(row)} of {votes[truth]:g}")
            for truth, row in said[name].items()
        ]
    rows += [(f"votes like {one['other']}", _likeness(one)) for one in said["alike"]]
    return table(("", ""), rows, title=f"{said['annotator']} in {said['project']}, {said['task']}")


def _flag(flag: Mapping[str, Any]) -> str:
    until = "" if flag["expires_ms"] is None else f" until {_time(flag['expires_ms'])}"
    places = " ".join(f"{place['partition']}/{place['offset']}" for place in flag["evidence"])
    counted = f"{flag['against']} of {flag['total']}, limit {flag['limit_permille'] / 1000:.1%}"
    return f"{flag['action']} since {_time(flag['raised_ms'])}{until}: {counted}" + (f"; records {places}" if places else "")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")


def _row(row: Mapping[str, int]) -> str:
    return ", ".join(f"{label} {share / 10:.1f} %" for label, share in row.items())


def _likeness(one: Mapping[str, Any]) -> str:
    explained = "explained by what each usually says" if one["explained"] else "not explained by what each usually says"
    return f"{one['same']} of {one['shared']} alike, expected {one['expected']:.1%}, z {one['z']:.1f}; {explained}"


# --- comparing ---------------------------------------------------------------------------------


def compare(
    *,
    project: Project = None,
    publish: Annotated[
        bool, Parameter(negative="", help="Record it, so that the rules `copying` and `hurry` act on it.")
    ] = False,
    top: Annotated[int, Parameter(help="How many pairs of each project to print.")] = 20,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Compare everybody's votes with everybody's: who agrees above chance, given how right each is; and the median pace.

    It replays the log. Of a likeness beyond z = 6, and beyond what chance brings to any pair, `duplicate` is one that is so also
    given what each says where which label is right; `constant` is one that this explains, as where two always say the same.

    Examples:
        assay annotators compare --project temp
        assay annotators compare --publish --json
    """
    emit(asyncio.run(_compare(project, publish, top, dry_run, json)), json, lambda said: Group(*map(_compared, said)))


async def _compare(project: str | None, publish: bool, top: int, dry_run: bool, json: bool) -> list[dict[str, Any]]:
    brokers = bootstrap(settings())
    note("reading the votes", json)
    found = [annotators.measure(name, crowd) for name, crowd in sorted((await annotators.crowds(brokers, project)).items())]
    before = await annotators.earlier(brokers) if publish else {}
    told: list[dict[str, Any]] = []
    for one in found:
        events = annotators.to_publish(one, before.get(one.project)) if publish else []
        records = await annotators.publish(brokers, events) if events and not dry_run else 0
        told.append({**_measured(one, top), "dry_run": dry_run, "events": len(events), "records": records})
    return told


def _measured(one: annotators.Measured, top: int) -> dict[str, Any]:
    bar = max(one.bound, DEFAULT_RULES.policy.copying_z_milli / 1_000)
    return {
        "project": one.project,
        "votes": one.votes,
        "median_milliseconds": one.median_milliseconds,
        "compared": len(one.pairs),
        "bound": round(one.bound, 3),
        "beyond_bound": sum(pair.z > one.bound for pair in one.pairs),
        "beyond_bar": sum(pair.z > bar for pair in one.pairs),
        "pairs": [_pair(pair, bar) for pair in one.pairs[:top]],
    }


def _pair(pair: Pair, bar: float) -> dict[str, Any]:
    return {
        "one": pair.one,
        "other": pair.other,
        "kind": pair.kind(bar),
        "shared": pair.shared,
        "same": pair.same,
        "expected": round(pair.expected, 4),
        "z": round(pair.z, 2),
        "habits_expected": round(pair.habits_expected, 4),
        "habits_z": round(pair.habits_z, 2),
        "confusion": [row_shares(row) for row in pair.rows],
    }


def _compared(said: Mapping[str, Any]) -> RenderableType:
    columns = ("one", "other", "kind", "#same", "#shared", "#expected", "#z", "#z by habits", "confusion of one", "of other")
    rows = [
        (
            pair["one"], pair["other"], pair["kind"], pair["same"], pair["shared"], f"{pair['expected']:.1%}", pair["z"],
            pair["habits_z"], *(_rows(row) for row in pair["confusion"]),
        )
        for pair in said["pairs"]
    ]  # fmt: skip
    pace = (
        "no times" if said["median_milliseconds"] is None else f"{said['median_milliseconds'] / 1000:.1f} s a vote in the median"
    )
    beyond = f"{said['beyond_bound']} of {said['compared']} pairs beyond z {said['bound']}"
    written = f"{said['events']} events would be recorded" if said["dry_run"] else f"{said['records']} records written"
    return table(columns, rows, title=f"{said['project']}: {said['votes']} votes, {pace}; {beyond}; {written}")


def _rows(rows: Mapping[str, Mapping[str, float]]) -> str:
    return "; ".join(
        f"{truth}: " + ", ".join(f"{label} {share:.2f}" for label, share in row.items()) for truth, row in rows.items()
    )


def agreement(*, project: Project = None, json: Json = False) -> None:
    """Print Krippendorff's alpha of the live votes, for each project and slice, with the subjects and votes that it rests on.

    1 is agreement, 0 is chance; there is none where only one label was ever said. As of the workers' last flush.
    Example: assay annotators agreement --project sp --json
    """
    found = asyncio.run(annotators.agreement(bootstrap(settings()), project))
    emit([_alpha(name, slice_, sums) for (name, slice_), sums in found.items()], json, _alphas)


def _alpha(project: str, slice_: str | None, sums: Sums) -> dict[str, Any]:
    subjects, votes = compared(sums)
    found = alpha(sums)
    about = {"project": project, "slice": slice_, "alpha": None if found is None else float(found)}
    return {**about, "subjects": subjects, "votes": votes, "labels": dict(sorted(sums["labels"].items()))}


def _alphas(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = [
        (
            one["project"],
            one["slice"] or "all",
            "-" if one["alpha"] is None else f"{one['alpha']:.3f}",
            one["subjects"],
            one["votes"],
        )
        for one in found
    ]
    return table(("project", "slice", "#alpha", "#subjects", "#votes"), rows)


# --- enrolling ---------------------------------------------------------------------------------


def enroll(
    annotator: Annotated[str, Parameter(help="The person's id.")],
    *,
    project: Annotated[str, Parameter(help="The project that this is about.")],
    languages: Names = [],  # noqa: B006
    domains: Names = [],  # noqa: B006
    skills: Names = [],  # noqa: B006
    edits: Annotated[bool, Parameter(negative="", help="May also be handed texts to edit.")] = False,
    by: Annotated[str, Parameter(help="Who says so, as an id.")] = "operator",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Record what a person may be handed; it replaces what was said before for this project.

    Example: assay annotators enroll anna --project poems --languages en --languages de --edits
    """
    said: dict[str, Any] = {"project": project, "languages": tuple(languages), "domains": tuple(domains), "skills": tuple(skills)}
    try:
        data = AnnotatorEnrolled(**said, edits=edits, enrolled_by=by)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        hint = "parts of a slice are lower case, ids have letters, digits, . _ : -"
        raise AssayError(f"this cannot be recorded: {first['msg']}", got=first["input"], hint=hint) from None
    if not dry_run:
        asyncio.run(_enroll(annotator, data))
    emit({"annotator": annotator, "dry_run": dry_run, **data.model_dump()}, json, _enrolled)


async def _enroll(annotator: str, data: AnnotatorEnrolled) -> None:
    brokers = bootstrap(settings())
    await ensure_topics(brokers, settings())
    await annotators.enroll(brokers, annotator, data)


def _enrolled(said: Mapping[str, Any]) -> RenderableType:
    rows = [(name, ", ".join(value) or "any" if isinstance(value, tuple) else value) for name, value in said.items()]
    return table(("", ""), rows)
