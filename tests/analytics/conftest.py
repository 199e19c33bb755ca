"""Stores for the tests: the embedded engine always, a server too where ASSAY_TEST_CLICKHOUSE_URL names one."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.clickhouse import migrate
from infra.clickhouse.engine import Embedded, Server, Store, open_store
from infra.settings import ClickHouse, Settings
from schemas.tables import TABLES

SERVER = os.environ.get("ASSAY_TEST_CLICKHOUSE_URL")


@contextlib.contextmanager
def embedded(data_dir: Path) -> Iterator[Embedded]:
    """An embedded store with its tables. chDB runs one engine a process: leave one block before the next."""
    with contextlib.closing(open_store(Settings(data_dir=data_dir))) as store:
        assert isinstance(store, Embedded)
        migrate.up(store)
        yield store


@contextlib.contextmanager
def served(url: str) -> Iterator[Server]:
    """A database of its own on a server, dropped behind it."""
    name = f"assay_test_{uuid.uuid4().hex[:12]}"
    settings = Settings(clickhouse=ClickHouse(url=f"{url.rstrip('/')}/{name}"))
    with contextlib.closing(open_store(settings)) as store:
        assert isinstance(store, Server)
        migrate.up(store)
        try:
            yield store
        finally:
            store.client().command(f"DROP DATABASE {name}")


BOTH = ["embedded", pytest.param("server", marks=pytest.mark.skipif(not SERVER, reason="no server named"))]


@pytest.fixture(params=BOTH, scope="module")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = served(SERVER or "") if request.param == "server" else embedded(tmp_path_factory.mktemp("store"))
    with opened as made:
        yield made


@pytest.fixture
def store(migrated: Store) -> Store:
    """A store with its tables, and nothing in them."""
    client = migrated.client(migrated.database)
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table.name}")
    return migrated
