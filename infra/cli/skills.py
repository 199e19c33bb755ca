"""assay skills."""

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import Annotated

from cyclopts import Parameter

from agents.readiness import ready
from agents.skills import Skills
from infra.cli.output import Json, emit, note
from infra.wiring import bootstrap, settings


def skills(
    *,
    once: Annotated[bool, Parameter(negative="", help="Estimate from what is counted now, and end.")] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="With --once: count the control records, and write none.")] = False,
    json: Json = False,
) -> None:
    """Estimate voters' skills from what annotators counted, and record them where review weighs votes.

    `assay up` runs it; one is enough. What it records is folded like any event, so that a replay needs none of it.
    Example: assay skills --once --json
    """
    told = asyncio.run(_run(once or dry_run, dry_run))
    if told is not None:
        emit({"control_records": told, "dry_run": dry_run}, json, lambda said: f"{said['control_records']} control records")


async def _run(once: bool, dry_run: bool) -> int | None:
    """How many control records each partition got; None where it ran until it was told to end."""
    estimator = Skills(bootstrap(settings()), settings().skills.seconds, note, writes=not dry_run)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(estimator.close)
        await estimator.start()
        if once:
            return await estimator.estimate()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        ready()
        await estimator.run(stop)
    return None
