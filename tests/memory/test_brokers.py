"""The broker in memory and Apache Kafka, by the same tests."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents.clients import Consumer
from agents.log_reading import read_range
from infra.importing.publish import publishing
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.memory.consumer import MemoryConsumer
from tests.brokers import COMPACTED, SEGMENT_MS
from tests.memory.contract import BrokerContract


class Memory:
    session_ms = 600

    def __init__(self, address: str, broker: MemoryBroker) -> None:
        self.address = f"{address}/tests"
        self._broker = broker

    async def create(self, topic: str, partitions: int, compacted: bool) -> None:
        self._broker.create_topic(topic, partitions, compacted)

    async def delete(self, topic: str) -> None:
        self._broker.delete_topic(topic)

    async def compact(self, topic: str) -> None:
        self._broker.compact()

    def silence(self, consumer: Consumer) -> None:
        assert isinstance(consumer, MemoryConsumer)
        assert consumer._heart is not None
        consumer._heart.cancel()


class TestMemory(BrokerContract):
    @pytest.fixture
    def world(self) -> Iterator[Memory]:
        broker = MemoryBroker()
        with serving("tests", broker) as address:
            yield Memory(address, broker)


class Kafka:
    session_ms = 6_000  # the least that it takes by default

    def __init__(self, address: str) -> None:
        self.address = address

    async def create(self, topic: str, partitions: int, compacted: bool) -> None:
        async with _Admin(self.address) as admin:
            await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=COMPACTED if compacted else {})])
        await asyncio.sleep(0.3)

    async def delete(self, topic: str) -> None:
        async with _Admin(self.address) as admin:
            await admin.delete_topics([topic])
        await asyncio.sleep(1)

    async def compact(self, topic: str) -> None:
        place = TopicPartition(topic, 0)
        async with _Admin(self.address) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "50"})])
        await asyncio.sleep(2 * SEGMENT_MS / 1000)
        async with publishing(self.address) as publisher:
            publisher.add(place, b"newest", b"", 1, [])
        async with asyncio.timeout(60):
            while await self._first(place) == 0:  # noqa: ASYNC110  the cleaner tells nobody
                await asyncio.sleep(0.1)

    async def _first(self, place: TopicPartition) -> int:
        async for batch in read_range(self.address, place, 0, 1_000):
            return int(batch[0].offset)
        return 0

    def silence(self, consumer: Consumer) -> None:
        coordinator = consumer._coordinator  # type: ignore[attr-defined]
        coordinator._heartbeat_task.cancel()


class _Admin:
    def __init__(self, address: str) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=address)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._admin.start()
        return self._admin

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()


class TestKafka(BrokerContract):
    @pytest.fixture
    def world(self, kafka: str) -> Kafka:
        return Kafka(kafka)
