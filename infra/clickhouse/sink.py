"""The sink: every record of every fact topic and of the quarantine becomes one row, once, whatever dies when.

The table is the offset store. An insert is one block of one partition and one month, so it is there whole or not at
all; where a batch takes several, the range is noted as pending first, and a start begins at such a range again. What
is inserted again replaces itself: a row's key is its place in the log.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError

from infra.clickhouse.engine import Store, one_line
from infra.clickhouse.rows import Record, arrow, by_month, rows_of
from infra.errors import AssayError, Exit
from schemas.tables import PROGRESS_TABLE, SINK_SCHEMA, SINK_TABLES, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger(__name__)

#: ClickHouse's codes for "not now": memory, too many parts, timeouts, network, too many queries.
PASSING = frozenset({159, 202, 209, 210, 241, 252, 279, 425, 999})


@dataclass(frozen=True)
class Limits:
    """When a batch is written, and how much may wait in memory."""

    rows: int = 50_000
    bytes: int = 32 << 20
    buffered_bytes: int = 128 << 20
    seconds: float = 1.0
    retry_seconds: float = 30.0


@dataclass
class Place:
    """How far one partition is stored, and what of it waits in memory."""

    table: Table
    topic: str
    partition: int
    position: int
    end: int
    #: Offset behind a range that may be half written; 0 if there is none.
    pending_until: int = 0
    stored_rows: int = 0
    buffer: list[Record] = field(default_factory=list)
    buffered_bytes: int = 0
    since: float = 0.0
    #: Of what was taken out of the buffer and is not stored yet; one write of a place at a time, so that they are in order.
    writing_bytes: int = 0

    def add(self, records: Sequence[Record]) -> None:
        if not self.buffer:
            self.since = time.monotonic()
        self.buffer += records
        self.buffered_bytes += sum(max(record.serialized_value_size, 0) + 200 for record in records)

    @property
    def held_bytes(self) -> int:
        return self.buffered_bytes + self.writing_bytes

    def due(self, limits: Limits, now: float) -> bool:
        if not self.buffer or self.writing_bytes:
            return False
        full = len(self.buffer) >= limits.rows or self.buffered_bytes >= limits.bytes
        return full or now - self.since >= limits.seconds

    def take(self) -> list[Record]:
        """What waits, to be written; `written` says that it was."""
        taken, self.buffer = self.buffer, []
        self.writing_bytes, self.buffered_bytes = self.buffered_bytes, 0
        return taken

    def written(self) -> None:
        self.writing_bytes = 0

    def status(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "partition": self.partition,
            "table": self.table.name,
            "position": self.position,
            "end": self.end,
            "lag": max(self.end - self.position, 0),
            "rows": self.stored_rows,
        }


class Sink:
    """Reads with a consumer of its own, without a group: only one sink writes to a store."""

    def __init__(self, store: Store, bootstrap: str, limits: Limits = Limits(), tables: Sequence[Table] = SINK_TABLES) -> None:
        self.store = store
        self.bootstrap = bootstrap
        self.limits = limits
        self.tables = {table.topic.name: table for table in tables if table.topic}
        self.places: dict[TopicPartition, Place] = {}
        self.last_error = ""
        self.started = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "sink")
        #: Turns records into columns, while the engine's own threads store others.
        self._columns = ThreadPoolExecutor(1, "columns")
        self._writes: set[asyncio.Task[None]] = set()
        self._client: Client | None = None

    @property
    def lag(self) -> int:
        return sum(max(place.end - place.position, 0) for place in self.places.values())

    def status(self) -> dict[str, Any]:
        """Positions, ends, lag and rows of every partition; what `/readyz` and people look at."""
        partitions = [place.status() for _, place in sorted(self.places.items())]
        buffered = sum(len(place.buffer) for place in self.places.values())
        rows = sum(place.stored_rows for place in self.places.values())
        whole = {
            "started": self.started.is_set(),
            "lag": self.lag,
            "rows": rows,
            "buffered_rows": buffered,
            "last_error": self.last_error,
        }
        return {**whole, "partitions": partitions}

    async def run(self, stop: asyncio.Event) -> None:
        """Store until `stop`; then finish the insert that runs, and return. Raises where it cannot go on."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=8 << 20,
            fetch_max_bytes=32 << 20,
        )
        try:
            await consumer.start()
            await self._start(consumer)
            await self._loop(consumer, stop)
        finally:
            for task in self._writes:
                task.cancel()
            await asyncio.gather(*self._writes, return_exceptions=True)
            await consumer.stop()
            self._columns.shutdown(wait=True)
            self._thread.shutdown(wait=True)

    async def _start(self, consumer: AIOKafkaConsumer) -> None:
        partitions = await topic_partitions(self.bootstrap, list(self.tables))
        self._client = await self._threaded(self.store.client, self.store.database)
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for topic, table in self.tables.items():
            stored = await self._threaded(self._stored, table, topic)
            for at in partitions:
                if at.topic == topic:
                    self.places[at] = _place(table, at, stored.get(at.partition, (0, 0, 0)), first[at], end[at])
        consumer.assign(partitions)
        for at, place in self.places.items():
            consumer.seek(at, place.position)
        self.started.set()
        log.info("sink started", lag=self.lag, partitions=len(partitions))

    async def _threaded(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _stored(self, table: Table, topic: str) -> dict[int, tuple[int, int, int]]:
        """By partition: the next offset, the offset behind a pending range or 0, and the rows stored."""
        assert self._client is not None
        asked = {"topic": topic}
        found = self._client.query(
            f"SELECT `partition`, max(`offset`) + 1, count() FROM {table.name} WHERE topic = %(topic)s GROUP BY `partition`",
            asked,
        )
        stored = {partition: (following, 0, rows) for partition, following, rows in found.result_rows}
        notes = self._client.query(
            f"SELECT `partition`, first, next FROM {PROGRESS_TABLE.name} FINAL WHERE topic = %(topic)s AND pending", asked
        )
        for partition, first, behind in notes.result_rows:
            stored[partition] = (first, behind, stored.get(partition, (0, 0, 0))[2])
        return stored

    async def _loop(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        while not stop.is_set():
            wait = int(self.limits.seconds * 250)
            try:
                fetched = await consumer.getmany(timeout_ms=wait, max_records=self.limits.rows)
            except OffsetOutOfRangeError as error:
                raise _lost(error) from error
            for at, records in fetched.items():
                self.places[at].add(records)
            for at, place in self.places.items():
                place.end = max(consumer.highwater(at) or 0, place.end)
            await self._write_due(stop)
        await asyncio.gather(*self._writes)

    async def _write_due(self, stop: asyncio.Event) -> None:
        """Begin the writes that are due. Reading goes on meanwhile, as long as there is room."""
        await self._begin_writes(stop)
        self._end_writes()
        while self._crowded and self._writes:
            await asyncio.wait(self._writes, return_when=asyncio.FIRST_COMPLETED)
            self._end_writes()
            await self._begin_writes(stop)

    async def _begin_writes(self, stop: asyncio.Event) -> None:
        for place in self.places.values():
            if place.due(self.limits, time.monotonic()) or (self._crowded and place.buffer and not place.writing_bytes):
                self._writes.add(asyncio.create_task(self._write(place, stop)))
                await asyncio.sleep(0)  # it takes what is buffered

    def _end_writes(self) -> None:
        """Forget those that are done. Raises what one of them raised."""
        for task in [task for task in self._writes if task.done()]:
            self._writes.discard(task)
            task.result()

    @property
    def _crowded(self) -> bool:
        return sum(place.held_bytes for place in self.places.values()) >= self.limits.buffered_bytes

    async def _write(self, place: Place, stop: asyncio.Event) -> None:
        records = place.take()
        parts = await asyncio.get_running_loop().run_in_executor(self._columns, _parts, place, records)
        pause = 0.1
        while not stop.is_set():
            try:
                await self._threaded(self._insert, place, records, parts)
            except Exception as error:  # what a driver raises has no common ground
                self.last_error = one_line(error)
                if not _passes(error):
                    raise _refused(place, error) from error
                log.warning("insert failed, trying again", table=place.table.name, error=self.last_error, seconds=pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
                pause = min(2 * pause, self.limits.retry_seconds)
            else:
                self.last_error = ""
                place.written()
                return

    def _insert(self, place: Place, records: list[Record], parts: list[Any]) -> None:
        """In the sink's thread: all of these records, in one insert per month."""
        first, behind = records[0].offset, records[-1].offset + 1
        if len(parts) > 1:
            self._note(place, first, max(behind, place.pending_until))
        for part in parts:
            self._insert_part(place, part)
        if len(parts) > 1 or place.pending_until:
            self._note(place, behind, max(behind, place.pending_until))
        place.position = behind
        place.stored_rows += len(records)

    def _insert_part(self, place: Place, part: Any) -> None:
        assert self._client is not None
        offsets = part.column("offset")
        token = f"{place.topic}:{place.partition}:{offsets[0]}:{offsets[-1]}:{SINK_SCHEMA}"
        # One block, so that it is there whole or not at all; the last limit is the guard of one month an insert.
        settings = {
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            "async_insert": 0,
            "max_insert_block_size": len(offsets) + 1,
            "min_insert_block_size_rows": len(offsets),
            "min_insert_block_size_bytes": 0,
            "max_partitions_per_insert_block": 1,
        }
        self._client.insert_arrow(f"{self.store.database}.{place.table.name}", part, settings=settings)

    def _note(self, place: Place, first: int, behind: int) -> None:
        """Note that [first, behind) may be half written; an empty range clears the note."""
        assert self._client is not None
        row = [place.topic, place.partition, first, behind, first < behind]
        names = ["topic", "partition", "first", "next", "pending"]
        self._client.insert(f"{self.store.database}.{PROGRESS_TABLE.name}", [row], column_names=names)
        place.pending_until = behind if first < behind else 0


def _parts(place: Place, records: list[Record]) -> list[Any]:
    """In a thread of its own: the records as Arrow tables of one month each."""
    rows = rows_of(place.table, records)
    return list(by_month(rows, arrow(place.topic, place.partition, rows)))


async def topic_partitions(bootstrap: str, topics: Sequence[str]) -> list[TopicPartition]:
    """All partitions of these topics, in order. Raises AssayError where a topic is missing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(list(topics))}
    finally:
        await admin.close()
    for topic in topics:
        if not found.get(topic):
            raise AssayError("a topic is missing", where=topic, hint="`assay up` and `assay serve` create the topics")
    return [TopicPartition(topic, number) for topic in topics for number in sorted(part["partition"] for part in found[topic])]


def _passes(error: Exception) -> bool:
    from clickhouse_connect.driver.exceptions import OperationalError

    return isinstance(error, OperationalError | OSError) or getattr(error, "code", None) in PASSING


def _place(table: Table, at: TopicPartition, stored: tuple[int, int, int], first: int, end: int) -> Place:
    position, pending_until, rows = stored
    if position > end:
        raise AssayError(
            "the analytics store is ahead of the log: it was filled from another one",
            where=f"{at.topic}, partition {at.partition}",
            got=f"next offset {position}, and the log ends at {end}",
            hint="name the right brokers, or move the store's directory away: it is rebuilt from the log",
            exit_code=Exit.FAILED,
        )
    if position < first:
        log.warning("the log begins later than the store ends", topic=at.topic, partition=at.partition, lost=first - position)
    return Place(table, at.topic, at.partition, max(position, first), end, pending_until, rows)


def _lost(error: Exception) -> AssayError:
    return AssayError(
        "the log no longer has what the sink has to read next",
        got=error,
        hint="the fact topics must keep everything; restart to go on behind the gap",
        exit_code=Exit.FAILED,
    )


def _refused(place: Place, error: Exception) -> AssayError:
    return AssayError(
        "ClickHouse refuses an insert",
        where=f"{place.table.name}, {place.topic} partition {place.partition} from offset {place.position}",
        got=one_line(error),
        hint="`assay migrate status` shows whether the tables are up to date; nothing is lost, the log has it",
        exit_code=Exit.FAILED,
    )
