"""Runs any projection as a Faust agent over batches: fold, publish, write state rows, acknowledge.

Order is everything: effects are delivered, then the state rows that include them are durable, and only then is a
batch acknowledged. A crash in between repeats effects (their ids and origins are the same) and never loses one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable, Coroutine
from typing import Any, ClassVar

import structlog
from aiokafka.errors import ProducerFenced

from agents.clients import Producer, new_producer
from agents.log_reading import read_range
from agents.partition import Flush, Partition, Status
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from agents.quarantine import Quarantine, TooManyRefused
from agents.recovery import restore
from agents.settings import WorkerSettings
from agents.state_log import StateLog
from schemas.wire import Undecodable
from streams.projection import AnyProjection, Effect, Record, facts, record_of, topic_of

log = structlog.get_logger(__name__)

#: Partitions recovered at the same time: each holds a fetch in memory.
RECOVERIES = 4
#: How often a recovery says how far it is.
PROGRESS_SECONDS = 1.0
#: How long facts wait for others to share a batch with. Longer costs latency; shorter costs batches, each some tens of
#: microseconds.
LINGER_SECONDS = 0.02
TOLD = ("agent", "partition", "state", "rows_read", "rows_expected", "log_have", "log_need", "eta_seconds")

#: Partition, offset and bytes -> a record. Raises Undecodable.
Read = Callable[[int, int, bytes], Record]


class Fenced(Exception):
    """Another worker has opened a state log that the group gave to this one."""


class UnequalPartitions(Exception):
    """A projection's source has another number of partitions than its state: the number is fixed once there are events."""


