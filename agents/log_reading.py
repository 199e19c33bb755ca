"""A stretch of one partition's log, read without a group: recovery, replay and verify use it."""

from collections.abc import AsyncGenerator
from typing import Any

from aiokafka import TopicPartition

from agents.clients import new_consumer
from agents.publishing import Place


async def read_range(brokers: str, place: Place, start: int, end: int) -> AsyncGenerator[list[Any], None]:
    """Batches of aiokafka's ConsumerRecords with start <= offset < end, in order."""
    if start >= end:
        return
    consumer = new_consumer(brokers)
    await consumer.start()
    try:
        partition = TopicPartition(*place)
        consumer.assign([partition])
        consumer.seek(partition, start)
        while start < end:
            records = (await consumer.getmany(partition, timeout_ms=500)).get(partition, [])
            # Not the last record's offset: behind it there may be markers, which are no records.
            start = await consumer.position(partition)
            if records:
                yield [record for record in records if record.offset < end]
    finally:
        await consumer.stop()
