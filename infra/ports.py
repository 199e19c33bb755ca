"""Ports: picked once, remembered in the data directory, and refused early where something else listens."""

import contextlib
import random
import socket
from pathlib import Path

import orjson
import psutil

from infra.errors import AssayError
from infra.processes import write_whole

HOST = "127.0.0.1"
# Below the range from which systems draw the ports of outgoing connections, which would take one from under us.
PICKED = range(20_000, 30_000)


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def choose(data_dir: Path, name: str, wanted: int = 0) -> int:
    """The wanted port, else the one remembered under this name, else a new one. Raises where the wanted is taken."""
    if wanted:
        if not free(wanted):
            raise taken(wanted, name)
        return _remember(data_dir, name, wanted)
    port = remembered(data_dir, name)
    return port if port and free(port) else _remember(data_dir, name, _pick())


def remembered(data_dir: Path, name: str) -> int | None:
    port = _read(data_dir).get(name)
    return port if isinstance(port, int) else None


def taken(port: int, name: str) -> AssayError:
    return AssayError(
        f"the port of {name} is in use",
        where=f"{HOST}:{port}",
        got=_listener(port),
        hint="stop that process, or choose another port; 0 for ASSAY_CLICKHOUSE__PORT, _KAFKA__PORT, _HTTP__PORT picks one",
    )


def _listener(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()}) listens there"
    return "another process listens there"


def _pick() -> int:
    for port in random.sample(PICKED, 200):
        if free(port):
            return port
    raise AssayError("no free port", where=f"{HOST}:{PICKED.start}-{PICKED.stop - 1}", hint="name one in the settings")


def _file(data_dir: Path) -> Path:
    return data_dir / "ports.json"


def _read(data_dir: Path) -> dict[str, object]:
    try:
        values = orjson.loads(_file(data_dir).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return values if isinstance(values, dict) else {}


def _remember(data_dir: Path, name: str, port: int) -> int:
    data_dir.mkdir(parents=True, exist_ok=True)
    write_whole(_file(data_dir), orjson.dumps({**_read(data_dir), name: port}))
    return port
