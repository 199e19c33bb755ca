"""Stores for the tests: the embedded engine, the gateway to it, and a server where ASSAY_TEST_CLICKHOUSE_URL names one."""

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from infra.clickhouse import migrate, statements
from infra.clickhouse.engine import Embedded, Server, Store, open_store
from infra.clickhouse.gateway import Bounds, Gateway
from infra.settings import ClickHouse, Settings
from schemas.tables import DATABASE, TABLES
from tests.brokers import one_broker

Guard = Callable[[str, bool, frozenset[str]], None]
SERVER = os.environ.get("ASSAY_TEST_CLICKHOUSE_URL")
TOKEN = "open sesame"
DIRECT = ["embedded", *(["server"] if SERVER else [])]
#: Through the gateway the engine is asked as a server is: what only depends on the engine need not be asked twice.
KINDS = [*DIRECT, "gateway"]


@contextlib.contextmanager
def empty_store(kind: str, data_dir: Path) -> Iterator[Store]:
    """A store without tables. chDB runs one engine a process: leave one block before the next."""
    opened = {"embedded": embedded, "gateway": through_gateway, "server": on_server}[kind]
    with opened(data_dir) as store:
        yield store


@contextlib.contextmanager
def embedded(data_dir: Path) -> Iterator[Embedded]:
    with contextlib.closing(open_store(Settings(data_dir=data_dir))) as store:
        assert isinstance(store, Embedded)
        yield store


@contextlib.contextmanager
def through_gateway(data_dir: Path) -> Iterator[Server]:
    """The embedded engine as another process has it: by HTTP, with the write token."""
    with embedded(data_dir) as store:
        store.client().command(f"CREATE DATABASE {DATABASE}")
        url = f"http://x:{TOKEN.replace(' ', '%20')}@127.0.0.1"
        with gateway(store) as port, contextlib.closing(Server(f"{url}:{port}/{DATABASE}")) as server:
            yield server


@contextlib.contextmanager
def gateway(store: Embedded, token: str | None = TOKEN, guard: Guard = statements.check, **bounds: Any) -> Iterator[int]:
    """A gateway's port, served by a thread."""
    made = Gateway(store, token, lambda: {"lag": 0}, Bounds(**bounds), guard)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(made.app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
            made.close()


@contextlib.contextmanager
def on_server(_: Path) -> Iterator[Server]:
    """A database of its own on a server, dropped behind it."""
    name = f"assay_test_{uuid.uuid4().hex[:12]}"
    settings = Settings(clickhouse=ClickHouse(url=f"{(SERVER or '').rstrip('/')}/{name}"))
    with contextlib.closing(open_store(settings)) as store:
        assert isinstance(store, Server)
        try:
            yield store
        finally:
            store.client().command(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture(params=DIRECT, scope="module")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with empty_store(request.param, tmp_path_factory.mktemp("store")) as made:
        migrate.up(made)
        yield made


@pytest.fixture(params=KINDS, scope="module")
def migrated_anyhow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with empty_store(request.param, tmp_path_factory.mktemp("store")) as made:
        migrate.up(made)
        yield made


@pytest.fixture
def store(migrated: Store) -> Store:
    """A store with its tables, and nothing in them."""
    return emptied(migrated)


@pytest.fixture
def any_store(migrated_anyhow: Store) -> Store:
    """The same, and once more through the gateway."""
    return emptied(migrated_anyhow)


def emptied(store: Store) -> Store:
    client = store.client(store.database)
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table.name}")
    return store


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for this folder's tests."""
    yield from one_broker(tmp_path_factory)
