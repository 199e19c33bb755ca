"""assay torture kill."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import RenderableType

from infra.cli.output import Json, Positive, emit, holds, note, progress, table
from infra.errors import AssayError, Exit
from infra.settings import ClickHouse, Settings, Worker
from infra.torture.kill import Campaign, Watch, planned, run
from infra.torture.load import Shape
from infra.wiring import settings

Folder = Annotated[Path | None, Parameter(help="Run here and leave everything; default: a temporary folder, kept on failure.")]


def kill(
    *,
    kills: Annotated[int, Parameter(validator=Number(gte=0), help="Faults, of every kind in turn.")] = 20,
    events: Annotated[Positive, Parameter(help="Events of the load, besides what comes twice and poison.")] = 40_000,
    keys: Annotated[Positive, Parameter(help="Submissions that they are about.")] = 2_000,
    workers: Annotated[Positive, Parameter(help="Worker processes, besides one that joins and leaves.")] = 3,
    seed: Annotated[int, Parameter(help="Decides load and schedule.")] = 1,
    folder: Folder = None,
    json: Json = False,
) -> Exit:
    """Kill and stall workers, sink and broker under a live load; then check that nothing shows.

    It starts a system of its own. Faults strike while the load is written and folded: `kill -9` of worker, sink and
    broker, SIGSTOP and SIGCONT (some past a worker's session), workers that leave and join. The load has duplicates,
    reused ids, disorder, late votes, edits, changes of policy and poison. Exit code 0 only if no event is lost, none
    counted twice, live = replay, ClickHouse = log, and the quarantine holds exactly what must be refused. The seed
    gives the same load and the same schedule.

    Examples:
        assay torture kill
        assay torture kill --kills 100 --events 1000000 --keys 10000 --json
    """
    campaign = planned(kills, Shape(events, keys, settings().kafka.partitions, seed), workers)
    with _home(folder) as home:
        note(f"{kills} faults on {events} events of {keys} submissions, {workers} workers, seed {seed}; {home}/torture.log", json)
        found = _watched(_alone(home, campaign), campaign, json)
        emit(found, json, _render)
        if not found["holds"]:
            raise AssayError("not all holds", where=home, hint="torture.log there tells what happened", exit_code=Exit.FAILED)
    return holds(found["holds"])


@contextlib.contextmanager
def _home(folder: Path | None) -> Iterator[Path]:
    """An empty folder; a temporary one goes when all is well or somebody interrupts, and stays to be looked at when not."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise AssayError("the folder is not empty", where=folder, hint="a campaign needs a log of its own")
        yield folder
        return
    home = Path(tempfile.mkdtemp(prefix="assay-torture-"))
    try:
        yield home
    except KeyboardInterrupt:
        shutil.rmtree(home, ignore_errors=True)
        raise AssayError("interrupted", hint="nothing is left of the campaign", exit_code=Exit.INTERRUPTED) from None
    shutil.rmtree(home)


def _alone(home: Path, campaign: Campaign) -> Settings:
    """Settings of a system that touches nothing outside its folder."""
    own = settings()
    return Settings(
        data_dir=home,
        kafka=own.kafka.model_copy(update={"brokers": None, "port": 0}),
        clickhouse=ClickHouse(port=0),
        # A later version of an event is poison here: it is to be set aside, where a worker would stop by default.
        worker=Worker(processes=campaign.workers, too_new="quarantine", standstill_seconds=60.0),
    )


def _watched(alone: Settings, campaign: Campaign, json: bool) -> dict[str, Any]:
    with progress(json) as bar:
        written = bar.add_task("written", total=campaign.shape.events)
        folded = bar.add_task("folded", total=campaign.shape.events)
        faults = bar.add_task("faults", total=campaign.kills)

        def show(watch: Watch) -> None:
            bar.update(written, completed=watch.written, description=watch.phase)
            bar.update(folded, completed=watch.folded)
            bar.update(faults, completed=watch.faults)

        return run(alone, campaign, Watch(show))


def _render(found: dict[str, Any]) -> RenderableType:
    rows = [(name, value) for name, value in found.items() if name != "details"]
    return table(("figure", "value"), [*rows, *(("", line) for line in found["details"])])
