"""One partition of a broker, runners on it, and what they left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from agents.clients import new_consumer, new_producer
from agents.log_reading import read_range
from agents.publishing import Publisher, delivered
from agents.runner import Runner
from agents.settings import WorkerSettings
from agents.state_log import Row, StateLog
from infra.bench.load import lines
from infra.kafka.reading import ends, live_state
from infra.verification import replayed
from schemas.topics import EVENTS
from streams.projection import CONTROL_KEY, state_hash, topic_of
from streams.review import REVIEW

STATE = topic_of(REVIEW).name
CONTROL = CONTROL_KEY.encode()


@dataclass
class Batch:
    """A batch as Faust hands it over."""

    value: list[Any]
    acknowledged: bool = False

    def ack(self) -> None:
        self.acknowledged = True


@dataclass
class World:
    """One partition of a broker, and workers on it."""

    brokers: str
    partition: int
    fatal: list[BaseException] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, int]:
        return (EVENTS.name, self.partition)

    def settings(self, **options: Any) -> WorkerSettings:
        """Nothing is flushed but on demand."""
        told = {"flush_seconds": 60.0, "agents": "review", "batch_records": 500} | options
        return WorkerSettings(brokers=self.brokers, **told)

    def runner(self, **options: Any) -> Runner:
        return Runner(REVIEW, self.settings(**options), self.fatal.append)

    @contextlib.asynccontextmanager
    async def recovered(self, **options: Any) -> AsyncIterator[Runner]:
        """A runner that was given the partition, and is as far as it gets without a batch."""
        runner = self.runner(**options)
        await runner.keep({self.partition})
        async with asyncio.timeout(60):
            while not self.fatal and runner.status()[0].state != "live":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield runner
        await runner.close()

    async def write(self, events: int, subjects: int) -> list[Any]:
        """Write events and return all that the partition holds."""
        producer = new_producer(self.brokers)
        await producer.start()
        publisher = Publisher(producer)
        for subject, _, _, value in lines(events, subjects, 7):
            publisher.add(self.place, subject.encode(), value, 1, [])
        await delivered(await publisher.send_all())
        await producer.stop()
        return await self.read(EVENTS.name)

    async def read(self, topic: str) -> list[Any]:
        place = (topic, self.partition)
        end = (await ends(self.brokers, topic))[place]
        return [record async for batch in read_range(self.brokers, place, 0, end) for record in batch]

    async def commit(self, offset: int) -> None:
        """As the worker of the group that was here before."""
        consumer = new_consumer(self.brokers, group_id=self.settings().group)
        consumer.subscribe([EVENTS.name])
        await consumer.start()
        async with asyncio.timeout(60):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=50, max_records=1)
        await consumer.commit({TopicPartition(*self.place): offset})
        await consumer.stop()

    async def forge(self, rows: list[Row]) -> None:
        """Write state rows that no fold made."""
        log = StateLog(self.brokers, REVIEW, self.partition)
        await log.open()
        await log.write(rows)
        await log.close()

    async def rows(self) -> dict[bytes, bytes]:
        log = StateLog(self.brokers, REVIEW, self.partition)
        found = await log.open()
        await log.close()
        return found

    async def check(self, end: int) -> None:
        """Live state is the fold of the log up to `end`. A broker may show a transaction a moment after its commit."""
        assert self.fatal == []
        async with asyncio.timeout(30):
            while (found := await self.hashes())[0] < end - 1:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.05)
        assert found == (end - 1, True)

    async def hashes(self) -> tuple[int, bool]:
        """The position of the live state, and whether a replay up to it gives the same."""
        live, _ = await live_state(self.brokers, REVIEW, self.partition)
        again = await replayed(self.brokers, REVIEW, self.partition, live.position + 1)
        return live.position, state_hash(REVIEW, live) == state_hash(REVIEW, again)

    async def flushes(self) -> int:
        return sum(record.key == CONTROL for record in await self.read(STATE))
