"""Compares the store with the log, partition by partition: as many rows, and the same content in them.

The log is read from its beginning to where it ended at the start. The store is asked for the same ranges, as views see
it (each row once); rows that the log does not have at all are counted beside it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.clickhouse.rows import checksum, checksum_sql, rows_of
from infra.clickhouse.sink import topic_partitions
from schemas.tables import SINK_TABLES, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Records whose rows are held in memory at once.
CHUNK = 20_000
#: Rows of a partition behind the log's end that are looked at.
STRANGE = 1_000


@dataclass(frozen=True)
class Digest:
    """How many rows, and the xor of their hashes."""

    rows: int = 0
    checksum: int = 0

    def __add__(self, other: "Digest") -> "Digest":
        return Digest(self.rows + other.rows, self.checksum ^ other.checksum)


@dataclass(frozen=True)
class Partition:
    """One partition, compared. `strange_rows`: rows of the store at places that the log does not have."""

    topic: str
    partition: int
    log: Digest
    clickhouse: Digest
    strange_rows: int = 0

    @property
    def holds(self) -> bool:
        return self.log == self.clickhouse and not self.strange_rows


Range = tuple[int, int]
Progress = Callable[[int, int], None]


async def reconcile(
    bootstrap: str,
    client: "Client",
    wait_seconds: float,
    progress: Progress = lambda done, total: None,
    tables: Iterable[Table] = SINK_TABLES,
) -> tuple[Partition, ...]:
    """Every partition, compared; asks the store again, at most so long, while its sink may still catch up."""
    by_topic = {table.topic.name: table for table in tables if table.topic}
    deadline = time.monotonic() + wait_seconds
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", max_partition_fetch_bytes=4 << 20
    )
    await consumer.start()
    try:
        ranges = await _ranges(consumer, await topic_partitions(bootstrap, list(by_topic)))
        log = await _read_log(consumer, by_topic, ranges, progress)
        while True:
            stored = await asyncio.to_thread(_read_store, client, by_topic, ranges)
            strange = await _strange(consumer, client, by_topic, ranges)
            none = Digest()
            compared = tuple(
                Partition(at.topic, at.partition, log.get(at, none), stored.get(at, none), strange.get(at, 0))
                for at in sorted(log.keys() | strange.keys())
            )
            if all(one.holds for one in compared) or time.monotonic() >= deadline:
                return compared
            await asyncio.sleep(0.5)
    finally:
        await consumer.stop()


async def _ranges(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, Range]:
    first, behind = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    return {at: (first[at], behind[at]) for at in partitions}


async def _read_log(
    consumer: AIOKafkaConsumer, tables: Mapping[str, Table], ranges: Mapping[TopicPartition, Range], progress: Progress
) -> dict[TopicPartition, Digest]:
    digests = dict.fromkeys(ranges, Digest())
    behind = {at: end for at, (first, end) in ranges.items() if first < end}
    total, done = sum(end - first for first, end in ranges.values()), 0
    consumer.assign(list(behind))
    for at in behind:
        consumer.seek(at, ranges[at][0])
    while behind:
        for at, records in (await consumer.getmany(*behind, timeout_ms=500, max_records=CHUNK)).items():
            wanted = [record for record in records if record.offset < behind[at]]
            digests[at] += await asyncio.to_thread(_digest, tables[at.topic], at.partition, wanted)
            done += len(wanted)
            if await consumer.position(at) >= behind[at]:
                del behind[at]
                consumer.pause(at)
        progress(done, total)
    return digests


def _digest(table: Table, partition: int, records: list[Any]) -> Digest:
    return Digest(len(records), checksum(partition, rows_of(table, records))) if records else Digest()


def _read_store(
    client: "Client", tables: Mapping[str, Table], ranges: Mapping[TopicPartition, Range]
) -> dict[TopicPartition, Digest]:
    found: dict[TopicPartition, Digest] = {}
    for topic, table in tables.items():
        asked = (
            f"SELECT `partition`, count(), {checksum_sql(table)} FROM {table.name} FINAL "
            f"WHERE topic = {{topic:String}} AND ({_within(topic, ranges)}) GROUP BY `partition`"
        )
        for partition, rows, total in client.query(asked, parameters={"topic": topic}).result_rows:
            found[TopicPartition(topic, partition)] = Digest(rows, total)
    return found


def _within(topic: str, ranges: Mapping[TopicPartition, Range]) -> str:
    ends = {at.partition: behind for at, (_, behind) in ranges.items() if at.topic == topic}
    return " OR ".join(f"(`partition` = {partition} AND `offset` < {behind})" for partition, behind in ends.items())


async def _strange(
    consumer: AIOKafkaConsumer, client: "Client", tables: Mapping[str, Table], ranges: Mapping[TopicPartition, Range]
) -> dict[TopicPartition, int]:
    """Rows at places that the log does not have: the last STRANGE of a partition are looked at."""
    outside = await asyncio.to_thread(_outside, client, tables, ranges)
    # Asked after the store: what arrived in the log meanwhile is no stranger.
    ends = await consumer.end_offsets(list(ranges))
    counts: dict[TopicPartition, int] = {}
    for at, offset in outside:
        if offset >= ends.get(at, 0):
            counts[at] = counts.get(at, 0) + 1
    return counts


def _outside(
    client: "Client", tables: Mapping[str, Table], ranges: Mapping[TopicPartition, Range]
) -> list[tuple[TopicPartition, int]]:
    found: list[tuple[TopicPartition, int]] = []
    for topic, table in tables.items():
        asked = (
            f"SELECT topic, `partition`, `offset` FROM {table.name} FINAL WHERE topic != {{topic:String}} "
            f"OR NOT ({_within(topic, ranges)}) ORDER BY `offset` DESC LIMIT {STRANGE} BY topic, `partition`"
        )
        rows = client.query(asked, parameters={"topic": topic}).result_rows
        found += [(TopicPartition(name, partition), offset) for name, partition, offset in rows]
    return found
