"""assay up | down."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from infra.cli.output import Json, emit, note
from infra.errors import AssayError, Exit
from infra.kafka.broker import Broker
from infra.processes import Record, end, held
from infra.settings import Settings, environment
from infra.supervisor import TICK_SECONDS, Supervisor, Tell, begin
from infra.system import create_topics, parts
from infra.wiring import settings

READY_SECONDS = 120.0
STOP_SECONDS = 60.0
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


def up(
    *, detach: Annotated[bool, Parameter(negative="", help="Return once all is ready, and leave it running.")] = False
) -> None:
    """Run the whole system in this terminal until Ctrl-C; a second Ctrl-C kills what has not stopped yet."""
    if detach:
        _detached(settings())
    else:
        _foreground(settings())


def down(*, json: Json = False) -> None:
    """Stop the system that runs on this data directory and wait for it. Nothing happens when none runs."""
    record = _running(settings())
    if record is not None and not end(record, STOP_SECONDS):
        note("it did not stop in time and was killed", json)
    emit({"stopped": record is not None}, json, lambda said: "stopped" if said["stopped"] else "nothing runs here")


def _foreground(settings: Settings) -> None:
    with held(_lock(settings)) as lock:
        if lock is None:
            raise _in_use(settings)
        Record.of(os.getpid()).write(_record(settings))
        tell = teller()
        tell("assay", f"starting on {settings.data_dir}; Ctrl-C stops it")
        if settings.kafka.brokers or Broker(settings).answering():
            create_topics(settings)
        Supervisor(parts(settings), tell).run()
        tell("assay", "all stopped")
        _record(settings).unlink(missing_ok=True)


def _detached(settings: Settings) -> None:
    log = settings.data_dir / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "infra.cli", "up"]
    with log.open("ab") as output:
        started = begin(argv, environment(settings), bound=False, output=output)
    deadline = time.monotonic() + READY_SECONDS
    while not started.is_ready():
        if started.process.poll() is not None:
            raise AssayError("the system did not start", where=log, got=_last_line(log), exit_code=Exit.FAILED)
        if time.monotonic() >= deadline:
            raise AssayError("not ready in time", where=log, got=_last_line(log), hint="`assay down` stops it")
        time.sleep(TICK_SECONDS)
    started.close()
    note(f"ready, pid {started.process.pid}; see {log}; `assay down` stops it")


def _last_line(log: Path) -> str:
    return (log.read_text("utf-8", "replace").splitlines() or [""])[-1]


def teller() -> Tell:
    """Prints `name | text`, each name in a colour of its own (none with NO_COLOR or without a terminal)."""
    console = Console(highlight=False, soft_wrap=True)
    colours: dict[str, str] = {}

    def tell(name: str, text: str) -> None:
        said = Text.from_ansi(text)
        if not said.plain.strip():
            return  # only an escape, such as one that shows the cursor again
        colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
        console.print(Text.assemble((f"{name:>10} | ", colour), said))

    return tell


def _lock(settings: Settings) -> Path:
    return settings.data_dir / "up.lock"


def _record(settings: Settings) -> Path:
    return settings.data_dir / "up.json"


def _running(settings: Settings) -> Record | None:
    record = Record.read(_record(settings))
    return record if record is not None and record.alive else None


def _in_use(settings: Settings) -> AssayError:
    record = _running(settings)
    return AssayError(
        "the system runs on this data directory already",
        where=settings.data_dir,
        got=f"pid {record.pid}" if record else None,
        hint="`assay down` stops it; or choose another --data-dir",
    )
