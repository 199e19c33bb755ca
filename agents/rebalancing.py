"""What a worker does with its runners before and after a rebalance; the simulation does the same."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from agents.publishing import Place
from agents.topology import AgentRunner


async def hand_back(runners: Iterable[AgentRunner], commit: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Make durable what is folded and commit it, within so many seconds: all members of the group wait for each.

    A flush that takes longer goes on, and may find its partition fenced off; its batches are handed out again.
    """
    flushing = [asyncio.ensure_future(runner.revoke()) for runner in runners]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.shield(asyncio.gather(*flushing))
            await commit()


async def take_over(runners: Iterable[tuple[str, AgentRunner]], assigned: Iterable[Place]) -> None:
    """Tell each runner, which is named with its topic, which of the topic's partitions are the worker's now."""
    places = list(assigned)
    for topic, runner in runners:
        await runner.keep({number for name, number in places if name == topic})
