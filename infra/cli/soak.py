"""assay torture soak."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import RenderableType

from infra.cli.output import Json, emit, holds, note, table
from infra.errors import Exit
from infra.wiring import settings


def soak(
    *,
    minutes: Annotated[float, Parameter(validator=Number(gt=0))] = 10.0,
    rate: Annotated[int, Parameter(validator=Number(gte=1), help="Events a second.")] = 2_000,
    subjects: Annotated[int, Parameter(validator=Number(gte=1), help="Subjects open at a time.")] = 10_000,
    plot: Annotated[Path | None, Parameter(help="Where the plot goes, as SVG.")] = None,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Run the whole system under a steady load, and look at memory, lag and file sizes over time.

    It starts a broker, a worker and a sink of its own in a temporary directory. At the end nothing may be left to do,
    live = replay must hold, ClickHouse must have every event, and the worker's memory must not have grown faster in the
    second half than in the first. Example: assay torture soak --minutes 60 --plot soak.svg --json
    """
    from infra.bench.rig import alone
    from infra.plots import need_them, write
    from infra.torture.soak import Soak, Told, panels

    if plot is not None:
        need_them()
    with alone(settings()) as own:
        made = Soak(own, Told(minutes, rate, subjects, seed))
        found = asyncio.run(made.run(note))
    if plot is not None:
        write(plot, panels(made.samples))
        found["plot"] = str(plot)
    emit(found, json, _render)
    return holds(found["holds"])


def _render(found: dict[str, Any]) -> RenderableType:
    return table(("figure", "#value"), [(name, value) for name, value in found.items() if name != "samples"])
