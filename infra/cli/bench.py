"""assay bench live."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import RenderableType

from infra.bench.live import Load, leave_a_core_to_the_measured, measure
from infra.cli.output import Json, emit, holds, note, table
from infra.errors import Exit
from infra.kafka import broker
from infra.settings import Settings
from infra.wiring import settings

Positive = Annotated[int, Parameter(validator=Number(gte=1))]


def live(*, events: Positive = 1_000_000, subjects: Positive = 160_000, seed: int = 1, json: Json = False) -> Exit:
    """Measure one worker on one core, from records in Kafka to durable state rows and delivered verdicts.

    It starts a broker of its own in a temporary directory, so that nothing else is touched. The floor is aiokafka's
    getmany with pydantic's decoding, on the same topic and core.

    Example: assay bench live --events 600000 --subjects 100000 --json
    """
    leave_a_core_to_the_measured()
    note(f"{events} events on {subjects} subjects, seed {seed}", json)
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as directory:
        alone = Settings(data_dir=Path(directory), kafka=settings().kafka.model_copy(update={"brokers": None, "port": 0}))
        with broker.running(alone) as bootstrap:
            found = asyncio.run(measure(bootstrap, alone, Load(events, subjects, seed)))
    emit(found, json, _render)
    return holds(found["holds"])


def _render(found: dict[str, Any]) -> RenderableType:
    return table(("figure", "#value"), found.items())
