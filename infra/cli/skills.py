"""assay skills."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Annotated, Any

from cyclopts import Parameter

from agents.clock import Clock
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

    It tells the hour too, by which deadlines pass and flags expire.

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
        clock = await stack.enter_async_context(Clock(bootstrap(settings())))
        await _until_one_ends([estimator.run(stop), clock.run(stop)])
    return None


async def _until_one_ends(works: list[Coroutine[Any, Any, None]]) -> None:
    """Both end when they are told to; where one fails, the other is not left to look alive."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
