"""The embedded engine belongs to one process, which every other is told; its traps are closed."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.clickhouse.engine import Embedded, Held, Server, open_store
from infra.errors import AssayError
from infra.settings import ClickHouse, Settings

_HOLDER = """
import sys, time
from pathlib import Path
from infra.clickhouse.engine import open_store
from infra.settings import Settings
store = open_store(Settings(data_dir=Path(sys.argv[1])))
store.client().command("CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = MergeTree ORDER BY a")
print("open", flush=True)
time.sleep(60)
"""

_FORKER = """
import os, sys
from pathlib import Path
from infra.clickhouse.engine import open_store
from infra.settings import Settings
store = open_store(Settings(data_dir=Path(sys.argv[1])))
child = os.fork()
if not child:
    try:
        store.client()
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
store.close()
"""


def test_another_process_is_told_the_pid(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with _running(_HOLDER, tmp_path) as holder:
        with pytest.raises(Held, match=f"held by pid {holder.pid};") as caught:
            open_store(settings)
        assert caught.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with contextlib.closing(open_store(settings)) as store:
            assert store.client().query("SELECT count() FROM t").result_rows == [(0,)]


def test_a_fork_is_refused_instead_of_hanging(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", _FORKER, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)
    assert "opened before a fork" in said.stdout


def test_closed_it_can_be_opened_again_elsewhere(tmp_path: Path) -> None:
    for name in ("one", "one", "two"):
        with contextlib.closing(open_store(Settings(data_dir=tmp_path / name))) as store:
            assert store.client().command("SELECT 1") == 1


def test_a_query_that_takes_too_much_memory_fails(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, clickhouse=ClickHouse(max_memory_bytes=1 << 26))
    with contextlib.closing(open_store(settings)) as store:
        assert isinstance(store, Embedded)
        client = store.client()
        with pytest.raises(Exception, match="MEMORY_LIMIT_EXCEEDED"):
            client.query("SELECT groupArray(toString(number)) FROM numbers(20000000)")
        assert client.command("SELECT 1") == 1


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    with contextlib.closing(Server("http://me:secret@127.0.0.1:1/assay")) as server:
        assert server.database == "assay"
        with pytest.raises(AssayError, match=r"where: 127\.0\.0\.1:1;") as caught:
            server.client()
    assert "secret" not in str(caught.value)


@contextlib.contextmanager
def _running(code: str, data_dir: Path):  # type: ignore[no-untyped-def]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()
