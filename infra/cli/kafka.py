"""assay kafka up | status | down."""

from rich.console import RenderableType

from infra.cli.output import Json, emit, note, table
from infra.errors import Exit
from infra.kafka.broker import Broker, Status
from infra.wiring import settings


def up(*, json: Json = False) -> None:
    """Start the managed broker and leave it running. With kafka.brokers set there is nothing to start."""
    broker = Broker(settings())
    if broker.status().state != "external":
        broker.up(bound=False, say=lambda text: note(text, json))
    emit(broker.status(), json, _render)


def status(*, json: Json = False) -> Exit:
    """Whether the broker runs, where, and on which files. Exit code 1 when it does not."""
    found = Broker(settings()).status()
    emit(found, json, _render)
    return Exit.OK if found.state in {"running", "external"} else Exit.FAILED


def down(*, json: Json = False) -> None:
    """Stop the managed broker, whoever started it. Nothing happens when none runs."""
    broker = Broker(settings())
    stopped = broker.down()
    emit({"stopped": stopped}, json, lambda said: "stopped" if said["stopped"] else "no broker runs here")


def _render(found: Status) -> RenderableType:
    rows = (("broker", found.state), ("address", found.bootstrap), ("pid", found.pid), ("data", found.data), ("log", found.log))
    return table(("", ""), [row for row in rows if row[1]])
