"""The runner on Apache Kafka, batch by batch: what is cut off, skipped or given away in the middle of something."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.log_reading import read_range
from agents.runner import Runner
from agents.settings import WorkerSettings
from infra.kafka.reading import ends
from infra.verification import Compared, Derived, verify
from schemas.topics import EVENTS
from streams.review import REVIEW
from tests.agents.workers import load, write
from tests.agents.worlds import Batch

PLACE = (EVENTS.name, 0)


@dataclass
class Worker:
    """A runner, and what it found fatal."""

    brokers: str
    home: Path
    flush_seconds: float = 60.0
    fatal: list[BaseException] = field(default_factory=list)

    def runner(self) -> Runner:
        settings = WorkerSettings(brokers=self.brokers, data_dir=self.home, flush_seconds=self.flush_seconds)
        return Runner(REVIEW, settings, self.fatal.append)


async def log_of(brokers: str) -> list[Any]:
    end = (await ends(brokers, EVENTS.name))[PLACE]
    return [record async for batch in read_range(brokers, PLACE, 0, end) for record in batch]


async def verified(brokers: str) -> tuple[Compared, list[Derived]]:
    found = [result async for result in verify(brokers, (REVIEW,))]
    compared = next(one for one in found if isinstance(one, Compared) and one.partition == 0)
    return compared, [one for one in found if isinstance(one, Derived)]


def test_a_stop_in_the_middle_of_a_flush_loses_no_row(brokers: str, tmp_path: Path) -> None:
    """What a flush has taken out of the state must be written before a later position is."""
    write(brokers, load(8_000, 1_000))

    async def scenario() -> None:
        log, worker = await log_of(brokers), Worker(brokers, tmp_path, flush_seconds=0.02)
        runner, batches = worker.runner(), [Batch(log[at : at + 100]) for at in range(0, len(log), 100)]
        await runner.keep({0})
        for batch in batches[:-1]:
            await runner.process(batch)
        while not runner._lock.locked():  # noqa: ASYNC110  a flush tells nobody that it began
            await asyncio.sleep(0)
        await runner.process(batches[-1])
        await runner.close()
        assert worker.fatal == []
        assert all(batch.acknowledged for batch in batches)
        compared, derived = await verified(brokers)
        assert (compared.equal, compared.behind) == (True, 0)
        assert all(one.equal for one in derived)

    asyncio.run(scenario())


def test_a_worker_that_slept_through_two_rebalances_folds_what_it_missed(brokers: str, tmp_path: Path) -> None:
    """Its partition went to another and came back: a fold with a hole would derive other facts under the same ids."""
    write(brokers, load(4_000, 200))

    async def scenario() -> None:
        log, worker = await log_of(brokers), Worker(brokers, tmp_path)
        runner = worker.runner()
        await runner.keep({0})
        await runner.process(Batch(log[:300]))
        await runner.keep({0})
        await runner.process(Batch(log[600:]))
        await runner.close()
        assert worker.fatal == []
        compared, derived = await verified(brokers)
        assert (compared.equal, compared.behind) == (True, 0)
        assert all(one.equal for one in derived)

    asyncio.run(scenario())


def test_a_partition_that_is_given_away_while_it_is_recovered_is_let_go(brokers: str, tmp_path: Path) -> None:
    write(brokers, load(2_000, 200))

    async def scenario() -> None:
        log = await log_of(brokers)
        loser, owner = Worker(brokers, tmp_path), Worker(brokers, tmp_path)
        first, second = loser.runner(), owner.runner()
        await first.keep({0})
        given, kept = Batch(log), Batch(log)
        recovering = asyncio.create_task(first.process(given))
        while first._flushing is None:  # noqa: ASYNC110  nor does a recovery
            await asyncio.sleep(0)
        await first.keep(set())
        await recovering
        await second.keep({0})
        await second.process(kept)
        await first.close()
        await second.close()
        assert (loser.fatal, owner.fatal) == ([], [])
        assert (given.acknowledged, kept.acknowledged) == (False, True)
        assert (await verified(brokers))[0].equal

    asyncio.run(scenario())


def test_a_long_tail_with_some_refusals_is_recovered(brokers: str, tmp_path: Path) -> None:
    """Refusals in the tail are a share of the tail, not of the first batch after it."""
    poison = [(f"s-{number:07d}", "", "", b"{no json") for number in range(1_500)]
    write(brokers, [*load(20_000, 500), *poison, *load(28_000, 500)[20_000:]])

    async def scenario() -> None:
        log, worker = await log_of(brokers), Worker(brokers, tmp_path)
        runner = worker.runner()
        await runner.keep({0})
        await runner.process(Batch(log[-1_200:]))
        await runner.close()
        assert worker.fatal == []
        assert (await verified(brokers))[0].equal

    asyncio.run(scenario())
