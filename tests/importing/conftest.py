"""The command line on a broker, in this process."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infra.cli import run
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from infra.wiring import settings
from tests.brokers import one_broker

#: Fewer than the default, so that a command that assumes the default fails.
PARTITIONS = 2


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Assay = Callable[..., Said]
Call = Callable[..., Awaitable[Said]]


@pytest.fixture(scope="module")
def topics(kafka: str) -> str:
    asyncio.run(ensure_topics(kafka, Settings(kafka=Kafka(partitions=PARTITIONS))))
    return kafka


@pytest.fixture
def assay(topics: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Assay]:
    monkeypatch.setenv("ASSAY_KAFKA__BROKERS", topics)
    monkeypatch.setenv("ASSAY_KAFKA__PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("ASSAY_DATA_DIR", str(tmp_path))
    settings.cache_clear()

    def call(*arguments: object) -> Said:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield call
    settings.cache_clear()


@pytest.fixture
def assay_in_thread(assay: Assay) -> Call:
    """For tests that run a loop of their own: a command starts its own too."""

    async def call(*arguments: object) -> Said:
        return await asyncio.to_thread(assay, *arguments)

    return call


@pytest.fixture
def project() -> str:
    """A project that no other test uses: the broker and its log are shared."""
    return f"p{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for this folder's tests."""
    yield from one_broker(tmp_path_factory)
