"""A simulated worker: the real runners, fed by a thin stand-in for Faust that keeps the same books.

Like agents/app.py over the batch transport it hands out batches in a bounded queue, acknowledges only what is of the
newest generation, commits in order, and before a rebalance drops what is queued and flushes what is folded.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from agents.clients import new_consumer
from agents.in_flight import InFlight
from agents.rebalancing import hand_back, take_over
from agents.runner import Runner
from agents.settings import WorkerSettings
from streams.projection import AnyProjection

Fatal = Callable[[BaseException], None]
MakeRunner = Callable[[AnyProjection, WorkerSettings, Fatal], Runner]

#: Of create_app in agents/app.py, scaled down with the length of a run.
COMMIT_SECONDS = 0.3
TIMES = {"session_timeout_ms": 4_000, "heartbeat_interval_ms": 800, "rebalance_timeout_ms": 6_000}
REVOKE_SECONDS = 2.0
RECOVERING_SECONDS = 0.1
FETCH_MS = 400
BUFFERED_BATCHES = 4
MOST_RECORDS = 40


@dataclass(eq=False)
class Batch:
    """One partition's fetched records, as an agent gets them."""

    value: list[Any]
    place: TopicPartition
    generation: int
    worker: "SimulatedWorker"
    acked: bool = False

    def __post_init__(self) -> None:
        self.offset: int = self.value[-1].offset

    def ack(self) -> None:
        """Of an earlier generation it commits nothing: the same records are on their way again."""
        self.acked = self.worker.is_current(self)


class SimulatedWorker(ConsumerRebalanceListener):  # type: ignore[misc]
    """One worker process, from its start to its end."""

    def __init__(
        self, settings: WorkerSettings, projections: Iterable[AnyProjection], make: MakeRunner, fatal: Fatal, chance: Random
    ) -> None:
        self._runners = {projection.source.name: make(projection, settings, fatal) for projection in projections}
        self._queues: dict[str, asyncio.Queue[Batch]] = {topic: asyncio.Queue(BUFFERED_BATCHES) for topic in self._runners}
        self._settings = settings
        self._fatal = fatal
        self._chance = chance
        self._generation = 0
        self._flow = asyncio.Event()
        self._in_flight = InFlight()
        self._stopping = asyncio.Event()
        self._consumer: Any = None

    async def run(self) -> None:
        """Work until `leave`; what goes wrong is fatal."""
        try:
            self._consumer = new_consumer(self._settings.brokers, group_id=self._settings.group, **TIMES)
            self._consumer.subscribe(sorted(self._runners), listener=self)
            await self._consumer.start()
            work = [runner.run(self._stream(topic)) for topic, runner in self._runners.items()]
            tasks = [asyncio.ensure_future(self._guarded(one)) for one in (*work, self._fetch(), self._commit_always())]
            await self._stopping.wait()
            await self._stop()
            for task in tasks:
                task.cancel()
        except Exception as error:
            self._fatal(error)

    def leave(self) -> None:
        """As at SIGTERM: finish, flush, commit, leave."""
        self._stopping.set()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._fatal(error)

    async def _stop(self) -> None:
        self._quiet()
        await asyncio.gather(*(runner.close() for runner in self._runners.values()))
        await self._commit()
        await self._consumer.stop()

    # --- rebalances ----------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._quiet()
        await hand_back(self._runners.values(), self._commit, REVOKE_SECONDS)

    def _quiet(self) -> None:
        """Hand out nothing more, and drop what is queued."""
        self._flow.clear()
        for queue in self._queues.values():
            while not queue.empty():
                queue.get_nowait()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._generation = self._consumer.generation
        self._in_flight.clear()
        await self._guarded(take_over(self._runners.items(), assigned))
        self._flow.set()

    # --- records -------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        while True:
            await self._flow.wait()
            ready = self._ready()
            if not ready:
                await asyncio.sleep(RECOVERING_SECONDS)
                continue
            most = self._chance.randint(1, MOST_RECORDS)
            fetched = await self._consumer.getmany(*ready, timeout_ms=FETCH_MS, max_records=most)
            if self._flow.is_set():
                await self._hand_out(fetched, self._generation)
            else:
                self._seek_back(fetched)

    def _ready(self) -> list[TopicPartition]:
        """What is recovered: the rest is not fetched yet."""
        found = [status for runner in self._runners.values() for status in runner.status()]
        recovering = {(status.topic, status.partition) for status in found if status.state != "live"}
        return [place for place in sorted(self._consumer.assignment()) if place not in recovering]

    async def _hand_out(self, fetched: dict[TopicPartition, list[Any]], generation: int) -> None:
        for place, records in fetched.items():
            if not self._flow.is_set() or generation != self._generation:
                return  # a rebalance: whoever gets the partition reads these again
            batch = Batch(records, place, generation, self)
            self._in_flight.hand_out(place, batch)
            await self._queues[place.topic].put(batch)

    def _seek_back(self, fetched: dict[TopicPartition, list[Any]]) -> None:
        """Fetched for the next generation before it begins here: these records would be skipped."""
        for place, records in fetched.items():
            if place in self._consumer.assignment():
                self._consumer.seek(place, records[0].offset)

    async def _stream(self, topic: str) -> AsyncIterator[Batch]:
        while True:
            batch = await self._queues[topic].get()
            if self.is_current(batch) and self._flow.is_set():
                yield batch

    def is_current(self, batch: Batch) -> bool:
        return batch.generation == self._generation

    async def _commit_always(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        finished = {place: self._in_flight.finish(place) for place in self._in_flight}
        offsets = {place: last + 1 for place, last in finished.items() if last is not None}
        if offsets:
            # A commit that fails is made good by the next one, or by whoever reads the same again.
            with contextlib.suppress(CommitFailedError, IllegalStateError, KafkaError):
                await self._consumer.commit(offsets)