class Runner:
    """One projection in one worker, over the partitions that the worker is given."""

    #: Where rows go.
    state_log: ClassVar[type[StateLog]] = StateLog

    def __init__(
        self,
        projection: AnyProjection,
        settings: WorkerSettings,
        fatal: Callable[[BaseException], None],
        read: Read = record_of,
    ) -> None:
        """`fatal` is called once for what only a restart can cure; it does not return. `read` makes records of bytes."""
        self.projection = projection
        self._read = read
        self._settings = settings
        self._fatal = fatal
        self._count = 0
        self._partitions: dict[int, Partition] = {}
        self._producer: Producer | None = None
        self._publisher: Publisher
        self._quarantine: Quarantine
        self._flushing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        #: Something was raised in the middle of a batch: what is in memory is no fold of the log, and must not be written.
        self._broken = False
        #: Set by whatever is folded: there may be facts to send.
        self._made = asyncio.Event()
        #: Wakes the flush before its time.
        self._wake = asyncio.Event()
        #: Set by every flush: what waits for room looks again.
        self._relieved = asyncio.Event()
        #: What the flush under way is writing.
        self._in_flush: list[Flush] = []
        #: Held while rows are written, so that no state log is closed in between.
        self._lock = asyncio.Lock()
        self._recovering = asyncio.Semaphore(RECOVERIES)
        #: What goes on beside: recoveries, their progress, and the closing of what was given away.
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stream: AsyncIterable[Any]) -> None:
        """Handle a stream of Faust events whose values are batches, until it ends.

        Faust acknowledges what an agent raised on, so an error must end the process before that.
        """
        try:
            async for event in stream:
                await self.process(event)
        except Exception as error:
            self._fail(error)

    async def process(self, event: Any) -> None:
        """Fold one batch and hand its effects to the producer; it is acknowledged after the next flush.

        A batch of a partition that is not ours (any more) is left alone: whoever owns it is handed it again.
        """
        await self._room()
        records = event.value
        partition = await self._partition(records[0])
        if partition is None:
            return
        self._fold(partition, records)
        partition.unacknowledged.append(event)
        await self._folded(partition, records)

    async def _folded(self, partition: Partition, records: list[Any]) -> None:
        partition.bytes += sum(len(record.value or b"") for record in records)
        self._made.set()
        try:
            # Before anything is awaited: a flush in between would acknowledge what passed the limit.
            self._quarantine.check(records)
        except TooManyRefused:
            self._broken = True
            # Whoever looks for the reason finds it in the quarantine; nothing is acknowledged.
            await delivered(await self._publisher.send_all())
            raise
        if self._publisher.crowded:
            await self._publisher.send()

    def status(self) -> list[Status]:
        """How far each partition is. May be called from another thread."""
        return [partition.status() for partition in list(self._partitions.values())]

    def _fail(self, error: BaseException) -> None:
        if not self._closing.is_set():  # after that nothing is acknowledged any more
            self._fatal(error)

    # --- whose partitions ----------------------------------------------------------------------

    async def keep(self, partitions: set[int]) -> None:
        """After a rebalance: forget the partitions that are no longer ours, and begin to recover the new ones."""
        for number in self._partitions.keys() - partitions:
            self._let_go(self._partitions[number])
        if partitions:
            try:
                await self._start()
            except UnequalPartitions as error:
                self._fail(error)
                return
        for number in sorted(partitions):
            if number in self._partitions:
                self._partitions[number].revoked = False
            else:
                self._take(number)

    async def revoke(self) -> None:
        """Before a rebalance: make durable what is folded, so that the next owner has little to do."""
        for partition in self._partitions.values():
            partition.revoked = True
        try:
            if self._flushing is not None:
                await self.flush()
        except Exception as error:
            self._fail(error)

    async def close(self) -> None:
        """Flush what is folded, then let go of every partition."""
        self._closing.set()
        self._wake.set()
        self._made.set()
        self._relieved.set()
        for partition in self._partitions.values():
            self._stop_recovery(partition)
        if self._flushing is not None:
            # Never cancelled: the next flush would write a position past rows that this one had yet to write.
            await self._flushing
            await self.flush()
        await self.keep(set())
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._producer is not None:
            await self._producer.stop()

    async def _start(self) -> None:
        if self._flushing is not None:
            return
        self._producer = new_producer(self._settings.brokers)
        await self._producer.start()
        self._count = await self._same_partitions(self._producer)
        self._publisher = Publisher(self._producer)
        self._quarantine = Quarantine(self._publisher, self.projection.name, self._settings)
        self._flushing = asyncio.create_task(self._flush_forever())
        self._beside(self._send_forever())
        self._beside(self._tell_progress())

    async def _same_partitions(self, producer: Producer) -> int:
        source, state = self.projection.source.name, topic_of(self.projection).name
        count, rows = len(await producer.partitions_for(source)), len(await producer.partitions_for(state))
        if count != rows:
            raise UnequalPartitions(
                f"{source} has {count} partitions and {state} has {rows}: they were added to one of them, and keys go elsewhere "
                f"since. Bring the log into a topic of the old number, or begin with a new broker"
            )
        return count

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _take(self, number: int) -> None:
        rows = self.state_log(self._settings.brokers, self.projection, number)
        partition = self._partitions[number] = Partition(self.projection, number, rows)
        partition.recovery = self._beside(self._recover(partition))

    def _let_go(self, partition: Partition) -> None:
        """Forget it at once; nothing of it is acknowledged any more. Its log closes when no flush needs it."""
        del self._partitions[partition.number]
        self._stop_recovery(partition)
        self._beside(self._close_rows(partition))

    def _stop_recovery(self, partition: Partition) -> None:
        partition.settled.set()
        if partition.recovery is not None:
            partition.recovery.cancel()

    async def _close_rows(self, partition: Partition) -> None:
        if partition.recovery is not None:
            await asyncio.wait([partition.recovery])
        async with self._lock:
            await partition.rows.close()

    def _is_ours(self, partition: Partition) -> bool:
        return self._partitions.get(partition.number) is partition

    def _fenced(self, partition: Partition) -> None:
        """Another worker has opened the state log. Between a revocation and the next assignment it may: what we have
        of the partition is void. At any other time one of us does not know the group, and it may be us."""
        if not self._is_ours(partition):
            return
        if not partition.revoked:
            self._fail(Fenced(f"{self.projection.name}, partition {partition.number}: another worker opened its state rows"))
        self._let_go(partition)

    # --- recovery ------------------------------------------------------------------------------

    async def _recover(self, partition: Partition) -> None:
        try:
            async with self._recovering:
                goes_on = await restore(self._settings.brokers, self._settings.group, partition)
                partition.stage = "catching up"
                await self._catch_up(partition, goes_on)
            partition.stage = "live"
            log.info("recovered", agent=self.projection.name, partition=partition.number, rows=len(partition.state.rows))
        except ProducerFenced:
            self._fenced(partition)
        except Exception as error:
            self._fail(error)
        finally:
            partition.settled.set()

    async def _partition(self, first: Any) -> Partition | None:
        """The partition of this record, folded up to it; None if it is not ours, or not any more."""
        partition = self._partitions.get(first.partition)
        if partition is None:
            return None
        await partition.settled.wait()
        if self._is_live(partition):
            await self._catch_up(partition, first.offset)
        return partition if self._is_live(partition) else None

    def _is_live(self, partition: Partition) -> bool:
        return self._is_ours(partition) and partition.stage == "live" and not self._closing.is_set()

    async def _catch_up(self, partition: Partition, end: int) -> None:
        """Fold the log up to where the group goes on: the tail after a recovery, which is all of it where the state
        topic was lost, and what another worker folded while this one slept through two rebalances. Flushes go on
        meanwhile, so that no transaction grows with the log."""
        partition.catching_up.began(partition.read + 1, end)
        place = (self.projection.source.name, partition.number)
        missed = read_range(self._settings.brokers, place, partition.read + 1, end, self._settings.batch_records)
        async with contextlib.aclosing(missed):
            async for records in missed:
                await self._room()
                if self._closing.is_set() or not self._is_ours(partition):
                    return
                self._fold(partition, records)
                await self._folded(partition, records)
                partition.catching_up.have = partition.read + 1

    async def _tell_progress(self) -> None:
        """Says every second how far a recovery is that takes longer than that."""
        before: set[int] = set()
        while not self._closing.is_set():
            found = [status for status in self.status() if status.state != "live"]
            for status in found:
                if status.partition in before:
                    log.info("recovering", **{name: getattr(status, name) for name in TOLD})
            before = {status.partition for status in found}
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), PROGRESS_SECONDS)

    # --- folding -------------------------------------------------------------------------------

    def _fold(self, partition: Partition, records: list[Any]) -> None:
        try:
            self._fold_all(partition, records)
        except BaseException:
            self._broken = True
            raise

    def _fold_all(self, partition: Partition, records: list[Any]) -> None:
        apply, state, read, record_at = self.projection.apply, partition.state, partition.read, self._read
        for raw in records:
            if raw.offset <= read:
                continue
            try:
                record = record_at(raw.partition, raw.offset, raw.value)
            except Undecodable as error:
                self._quarantine.put(raw, error)
                continue
            state, effects, refusal = apply(state, record)
            if effects:
                self._publish(record, effects)
            if refusal is not None:
                self._quarantine.put(raw, refusal)
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
                    await asyncio.wait_for(self._wake.wait(), self._settings.flush_seconds)
                self._wake.clear()
                await self.flush()
        except Exception as error:
            self._fatal(error)

    async def _send_forever(self) -> None:
        """Facts leave soon, in batches that are not full, rather than wait for the next flush."""
        try:
            while not self._closing.is_set():
                await self._made.wait()
                self._made.clear()
                await asyncio.sleep(LINGER_SECONDS)
                await self._publisher.send(unfilled=True)
        except Exception as error:
            self._fail(error)

    async def flush(self) -> None:
        """Make everything folded so far durable and acknowledge it. Folding goes on meanwhile."""
        async with self._lock:
            if self._broken:
                return
            self._in_flush = [partition.snapshot() for partition in self._partitions.values() if partition.is_dirty]
            await delivered(await self._publisher.send_all())
            for flush in self._in_flush:
                await self._write(flush)
            self._in_flush = []
        self._relieved.set()

    async def _write(self, flush: Flush) -> None:
        try:
            await flush.partition.rows.write(flush.rows)
        except ProducerFenced:
            self._fenced(flush.partition)
            return
        flush.partition.flushed(flush.position)
        for event in flush.events:
            event.ack()

    async def _room(self) -> None:
        """Wait while as much is folded and not durable as may be. A flush that stalls so stops the folding, Faust's
        buffer fills, and the partitions are paused."""
        while self._is_full() and not self._closing.is_set():
            self._relieved.clear()
            self._wake.set()
            await self._relieved.wait()

    def _is_full(self) -> bool:
        settings = self._settings
        return self.unflushed_bytes >= settings.unflushed_bytes or self.unflushed_rows >= settings.unflushed_rows

    @property
    def unflushed_bytes(self) -> int:
        """Of records that are folded and not durable yet."""
        held: tuple[Partition | Flush, ...] = (*self._partitions.values(), *self._in_flush)
        return sum(one.bytes for one in held)

    @property
    def unflushed_rows(self) -> int:
        """State rows that are changed and not written yet."""
        changed = sum(len(partition.state.touched) for partition in self._partitions.values())
        return changed + sum(len(flush.rows) for flush in self._in_flush)
