"""assay torture simulate | model."""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import RenderableType

from infra.cli.output import Json, Positive, emit, holds, note, progress, table
from infra.errors import AssayError, Exit
from infra.torture.simulation.bugs import BUGS
from infra.torture.simulation.campaign import Outcome
from infra.torture.simulation.campaign import simulate as run_seed

Bug = Annotated[str | None, Parameter(help="Take one guard of the engine out: " + ", ".join(BUGS) + ".")]
Shrink = Annotated[bool, Parameter(help="Look for the fewest steps that break it, up to five minutes long.")]


def simulate(
    *,
    seeds: Positive = 100,
    seed: Annotated[int | None, Parameter(help="Only this one; its steps go to --trace.")] = None,
    first: Annotated[int, Parameter(help="The first of the seeds.")] = 0,
    bug: Bug = None,
    trace: Annotated[Path | None, Parameter(help="File for every step of the seed.")] = None,
    jobs: Annotated[Positive, Parameter(help="Processes that share the seeds.")] = 1,
    json: Json = False,
) -> Exit:
    """Run the engine through worlds that a seed decides: virtual time, a broker in memory, and every fault.

    Real runners fold a load with duplicates, disorder and poison while workers are killed and stopped at any request,
    leave and join, and the broker stalls. Each seed must end with live = replay, every derived fact there once, and
    exactly the poison in quarantine; a committed offset must never pass what is durable. The same seed gives the same
    run, bit for bit. With --bug it stops at the first seed that shows the bug; exit code 1 then says that it was found.

    Examples:
        assay torture simulate --seeds 1000 --json
        assay torture simulate --seed 7 --trace steps.txt
        assay torture simulate --bug zombie-fence-off --seeds 200
    """
    _known(bug)
    if seed is not None:
        first, seeds = seed, 1
    elif trace is not None:
        raise AssayError("a trace is of one seed", hint="name it: --seed 7")
    note(f"{seeds} seeds from {first}" + (f", with {bug}" if bug else ""), json)
    began = monotonic()
    outcomes = [_traced(first, bug, trace)] if trace is not None else _run(range(first, first + seeds), bug, jobs, json)
    found = _found(outcomes, bug, monotonic() - began)
    emit(found, json, _render)
    return holds(found["holds"])


def _known(bug: str | None) -> None:
    if bug is not None and bug not in BUGS:
        raise AssayError("no such bug", got=bug, hint="there are " + ", ".join(BUGS))


def _traced(seed: int, bug: str | None, trace: Path) -> Outcome:
    steps: list[str] = []
    outcome = run_seed(seed, bug, steps)
    trace.write_text("".join(f"{step}\n" for step in steps))
    return outcome


def _run(seeds: range, bug: str | None, jobs: int, json: bool) -> list[Outcome]:
    """All of these seeds; with a bug, up to the first that fails."""
    outcomes: list[Outcome] = []
    with progress(json) as bar, ProcessPoolExecutor(jobs) as pool:
        task = bar.add_task("simulating", total=len(seeds))
        for outcome in pool.map(run_seed, seeds, [bug] * len(seeds), chunksize=1 if bug else 10):
            outcomes.append(outcome)
            bar.advance(task)
            if bug is not None and not outcome.holds:
                pool.shutdown(cancel_futures=True)
                break
    return outcomes


def _found(outcomes: list[Outcome], bug: str | None, seconds: float) -> dict[str, Any]:
    faults, crashes = Counter[str](), Counter[str]()
    for outcome in outcomes:
        faults.update(outcome.faults)
        crashes.update(outcome.crashes)
    return {
        "holds": all(outcome.holds for outcome in outcomes),
        "seeds": len(outcomes),
        "bug": bug,
        "events": sum(outcome.events for outcome in outcomes),
        "steps": sum(outcome.steps for outcome in outcomes),
        "rebalances": sum(outcome.rebalances for outcome in outcomes),
        "faults": dict(sorted(faults.items())),
        "crashes": dict(sorted(crashes.items())),
        "virtual_seconds": round(sum(outcome.virtual_seconds for outcome in outcomes), 3),
        "seconds": round(seconds, 3),
        "digest": sha256("".join(outcome.digest for outcome in outcomes).encode()).hexdigest(),
        "failing": [
            {"seed": outcome.seed, "command": _command(outcome.seed, bug), "violations": outcome.violations}
            for outcome in outcomes
            if not outcome.holds
        ],
    }


def _command(seed: int, bug: str | None) -> str:
    return f"assay torture simulate --seed {seed}" + (f" --bug {bug}" if bug else "")


def _render(found: dict[str, Any]) -> RenderableType:
    rows = [(name, value) for name, value in found.items() if name != "failing"]
    for one in found["failing"]:
        rows += [("fails", one["command"]), *(("", violation) for violation in one["violations"])]
    return table(("figure", "value"), rows)


def model(
    *,
    actions: Annotated[Positive, Parameter(help="Actions at least, over several histories.")] = 10_000,
    seed: int = 1,
    bug: Bug = None,
    shrink: Shrink = True,
    json: Json = False,
) -> Exit:
    """Let hypothesis act on the whole engine, and compare it with a replay of its log.

    What it may do: produce, duplicate, delay, reorder and poison events, change policies, edit, withdraw, retract,
    crash and stall workers at any request, rebalance, stall the broker, compact, wait, and replay and compare at any
    time. What breaks the engine is shrunk to the fewest steps. The same seed gives the same histories. With --bug exit
    code 1 says that the bug was found.

    Examples:
        assay torture model --actions 10000 --json
        assay torture model --bug zombie-fence-off
    """
    _known(bug)
    note(f"{actions} actions, seed {seed}" + (f", with {bug}" if bug else ""), json)
    found = _tested(actions, seed, bug, shrink)
    emit(found, json, _render_model)
    return holds(found["holds"])


def _tested(actions: int, seed: int, bug: str | None, shrink: bool) -> dict[str, Any]:
    try:
        from hypothesis.configuration import set_hypothesis_home_dir

        from infra.torture.simulation.model import run_model
    except ModuleNotFoundError as missing:
        raise AssayError("the extra `test` is not installed", got=missing.name, hint="pip install '.[test]'") from missing
    began = monotonic()
    with TemporaryDirectory(prefix="assay-model-") as home:
        # Otherwise hypothesis leaves a folder wherever the command is run.
        set_hypothesis_home_dir(home)
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


def _render_model(found: dict[str, Any]) -> RenderableType:
    rows = [(name, value) for name, value in found.items() if name not in ("by_kind", "steps")]
    rows += found["by_kind"].items()
    rows += [("", step) for step in found["steps"]]
    return table(("figure", "value"), rows)
