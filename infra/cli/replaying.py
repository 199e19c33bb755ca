"""assay replay | verify: the log folded again, and compared with what the workers keep."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra.cli.output import Json, emit, holds, progress, table
from infra.errors import AssayError, Exit
from infra.kafka.reading import ends
from infra.verification import Derived, Verification, replayed
from infra.verification import verify as verified
from infra.wiring import bootstrap, settings
from streams.catalogue import PROJECTION_BY_NAME, PROJECTIONS
from streams.projection import AnyProjection, state_hash

Names = Annotated[list[str] | None, Parameter(name="--projection", negative="", help="Only this one; may be repeated.")]
End = Annotated[int | None, Parameter(help="Stop before this offset in every partition; default: the end of the log.")]


def _chosen(names: Sequence[str] | None) -> tuple[AnyProjection, ...]:
    unknown = [name for name in names or () if name not in PROJECTION_BY_NAME]
    if unknown:
        raise AssayError("no such projection", got=unknown[0], hint=f"there are {', '.join(PROJECTION_BY_NAME)}")
    return tuple(PROJECTION_BY_NAME[name] for name in names) if names else PROJECTIONS


def replay(*, projection: Names = None, to: End = None, json: Json = False) -> None:
    """Fold the log again from its beginning and print the hash of each partition's state.

    It reads only, and joins no group. Example: assay replay --projection review --to 1000
    """
    found = asyncio.run(_replay(bootstrap(settings()), _chosen(projection), to, json))
    columns = ("projection", "#partition", "#position", "#rows", "hash")
    emit(found, json, lambda rows: table(columns, [list(row.values()) for row in rows]))


async def _replay(brokers: str, projections: Sequence[AnyProjection], to: int | None, json: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with progress(json) as bar:
        task = bar.add_task("replaying", total=None)
        for projection in projections:
            for (_, partition), end in sorted((await ends(brokers, projection.source.name)).items()):
                bar.update(task, description=f"replaying {projection.name}/{partition}", completed=len(found))
                state = await replayed(brokers, projection, partition, end if to is None else min(to, end))
                place = {"projection": projection.name, "partition": partition, "position": state.position}
                found.append({**place, "rows": len(state.rows), "hash": state_hash(projection, state)})
    return found


def verify(*, projection: Names = None, json: Json = False) -> Exit:
    """Check that the live state equals a replay of the log, and every derived fact the one that a replay derives.

    Exit code 0 only if all of it is equal. It reads only and may run beside the workers: what they have folded
    since their last flush is `behind`, and not compared. Example: assay verify --json
    """
    found = asyncio.run(_verify(bootstrap(settings()), _chosen(projection), json))
    emit(_as_json(found), json, lambda _: _render(found))
    return holds(found.holds)


async def _verify(brokers: str, projections: tuple[AnyProjection, ...], json: bool) -> Verification:
    found = Verification()
    with progress(json) as bar:
        task = bar.add_task("verifying", total=None)
        async for result in verified(brokers, projections):
            found.add(result)
            bar.update(task, completed=len(found.compared))
    return found


def _as_json(found: Verification) -> dict[str, Any]:
    return {
        "holds": found.holds,
        "hash": found.hash,
        "partitions": [{**asdict(compared), "equal": compared.equal} for compared in found.compared],
        "derived": [{**asdict(derived), "equal": derived.equal} for derived in found.derived],
    }


def _render(found: Verification) -> RenderableType:
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
