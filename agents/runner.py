"""Runs any projection as a Faust agent over batches: fold, publish, write state rows, acknowledge.

Order is everything: effects are delivered, then the state rows that include them are durable, and only then is a
batch acknowledged. A crash in between repeats effects (their ids and origins are the same) and never loses one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable
from typing import Any, NamedTuple

import structlog

from agents.clients import Producer, new_producer
from agents.log_reading import read_range
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from agents.quarantine import Quarantine, TooManyRefused
from agents.settings import WorkerSettings
from agents.state_log import Row, StateLog
from schemas.wire import Undecodable
from streams.projection import CONTROL_KEY, AnyProjection, AnyState, Effect, Record, facts, record_of, restore, row_bytes

log = structlog.get_logger(__name__)


class Partition:
    """One partition's state in memory, where its rows go, and the batches not acknowledged yet."""

    def __init__(self, state: AnyState, rows: StateLog) -> None:
        self.state = state
        self.rows = rows
        #: Until then its rows are being opened, and whoever opens them closes them.
        self.opened = False
        #: The last offset that was looked at; the state's own position leaves out what is no event.
        self.read = state.position
        self.unacknowledged: list[Any] = []


class Flush(NamedTuple):
    """What one partition has to make durable, as of one instant between two batches."""

    partition: Partition
    rows: list[Row]
    events: list[Any]


