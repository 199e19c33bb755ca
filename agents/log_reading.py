"""A stretch of one partition's log, read without a group: recovery, replay and verify use it."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from agents.clients import new_consumer
from agents.publishing import Place


async def read_range(
    brokers: str, place: Place, start: int, end: int, max_records: int | None = None
) -> AsyncGenerator[list[Any], None]:
    """Batches of aiokafka's ConsumerRecords with start <= offset < end, in order; of a fetch each, or smaller."""
    if start >= end:
        return
    consumer = new_consumer(brokers)
    try:
        await consumer.start()
        partition = TopicPartition(*place)
        consumer.assign([partition])
        consumer.seek(partition, start)
        while start < end:
            records = (await consumer.getmany(partition, timeout_ms=500, max_records=max_records)).get(partition, [])
            # Not the last record's offset: behind it there may be markers, which are no records.
            start = await consumer.position(partition)
            # Behind the end others may have written since: then nothing is left of what was fetched.
            if wanted := [record for record in records if record.offset < end]:
                yield wanted
    finally:
        await consumer.stop()


class Extent(NamedTuple):
    """One partition of a log: the first offset that it has, the next that it will get, and where a group goes on."""

    first: int
    end: int
    committed: int


async def extents(brokers: str, group: str, places: Iterable[Place]) -> dict[Place, Extent]:
    """Ask for these partitions without joining the group; it goes on at 0 where it has committed nothing."""
    asked = [TopicPartition(*place) for place in places]
    consumer = new_consumer(brokers, group_id=group)
    try:
        await consumer.start()
        # In this order: what others append and commit meanwhile must not look like commits past the end.
        committed = [await consumer.committed(at) or 0 for at in asked]
        first, end = await consumer.beginning_offsets(asked), await consumer.end_offsets(asked)
        return {
            (at.topic, at.partition): Extent(first[at], end[at], goes_on) for at, goes_on in zip(asked, committed, strict=True)
        }
    finally:
        await consumer.stop()
