"""Kafka, an archive, and both as one, by the same tests."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.history.archive import ArchiveHistory
from infra.history.archiving import Limits, archive
from infra.history.joined import JoinedHistory
from infra.history.kafka import KafkaHistory
from infra.history.source import History
from infra.importing.publish import publishing
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from tests.history.contract import HistoryContract, Written

SMALL = Limits(records=4)


async def write(brokers: str, topic: str, partitions: Sequence[Sequence[Written]]) -> None:
    async with publishing(brokers) as publisher:
        for number, rows in enumerate(partitions):
            for row in rows:
                publisher.add((topic, number), row.key, row.value, row.timestamp, list(row.headers))  # type: ignore[arg-type]


class Memory:
    """A broker in memory, and histories of it."""

    def __init__(self, address: str, broker: MemoryBroker, folder: Path) -> None:
        self.address, self.broker, self.folder = f"{address}/tests", broker, folder

    async def holding(self, *partitions: Sequence[Written]) -> tuple[str, History]:
        topic = f"t-{uuid.uuid4().hex[:8]}"
        self.broker.create_topic(topic, len(partitions), False)
        return topic, await self.history(topic, partitions)

    async def history(self, topic: str, partitions: Sequence[Sequence[Written]]) -> History:
        await write(self.address, topic, partitions)
        return KafkaHistory(self.address)


class Archived(Memory):
    async def history(self, topic: str, partitions: Sequence[Sequence[Written]]) -> History:
        kafka = await super().history(topic, partitions)
        assert isinstance(kafka, KafkaHistory)
        await archive(kafka, self.folder, limits=SMALL, topics=[topic])
        return ArchiveHistory(self.folder)


class Joined(Memory):
    """Half of it archived, all of it in Kafka."""

    async def history(self, topic: str, partitions: Sequence[Sequence[Written]]) -> History:
        half = [len(rows) // 2 for rows in partitions]
        await write(self.address, topic, [rows[:at] for rows, at in zip(partitions, half, strict=True)])
        kafka = KafkaHistory(self.address)
        await archive(kafka, self.folder, limits=SMALL, topics=[topic])
        await write(self.address, topic, [rows[at:] for rows, at in zip(partitions, half, strict=True)])
        return JoinedHistory(ArchiveHistory(self.folder), kafka)


@pytest.fixture
def broker() -> Iterator[tuple[str, MemoryBroker]]:
    broker = MemoryBroker()
    with serving("history", broker) as address:
        yield address, broker


class TestMemory(HistoryContract):
    @pytest.fixture
    def world(self, broker: tuple[str, MemoryBroker], tmp_path: Path) -> Memory:
        return Memory(*broker, tmp_path)


class TestArchive(HistoryContract):
    @pytest.fixture
    def world(self, broker: tuple[str, MemoryBroker], tmp_path: Path) -> Archived:
        return Archived(*broker, tmp_path)


class TestJoined(HistoryContract):
    @pytest.fixture
    def world(self, broker: tuple[str, MemoryBroker], tmp_path: Path) -> Joined:
        return Joined(*broker, tmp_path)


class Kafka:
    def __init__(self, address: str) -> None:
        self.address = address

    async def holding(self, *partitions: Sequence[Written]) -> tuple[str, History]:
        topic = f"t-{uuid.uuid4().hex[:8]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, len(partitions), 1)])
        finally:
            await admin.close()
        await write(self.address, topic, partitions)
        return topic, KafkaHistory(self.address)


class TestKafka(HistoryContract):
    @pytest.fixture
    def world(self, kafka: str) -> Kafka:
        return Kafka(kafka)
