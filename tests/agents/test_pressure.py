"""What is folded and not durable has a bound, and a flush that a rebalance overtakes loses nothing: on the broker in
memory, with a state log that stalls."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from agents.runner import Fenced, Runner
from agents.state_log import Row, StateLog
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from schemas.topics import TOPICS
from streams.review import REVIEW
from tests.agents.worlds import Batch, World

RECORDS = 100


class StalledLog(StateLog):
    """Writes state rows once the gate is open. The fence of the opening is written at once."""

    gate: ClassVar[asyncio.Event]
    waiting: ClassVar[asyncio.Event]

    async def write(self, rows: Iterable[Row]) -> None:
        some = list(rows)
        if len(some) > 1:
            self.waiting.set()
            await self.gate.wait()
        await super().write(some)


class Stalled(Runner):
    """Its state logs wait for a gate."""

    state_log = StalledLog


@dataclass
class Feeding:
    """A runner that is handed batch after batch."""

    runner: Stalled
    batches: list[Batch]
    fed: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self) -> None:
        await self.runner.keep({0})
        self.tasks.append(asyncio.create_task(self._feed()))

    async def _feed(self) -> None:
        for batch in self.batches:
            await self.runner.process(batch)
            self.fed += 1

    async def as_far_as_it_goes(self) -> None:
        """Let everything run that can."""
        before, still = -1, 0
        while still < 500:
            await asyncio.sleep(0)
            still = still + 1 if self.fed == before else 0
            before = self.fed

    async def end(self) -> None:
        StalledLog.gate.set()
        await asyncio.gather(*self.tasks)
        await self.runner.close()


@pytest.fixture
def world() -> Iterator[World]:
    broker = MemoryBroker()
    for topic in TOPICS:
        broker.create_topic(topic.name, 1, topic.compacted)
    with serving("pressure", broker) as address:
        yield World(f"{address}/worker", 0)


async def feeding(world: World, **options: Any) -> Feeding:
    log = await world.write(3_000, 2_000)
    runner = Stalled(REVIEW, world.settings(**options), world.fatal.append)
    StalledLog.gate, StalledLog.waiting = asyncio.Event(), asyncio.Event()
    return Feeding(runner, [Batch(log[at : at + RECORDS]) for at in range(0, len(log), RECORDS)])


def size(batches: list[Batch]) -> int:
    return sum(len(record.value) for batch in batches for record in batch.value)


async def test_folding_waits_at_the_bound_of_bytes_while_the_flush_stalls(world: World) -> None:
    feed = await feeding(world, unflushed_bytes=200_000)
    await feed.begin()
    await feed.as_far_as_it_goes()
    assert StalledLog.waiting.is_set()
    held = feed.runner.unflushed_bytes
    assert 200_000 <= held < 200_000 + size(feed.batches[:1]) * 1.5  # the bound, and the batch that passed it
    assert held == size(feed.batches[: feed.fed])
    assert not any(batch.acknowledged for batch in feed.batches)
    await feed.end()
    assert all(batch.acknowledged for batch in feed.batches)
    await world.check(3_000)


async def test_folding_waits_at_the_bound_of_rows_while_the_flush_stalls(world: World) -> None:
    feed = await feeding(world, unflushed_rows=300)
    await feed.begin()
    await feed.as_far_as_it_goes()
    assert StalledLog.waiting.is_set()
    assert 300 <= feed.runner.unflushed_rows <= 300 + RECORDS  # the bound, and what the batch that passed it changed
    assert feed.fed < len(feed.batches)
    await feed.end()
    await world.check(3_000)


async def test_without_a_bound_folding_goes_on(world: World) -> None:
    """So the tests before this one can fail."""
    feed = await feeding(world, unflushed_bytes=10**12, unflushed_rows=10**9)
    await feed.begin()
    await feed.as_far_as_it_goes()
    assert feed.fed == len(feed.batches)
    assert feed.runner.unflushed_bytes == size(feed.batches)
    await feed.end()
    await world.check(3_000)


async def overtaken(world: World, *, revoked: bool) -> Feeding:
    """A flush stalls, and meanwhile another worker opens the partition and folds on from the log."""
    feed = await feeding(world)
    await feed.begin()
    await feed.as_far_as_it_goes()
    flushing = asyncio.create_task(feed.runner.revoke() if revoked else feed.runner.flush())
    await StalledLog.waiting.wait()
    async with world.recovered() as owner:
        for batch in feed.batches:
            await owner.process(Batch(batch.value))
        StalledLog.gate.set()
        await flushing
    return feed


async def test_a_flush_that_a_rebalance_overtakes_is_void(world: World) -> None:
    """Its partition may be another's by then: nothing is acknowledged, and nothing else stops."""
    feed = await overtaken(world, revoked=True)
    await feed.runner.keep(set())
    await feed.end()
    await world.check(3_000)
    assert not any(batch.acknowledged for batch in feed.batches)


async def test_a_fence_without_a_rebalance_ends_the_worker(world: World) -> None:
    """It slept through one, and its group may not have told it yet; nothing is acknowledged."""
    feed = await overtaken(world, revoked=False)
    await feed.end()
    (error,) = world.fatal
    assert isinstance(error, Fenced)
    assert not any(batch.acknowledged for batch in feed.batches)
    assert await world.hashes() == (2_999, True)


async def test_a_partition_that_was_fenced_off_and_comes_back_is_recovered_anew(world: World) -> None:
    feed = await overtaken(world, revoked=True)
    await feed.runner.keep({0})
    later = Batch((await world.write(3_100, 2_000))[3_000:])
    await feed.runner.process(later)
    await feed.end()
    assert later.acknowledged
    await world.check(6_100)
