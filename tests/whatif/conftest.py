"""A broker with a history, and what production said of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from agents.clients import new_consumer
from agents.publishing import Place, fact_headers, partition_of
from agents.settings import WorkerOptions
from infra.bench.whatif import load
from infra.importing.publish import publishing
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from schemas.topics import EVENTS
from streams.projection import Fact, record_of
from streams.review import REVIEW
from tests.brokers import one_broker
from tests.streams.histories import effects_of

PARTITIONS, LOADED = 2, 1_200


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from one_broker(tmp_path_factory)


@pytest.fixture(scope="session")
def handled(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a system whose worker has handled everything: its facts are those of the fold, and its group has committed."""
    home: Path = tmp_path_factory.mktemp("what-if")
    settings = Settings(data_dir=home, kafka=Kafka(brokers=kafka, partitions=PARTITIONS))
    asyncio.run(_handle(settings, kafka))
    return settings


async def _handle(settings: Settings, brokers: str) -> None:
    await ensure_topics(brokers, settings)
    values: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    async with publishing(brokers) as publisher:
        for subject, type_, id_, value in load(LOADED, 40, 3):
            number = partition_of(subject, PARTITIONS)
            values[number].append(value)
            publisher.add((EVENTS.name, number), subject.encode(), value, 1, fact_headers(id_, type_))
    for number, own in enumerate(values):
        log = [record_of(number, offset, value) for offset, value in enumerate(own)]
        await publish(brokers, effects_of(REVIEW, log))
    consumer = new_consumer(brokers, group_id=WorkerOptions().group)
    await consumer.start()
    found = await ends(brokers, EVENTS.name)
    consumer.assign([TopicPartition(*place) for place in found])
    await consumer.commit({TopicPartition(*place): end for place, end in found.items()})
    await consumer.stop()


async def publish(brokers: str, facts: list[Fact]) -> None:
    async with publishing(brokers) as publisher:
        for fact in facts:
            place: Place = (fact.topic, partition_of(fact.key, PARTITIONS))
            publisher.add(place, fact.key.encode(), fact.value, 1, fact_headers(fact.id, fact.type))
