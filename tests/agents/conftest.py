"""A broker for the tests of the engine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kafka import broker
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from tests.agents.workers import PARTITIONS


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[str]:
    """A broker of its own for each test: topics have fixed names."""
    settings = Settings(data_dir=tmp_path, kafka=Kafka(heap_mb=384, partitions=PARTITIONS))
    with broker.running(settings) as bootstrap:
        asyncio.run(ensure_topics(bootstrap, settings))
        yield bootstrap
