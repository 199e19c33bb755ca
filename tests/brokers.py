"""Real brokers for tests."""

from collections.abc import Iterator

import pytest

from infra.kafka import broker
from infra.settings import Kafka, Settings


def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker without topics. It dies with the tests, even when they are killed.

    Names of topics are fixed, and folders of tests differ in how they want them: each has a fixture `kafka` of its own.
    """
    settings = Settings(data_dir=tmp_path_factory.mktemp("kafka"), kafka=Kafka(heap_mb=384))
    with broker.running(settings) as bootstrap:
        yield bootstrap