class Runner:
    """One projection in one worker, over the partitions that the worker is given."""

    def __init__(self, projection: AnyProjection, settings: WorkerSettings, fatal: Callable[[BaseException], None]) -> None:
        """`fatal` is called once for what only a restart can cure; it does not return."""
        self.projection = projection
        self._settings = settings
        self._fatal = fatal
        self._count = 0
        self._partitions: dict[int, Partition] = {}
        self._producer: Producer | None = None
        self._publisher: Publisher
        self._quarantine: Quarantine
        self._flushing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        #: Held while rows are written, so that no partition is let go in between.
        self._lock = asyncio.Lock()

    async def run(self, stream: AsyncIterable[Any]) -> None:
        """Handle a stream of Faust events whose values are batches, until it ends.

        Faust acknowledges what an agent raised on, so an error must end the process before that.
        """
        try:
            async for event in stream:
                await self.process(event)
        except Exception as error:
            if not self._closing.is_set():  # after that nothing is acknowledged any more
                self._fatal(error)

    async def process(self, event: Any) -> None:
        """Fold one batch and hand its effects to the producer; it is acknowledged after the next flush."""
        await self._start()
        records = event.value
        partition = await self._partition(records[0])
        if partition is None:
            return
        self._fold(partition, records)
        partition.unacknowledged.append(event)
        await self._publisher.send()
        await self._check_refusals(records)

    async def _check_refusals(self, records: list[Any]) -> None:
        try:
            self._quarantine.check(records)
        except TooManyRefused:
            # Whoever looks for the reason finds it in the quarantine; nothing is acknowledged.
            await delivered(await self._publisher.send_all())
            raise

    async def keep(self, partitions: set[int]) -> None:
        """After a rebalance: forget the partitions that are no longer ours."""
        async with self._lock:
            for number in [number for number in self._partitions if number not in partitions]:
                partition = self._partitions.pop(number)
                if partition.opened:
                    await partition.rows.close()

    async def close(self) -> None:
        """Flush what is folded, then let go of every partition."""
        self._closing.set()
        if self._flushing is not None:
            # Never cancelled: the next flush would write a position past rows that this one had yet to write.
            await self._flushing
            await self.flush()
        await self.keep(set())
        if self._producer is not None:
            await self._producer.stop()

    async def _start(self) -> None:
        if self._flushing is not None:
            return
        self._producer = new_producer(self._settings.brokers)
        await self._producer.start()
        self._count = len(await self._producer.partitions_for(self.projection.source.name))
        self._publisher = Publisher(self._producer)
        self._quarantine = Quarantine(self._publisher, self.projection.name, self._settings.quarantine_limit)
        self._flushing = asyncio.create_task(self._flush_forever())

    # --- recovery ------------------------------------------------------------------------------

    async def _partition(self, first: Any) -> Partition | None:
        """The partition of this record, folded up to it; None if it was given away meanwhile."""
        number = first.partition
        partition = self._partitions.get(number)
        if partition is None:
            rows = StateLog(self._settings.brokers, self.projection, number)
            partition = self._partitions[number] = Partition(self.projection.empty(), rows)
            await self._recover(partition, first)
        if self._is_ours(number, partition):
            await self._catch_up(partition, first)
        return partition if self._is_ours(number, partition) else None

    def _is_ours(self, number: int, partition: Partition) -> bool:
        return self._partitions.get(number) is partition

    async def _recover(self, partition: Partition, first: Any) -> None:
        found = await partition.rows.open()
        if not self._is_ours(first.partition, partition):
            await partition.rows.close()
            return
        partition.opened = True
        partition.state = restore(self.projection, ((key.decode(), value) for key, value in found.items()))
        partition.read = position = partition.state.position
        behind = max(0, first.offset - position - 1)
        log.info("recovered", projection=self.projection.name, partition=first.partition, rows=len(found), behind=behind)

    async def _catch_up(self, partition: Partition, first: Any) -> None:
        """Fold the log up to the record at hand: the tail after a recovery, which is all of it where the state topic
        was lost, and what another worker folded while this one slept through two rebalances."""
        place = (first.topic, first.partition)
        missed = read_range(self._settings.brokers, place, partition.read + 1, first.offset)
        async with contextlib.aclosing(missed):
            async for records in missed:
                if not self._is_ours(first.partition, partition):
                    return
                self._fold(partition, records)
                await self._publisher.send()
                await self._check_refusals(records)

    # --- folding -------------------------------------------------------------------------------

    def _fold(self, partition: Partition, records: list[Any]) -> None:
        apply, state, read = self.projection.apply, partition.state, partition.read
        for raw in records:
            if raw.offset <= read:
                continue
            try:
                record = record_of(raw.partition, raw.offset, raw.value)
            except Undecodable as error:
                self._quarantine.put(raw, error.code, str(error))
                continue
            state, effects, refusal = apply(state, record)
            if effects:
                self._publish(record, effects)
            if refusal is not None:
                self._quarantine.put(raw, refusal.code, refusal.reason)
        partition.state = state
        if records:
            partition.read = max(read, records[-1].offset)

    def _publish(self, record: Record, effects: list[Effect]) -> None:
        time = record.time_ms
        subject, add = record.event.subject, self._publisher.add
        for topic, key, id_, type_, value in facts(self.projection, record, effects):
            number = record.partition if key == subject else partition_of(key, self._count)
            add((topic, number), key.encode(), value, time, fact_headers(id_, type_))

    # --- making it durable ---------------------------------------------------------------------

    async def _flush_forever(self) -> None:
        try:
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), self._settings.flush_seconds)
                await self.flush()
        except Exception as error:
            self._fatal(error)

    async def flush(self) -> None:
        """Make everything folded so far durable and acknowledge it. Folding goes on meanwhile."""
        async with self._lock:
            flushes = [self._snapshot(partition) for partition in self._partitions.values() if partition.unacknowledged]
            await delivered(await self._publisher.send_all())
            for flush in flushes:
                await flush.partition.rows.write(flush.rows)
                for event in flush.events:
                    event.ack()

    def _snapshot(self, partition: Partition) -> Flush:
        """The rows changed since the last flush, encoded now: no await between them and the position they carry."""
        state = partition.state
        rows = [(key.encode(), row_bytes(self.projection, state, key)) for key in state.touched]
        rows.append((CONTROL_KEY.encode(), row_bytes(self.projection, state, CONTROL_KEY)))
        state.touched = {}
        events, partition.unacknowledged = partition.unacknowledged, []
        return Flush(partition, rows, events)
