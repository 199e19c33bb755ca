"""What every test may ask for. Nothing here stands in for the real part."""

import signal
from collections.abc import Iterator

import pytest

from infra.kafka import broker
from infra.settings import Kafka, Settings

#: Of every topic that tests share on the session's broker.
PARTITIONS = 2


def pytest_configure() -> None:
    """A shell ignores Ctrl-C for what it runs in the background, and the programs that tests interrupt inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one real broker for the whole session, with no topics: tests make their own, with names of their
    own. It dies with the tests, even when they are killed."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("kafka"), kafka=Kafka(heap_mb=384))
    with broker.running(settings) as bootstrap:
        yield bootstrap
