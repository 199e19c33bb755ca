"""A broker for the tests of the engine, as if each had one of its own."""

from collections.abc import Iterator

import pytest

from infra.settings import Settings
from tests.agents.reuse import Reuse


@pytest.fixture(scope="session")
def reuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reuse]:
    with Reuse(lambda: tmp_path_factory.mktemp("broker")) as kept:
        yield kept


@pytest.fixture
def settings(reuse: Reuse) -> Settings:
    """Those of a broker whose topics are as they were created: their names are fixed."""
    return reuse.fresh()


@pytest.fixture
def brokers(settings: Settings, reuse: Reuse) -> str:
    return reuse.bootstrap
