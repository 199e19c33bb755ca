"""History as Kafka holds it."""

from collections.abc import AsyncIterator, Sequence

from aiokafka import TopicPartition

from agents.clients import new_consumer
from agents.log_reading import read_range
from infra.history.source import Place, Raw, Stretch, columns, decoded_all
from infra.kafka import reading
from streams.projection import Record


class KafkaHistory:
    """The log on these brokers."""

    def __init__(self, brokers: str) -> None:
        self.brokers = brokers

    async def ends(self, *topics: str) -> dict[Place, int]:
        return await reading.ends(self.brokers, *topics)

    async def starts(self, *topics: str) -> dict[Place, int]:
        """The first offset that every partition still has."""
        places = [TopicPartition(*place) for place in await self.ends(*topics)]
        consumer = new_consumer(self.brokers)
        try:
            await consumer.start()
            found = await consumer.beginning_offsets(places) if places else {}
            return {(place.topic, place.partition): first for place, first in found.items()}
        finally:
            await consumer.stop()

    async def records(
        self, topic: str, partition: int, end: int, start: int = 0, too_new: str = "quarantine"
    ) -> AsyncIterator[Record]:
        async for record in decoded_all((topic, partition), self.stretches(topic, partition, end, start), too_new):
            yield record

    async def stretches(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Stretch]:
        async for batch in read_range(self.brokers, (topic, partition), start, end):
            yield columns(batch)

    async def raw(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Sequence[Raw]]:
        async for batch in read_range(self.brokers, (topic, partition), start, end):
            yield batch

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        consumer = new_consumer(self.brokers)
        try:
            await consumer.start()
            place = TopicPartition(topic, partition)
            # A negative time has another meaning there.
            found = (await consumer.offsets_for_times({place: max(0, time_ms)}))[place]
            return int((await consumer.end_offsets([place]))[place] if found is None else found.offset)
        finally:
            await consumer.stop()
