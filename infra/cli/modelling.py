"""assay torture model."""

from time import monotonic
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import RenderableType

from infra.cli.output import Json, emit, holds, note, table
from infra.errors import AssayError, Exit
from infra.torture.simulation.bugs import BUGS

Positive = Annotated[int, Parameter(validator=Number(gte=1))]
Bug = Annotated[str | None, Parameter(help="Take one guard of the engine out: " + ", ".join(BUGS) + ".")]

Shrink = Annotated[bool, Parameter(help="Look for the fewest steps that break it, up to five minutes long.")]


def model(*, actions: Positive = 10_000, seed: int = 1, bug: Bug = None, shrink: Shrink = True, json: Json = False) -> Exit:
    """Let hypothesis act on the whole engine, and compare it with a replay of its log.

    What it may do: produce, duplicate, delay, reorder and poison events, change policies, edit, withdraw, retract,
    crash and stall workers at any request, rebalance, stall the broker, compact, wait, and replay and compare at any
    time. What breaks the engine is shrunk to the fewest steps. The same seed gives the same histories.

    Examples:
        assay torture model --actions 10000 --json
        assay torture model --bug zombie-fence-off
    """
    if bug is not None and bug not in BUGS:
        raise AssayError("no such bug", got=bug, hint="there are " + ", ".join(BUGS))
    note(f"{actions} actions, seed {seed}" + (f", with {bug}" if bug else ""), json)
    found = _tested(actions, seed, bug, shrink)
    emit(found, json, _render)
    return holds(found["holds"])


def _tested(actions: int, seed: int, bug: str | None, shrink: bool) -> dict[str, Any]:
    try:
        from infra.torture.simulation.model import run_model
    except ModuleNotFoundError as missing:
        raise AssayError("the extra `test` is not installed", got=missing.name, hint="pip install '.[test]'") from missing
    began = monotonic()
    tested = run_model(actions, seed, bug, shrink)
    return {
        "holds": tested.broken is None,
        "actions": tested.actions.total(),
        "by_kind": dict(sorted(tested.actions.items())),
        "histories": tested.histories,
        "seed": seed,
        "bug": bug,
        "seconds": round(monotonic() - began, 3),
        "broken": tested.broken,
        "steps": tested.steps,
    }


def _render(found: dict[str, Any]) -> RenderableType:
    rows = [(name, value) for name, value in found.items() if name not in ("by_kind", "steps")]
    rows += found["by_kind"].items()
    rows += [("", step) for step in found["steps"]]
    return table(("figure", "value"), rows)
