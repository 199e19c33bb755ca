"""The store: chDB in a directory of its own, or a ClickHouse server by URL; the same client either way.

chDB is the whole engine in this process, with the habits of one: a directory belongs to one process, a query after
`fork` hangs, and closing inside a signal handler deadlocks. `open_store` takes the lock that names the owner; whoever
forks must open anew; whoever handles signals closes later, in the main thread.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from infra import ports
from infra.errors import AssayError, Exit
from infra.processes import Record, held, holder
from infra.settings import Settings
from schemas.tables import DATABASE

if TYPE_CHECKING:
    from chdb.state.sqlitelike import Connection
    from clickhouse_connect.driver.client import Client

GATEWAY = "clickhouse gateway"


class Held(AssayError):
    """Another process has the directory of the embedded engine open."""

    def __init__(self, where: Path, pid: int | None) -> None:
        got = "another process" if pid is None else f"pid {pid}"
        hint = "ask it through its gateway (`assay sql`), stop it, or choose another --data-dir"
        super().__init__("the analytics store is open in another process", where, f"held by {got}", hint, Exit.FAILED)
        self.pid = pid


class Store(Protocol):
    """Where the rows live. Clients are not shared between threads: each takes its own."""

    database: str

    def client(self, database: str | None = None) -> "Client": ...

    def close(self) -> None: ...


class Server:
    """A ClickHouse server. Its address carries user, password and database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = url.split("://", 1)[-1].partition("/")[2].partition("?")[0] or DATABASE
        self._clients: list[Client] = []

    def client(self, database: str | None = None) -> "Client":
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import Error

        scheme = self.url.split("://", 1)[0]
        bare = re.sub(r"^(\w+://[^/]+)/[^?]*", r"\1", self.url)
        try:
            made = clickhouse_connect.get_client(dsn=bare, interface=scheme, database=database or "default")
        except Error as error:
            raise AssayError(
                "the ClickHouse server does not answer as it should",
                where=bare.rpartition("@")[2],
                got=one_line(error),
                hint="check ASSAY_CLICKHOUSE__URL; unset it to use the embedded engine",
                exit_code=Exit.FAILED,
            ) from error
        self._clients.append(made)
        return made

    def close(self) -> None:
        for client in self._clients:
            client.close()


class Embedded:
    """chDB on a directory that this process holds until `close`."""

    def __init__(self, settings: Settings) -> None:
        self.database = DATABASE
        self.path = os.path.realpath(settings.data_dir / "clickhouse")
        self.max_memory_bytes = settings.clickhouse.max_memory_bytes
        self._files = Files(settings.data_dir)
        self._held = contextlib.ExitStack()
        self._clients: list[Client] = []
        self._guard = threading.Lock()
        self._take()

    def _take(self) -> None:
        if self._held.enter_context(held(self._files.lock)) is None:
            raise Held(Path(self.path), self._files.owner_pid())
        try:
            Record.of(os.getpid()).write(self._files.owner)
            self._anchor = self._held.enter_context(contextlib.closing(self.connection()))
        except BaseException:
            self._held.close()
            raise

    @property
    def limits(self) -> dict[str, int]:
        """What one query may use at most; all queries together may use twice that."""
        most = self.max_memory_bytes
        spill = most // 2
        return {
            "max_memory_usage": most,
            "max_memory_usage_for_user": 2 * most,
            "max_bytes_before_external_group_by": spill,
            "max_bytes_before_external_sort": spill,
        }

    def connection(self) -> "Connection":
        """A bare handle with a session of its own; a millisecond to open once the engine runs."""
        self._same_process()
        from chdb.state.sqlitelike import Connection

        try:
            return Connection(self.path)
        except RuntimeError as error:
            raise AssayError(
                "the embedded ClickHouse does not open its directory",
                where=self.path,
                got=one_line(error),
                hint="all of it can be rebuilt from the log: move the directory away and start `assay serve`",
                exit_code=Exit.FAILED,
            ) from error

    def client(self, database: str | None = None) -> "Client":
        self._same_process()
        import clickhouse_connect

        made = clickhouse_connect.get_client(interface="chdb", path=self.path, database=database, settings=self.limits)
        with self._guard:
            self._clients.append(made)
        return made

    def _same_process(self) -> None:
        record = Record.read(self._files.owner)
        if record is None or record.pid != os.getpid():
            raise AssayError("the analytics store was opened before a fork", hint="open it in the process that uses it")

    def close(self) -> None:
        """Clients first, the engine last, and only then the lock. Not from a signal handler."""
        for client in self._clients:
            with contextlib.suppress(Exception):
                client.close()
        self._held.close()


class Files:
    """What stands beside the engine's directory: the lock, and who holds it."""

    def __init__(self, data_dir: Path) -> None:
        self.lock = data_dir / "clickhouse.lock"
        self.owner = data_dir / "clickhouse.owner.json"
        self.gateway = data_dir / "clickhouse.gateway.json"

    def owner_pid(self) -> int | None:
        record = Record.read(self.owner)
        return record.pid if record and record.alive else holder(self.lock)


def open_store(settings: Settings) -> Embedded | Server:
    """The store of these settings. Raises Held, with the pid, where another process has the embedded one."""
    return Server(settings.clickhouse.url) if settings.clickhouse.url else Embedded(settings)


def serving(settings: Settings) -> str | None:
    """The address of the gateway to the embedded engine, if a process serves it."""
    files = Files(settings.data_dir)
    record = Record.read(files.gateway)
    if record is None or not record.alive:
        return None
    port = ports.remembered(settings.data_dir, GATEWAY)
    return f"http://{ports.HOST}:{port}" if port and ports.listens(port) else None


def reach(settings: Settings) -> Store:
    """The store, wherever it is open: the server, the gateway if one serves, else the embedded engine opened here.

    Through the gateway the settings' token goes along, so that whoever has it may also write.
    """
    gateway = None if settings.clickhouse.url else serving(settings)
    if gateway is None:
        return open_store(settings)
    token = settings.clickhouse.token
    user = f"assay:{quote(token.get_secret_value(), safe='')}@" if token else ""
    return Server(f"http://{user}{gateway.removeprefix('http://')}/{DATABASE}")


@contextlib.contextmanager
def asking(settings: Settings) -> Iterator["Client"]:
    """A client for questions."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    with contextlib.closing(reach(settings)) as store:
        try:
            client = store.client(store.database)
        except DatabaseError as error:
            if error.code != 81:
                raise
            where = settings.data_dir / "clickhouse"
            hint = "`assay serve` fills it from the log"
            raise AssayError("the analytics store has no tables yet", where, hint=hint) from error
        if isinstance(store, Embedded):
            client.set_client_setting("readonly", "2")
        yield client


@contextlib.contextmanager
def announced(settings: Settings) -> Iterator[None]:
    """While the block runs, other processes find the gateway."""
    path = Files(settings.data_dir).gateway
    Record.of(os.getpid()).write(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def one_line(error: BaseException) -> str:
    """ClickHouse's own words, without stack trace, version and address."""
    text = str(error).split("Stack trace", maxsplit=1)[0]
    found = re.search(r"Code: \d+\. DB::.*", text, re.DOTALL)
    words = " ".join((found[0] if found else text).split())
    return re.sub(r"( \(version [^)]*\)+)?( \(for url [^)]*\))?$", "", words)[:1_000]
