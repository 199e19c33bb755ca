"""A whole small system: a broker, an embedded ClickHouse and snapshots under one data directory."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cli import run
from infra.kafka import broker
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from infra.wiring import settings
from tests.importing.conftest import Assay, Said

PARTITIONS = 2


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The broker's own files are under the data directory too."""
    home = tmp_path_factory.mktemp("data")
    with broker.running(Settings(data_dir=home, kafka=Kafka(heap_mb=384))) as brokers:
        made = Settings(data_dir=home, kafka=Kafka(brokers=brokers, partitions=PARTITIONS))
        asyncio.run(ensure_topics(brokers, made))
        yield made


@pytest.fixture
def assay(world: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Assay]:
    """The command line, in this process."""
    monkeypatch.setenv("ASSAY_KAFKA__BROKERS", world.kafka.brokers or "")
    monkeypatch.setenv("ASSAY_KAFKA__PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("ASSAY_DATA_DIR", str(world.data_dir))
    settings.cache_clear()

    def call(*arguments: object) -> Said:
        capsys.readouterr()  # what the sink said on its own
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield call
    settings.cache_clear()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder outside of the data directory."""
    return tmp_path
