"""assay replay | verify: the log folded again, and compared with what the workers keep."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Group, RenderableType

from infra.cli.output import Json, emit, holds, plain, progress, table, watched
from infra.cli.sources import Origin
from infra.errors import AssayError, Exit
from infra.wiring import bootstrap, settings
from streams.catalogue import PROJECTION_BY_NAME, PROJECTIONS
from streams.projection import AnyProjection

if TYPE_CHECKING:
    from infra.history.choosing import At, Source
    from infra.verification import Verification

Names = Annotated[list[str] | None, Parameter(name="--projection", negative="", help="Only this one; may be repeated.")]
From = Annotated[
    str, Parameter(name="--from", help="Fold only from there on, onto an empty state: an offset in every partition, or a time.")
]
To = Annotated[str | None, Parameter(help="Stop before this offset in every partition, or at the first record of this time.")]
AsOf = Annotated[
    str | None,
    Parameter(help="The state at this time or offset, from images beside an archive, and what follows them."),
]


def _chosen(names: Sequence[str] | None) -> tuple[AnyProjection, ...]:
    unknown = [name for name in names or () if name not in PROJECTION_BY_NAME]
    if unknown:
        raise AssayError("no such projection", got=unknown[0], hint=f"there are {', '.join(PROJECTION_BY_NAME)}")
    return tuple(PROJECTION_BY_NAME[name] for name in names) if names else PROJECTIONS


def replay(
    *,
    projection: Names = None,
    start: From = "0",
    to: To = None,
    source: Origin = "kafka",
    as_of: AsOf = None,
    subject: Annotated[str | None, Parameter(help="With --as-of: this submission's or comparison's row.")] = None,
    annotator: Annotated[str | None, Parameter(help="With --as-of: this person's row.")] = None,
    hash: Annotated[bool, Parameter(negative="", help="With --as-of: the hashes of the whole state.")] = False,
    processes: Annotated[int, Parameter(validator=Number(gte=0), help="0: one a processor.")] = 0,
    json: Json = False,
) -> None:
    """Fold the log again and print the hash of each partition's state; or with --as-of what the state was at a time.

    It reads only, joins no group and commits nothing. Times are those of events, as 2026-01-01T12:00Z or in milliseconds
    as @1767268800000. A partition is read up to its first record of that time or later.

    Examples:
        assay replay --projection review --to 1000
        assay replay --source archive --to 2026-01-01T12:00Z
        assay replay --as-of 2026-01-01T12:00Z --source archive --json
        assay replay --as-of 2026-01-01T12:00Z --source both --subject s-0000001
    """
    from infra.history.choosing import source as chosen_source

    one = (subject, "review") if subject else (annotator, "annotators") if annotator else None
    if as_of is None and (one or hash):
        raise AssayError("--subject, --annotator and --hash are about one time", hint="name it with --as-of")
    origin = chosen_source(settings(), source)
    if as_of is None:
        _emit_hashes(_replayed(origin, _chosen(projection), start, to, processes, json), json)
    elif one:
        _emit_row(asyncio.run(_row(origin, PROJECTION_BY_NAME[one[1]], str(one[0]), as_of)), json)
    elif hash:
        _emit_hashes(asyncio.run(_hashes(origin, _chosen(projection), as_of)), json)
    else:
        emit(asyncio.run(_counts(origin, _chosen(projection), as_of)), json, _render_counts)


def _replayed(
    origin: "Source", projections: Sequence[AnyProjection], start: str, to: str | None, processes: int, json: bool
) -> list[dict[str, Any]]:
    from infra.history.choosing import At, bound
    from infra.history.replaying import Task, processors
    from infra.history.replaying import replay as fold

    bounds = bound(start), At() if to is None else bound(to)
    places = asyncio.run(_places(origin, projections, *bounds))
    tasks = [Task(origin, projection.name, partition, first, end) for projection, partition, first, end in places]
    with watched("replaying", json) as watch:
        found = fold(tasks, processes or processors(), watch)
    return [
        {"projection": one.projection, "partition": one.partition, "position": one.position, "rows": one.rows, "hash": one.hash}
        for one in found
    ]


async def _places(
    origin: "Source", projections: Sequence[AnyProjection], start: "At", end: "At"
) -> list[tuple[AnyProjection, int, int, int]]:
    """Projection, partition, and the offsets between which it is folded."""
    from infra.history.choosing import extents

    history = origin.open()
    return [
        (projection, partition, min(first, until), until)
        for projection in projections
        for (_, partition), first, until in await extents(history, [projection.source.name], start, end)
    ]


def _emit_hashes(found: list[dict[str, Any]], json: bool) -> None:
    columns = ("projection", "#partition", "#position", "#rows", "hash")
    emit(found, json, lambda rows: table(columns, [list(row.values()) for row in rows]))


async def _hashes(origin: "Source", projections: Sequence[AnyProjection], as_of: str) -> list[dict[str, Any]]:
    from infra.history.asof import hash_of, state_at
    from infra.history.choosing import At, bound

    history, kept, found = origin.open(), origin.images(), list[dict[str, Any]]()
    for projection, partition, _, end in await _places(origin, projections, At(), bound(as_of)):
        state = await state_at(history, kept, projection, partition, end)
        about = {"projection": projection.name, "partition": partition, "position": state.position, "rows": len(state.rows)}
        found.append({**about, "hash": hash_of(projection, state)})
    return found


async def _counts(origin: "Source", projections: Sequence[AnyProjection], as_of: str) -> dict[str, Any]:
    from infra.history.asof import counted
    from infra.history.choosing import At, bound
    from streams.census import add

    history, kept, counts = origin.open(), origin.images(), dict[Any, int]()
    places = []
    for projection, partition, _, end in await _places(origin, projections, At(), bound(as_of)):
        stands = await counted(history, kept, projection, partition, end)
        add(counts, tuple(stands.counts.items()), 1)
        places.append({"projection": stands.projection, "partition": partition, "end": end, "folded": stands.folded})
    names = ("counted", "project", "about", "state")
    said = [{**dict(zip(names, cell, strict=True)), "count": count} for cell, count in sorted(counts.items())]
    return {"as_of": as_of, "counts": said, "partitions": places}


async def _row(origin: "Source", projection: AnyProjection, subject: str, as_of: str) -> dict[str, Any]:
    from infra.history.asof import row_at
    from infra.history.choosing import At, bound

    ends = {partition: end for _, partition, _, end in await _places(origin, [projection], At(), bound(as_of))}
    found = await row_at(origin.open(), origin.images(), projection, subject, ends)
    if found is None:
        raise AssayError("nothing was known of it then", where=subject, got=f"as of {as_of}", exit_code=Exit.FAILED)
    return {"as_of": as_of, **found}


def _emit_row(found: dict[str, Any], json: bool) -> None:
    row = found["row"]
    emit(found, json, lambda _: table(("field", "value"), [(name, plain(str(value))) for name, value in row.items()]))


def _render_counts(found: dict[str, Any]) -> RenderableType:
    rows = [(*row.values(),) for row in found["counts"]]
    folded = sum(one["folded"] for one in found["partitions"])
    said = f"as of {found['as_of']}, {folded} records behind the images were folded"
    return Group(table(("counted", "project", "slice or task", "state", "#count"), rows), "", said)


def verify(*, projection: Names = None, json: Json = False) -> Exit:
    """Check that the live state equals a replay of the log, and every derived fact the one that a replay derives.

    Exit code 0 only if all of it is equal. It reads only and may run beside the workers: what they have folded
    since their last flush is `behind`, and not compared. Example: assay verify --json
    """
    found = asyncio.run(_verify(bootstrap(settings()), _chosen(projection), json))
    emit(_as_json(found), json, lambda _: _render(found))
    return holds(found.holds)


async def _verify(brokers: str, projections: tuple[AnyProjection, ...], json: bool) -> "Verification":
    from infra.verification import Verification
    from infra.verification import verify as verified

    found = Verification()
    with progress(json) as bar:
        task = bar.add_task("verifying", total=None)
        async for result in verified(brokers, projections):
            found.add(result)
            bar.update(task, completed=len(found.compared))
    return found


def _as_json(found: "Verification") -> dict[str, Any]:
    return {
        "holds": found.holds,
        "hash": found.hash,
        "partitions": [{**asdict(compared), "equal": compared.equal} for compared in found.compared],
        "derived": [{**asdict(derived), "equal": derived.equal} for derived in found.derived],
    }


def _render(found: "Verification") -> RenderableType:
    from infra.verification import Derived

    def rows() -> list[Sequence[object]]:
        return [
            (c.projection, c.partition, c.position, c.behind, c.rows, c.live_hash[:16], c.replay_hash[:16], _yes(c.equal))
            for c in found.compared
        ]

    states = table(("projection", "#partition", "#position", "#behind", "#rows", "live", "replay", "equal"), rows())
    columns = ("derived topic", *(f"#{name}" for name in list(Derived.__dataclass_fields__)[1:]), "equal")
    facts = table(columns, [[*asdict(derived).values(), _yes(derived.equal)] for derived in found.derived])
    return Group(states, "", facts, "", f"live = replay: {_yes(found.holds)} (hash {found.hash[:16]})")


def _yes(value: bool) -> str:
    return "yes" if value else "NO"
