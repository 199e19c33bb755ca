"""Real brokers for tests, and topics that they compact at once."""

from collections.abc import Iterator

import pytest

from infra.kafka import broker
from infra.settings import Kafka, Settings

#: Closed segments are cleaned at once, and every message closes one that is older than this.
SEGMENT_MS = 50
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": str(SEGMENT_MS),
    "min.cleanable.dirty.ratio": "0.001",
    "delete.retention.ms": "0",
}


def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker without topics. It dies with the tests, even when they are killed.

    Names of topics are fixed, and folders of tests differ in how they want them: each has a fixture `kafka` of its own.
    """
    settings = Settings(data_dir=tmp_path_factory.mktemp("kafka"), kafka=Kafka(heap_mb=384))
    with broker.running(settings) as bootstrap:
        yield bootstrap
