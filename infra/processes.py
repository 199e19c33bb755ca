"""Child processes that cannot be lost: identified beyond their pid, bound to their parent, and ended for sure."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson
import psutil

from infra.errors import AssayError

# Runs in the child between fork and exec, as a program of its own since code between fork and exec may deadlock in a
# process with threads. The parent may be gone before prctl is called: hence the second look.
_BIND = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvpe(sys.argv[2], sys.argv[2:], os.environ)
"""


@dataclass(frozen=True)
class Record:
    """A process as a file remembers it: a pid alone may belong to another process by now."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> "Record":
        return cls(pid, born(pid) or "")

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """None where there is no such file, or a torn one."""
        try:
            values = orjson.loads(path.read_bytes())
            return cls(int(values["pid"]), str(values["born"]))
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None

    def write(self, path: Path) -> None:
        write_whole(path, orjson.dumps(asdict(self)))

    @property
    def alive(self) -> bool:
        return bool(self.born) and born(self.pid) == self.born


def born(pid: int) -> str | None:
    """What tells this process from any other that ever has the same pid; None when it is gone or a zombie."""
    try:
        return _born_linux(pid) if sys.platform == "linux" else str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return None


def _born_linux(pid: int) -> str | None:
    # The start in ticks since boot: psutil's create_time moves when the clock is set.
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in "ZX" else f"{boot}:{fields[18]}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never half of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


@contextlib.contextmanager
def held(path: Path) -> Iterator[int | None]:
    """Lock a file while the block runs, or yield None where another holds it. A child that inherits the descriptor
    holds the lock on, for as long as it lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """The pid of a process that has the file open, other than this one."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(Path(file.path) == path for file in process.open_files()):
                return int(process.pid)
    return None


def spawn(
    argv: Sequence[str],
    *,
    bound: bool,
    output: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that Ctrl-C reaches the parent alone.

    A bound child is killed when its parent dies, even by SIGKILL. The kernel watches the *thread* that started it:
    call from a thread that outlives the child. One that is not bound lives on in a session of its own.
    """
    binding = [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid())] if bound else []
    return subprocess.Popen(
        [*binding, *argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=pass_fds,
        env=None if env is None else {**os.environ, **env},
        process_group=0 if bound else None,
        start_new_session=not bound,
    )


def in_main_thread(what: str) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise AssayError(f"{what} must be started from the main thread", hint="its life is bound to that thread")


def end(record: Record, grace_seconds: float) -> bool:
    """Ask a process to stop, wait, and kill it after the grace. Returns whether it went of its own accord."""
    _signal(record, signal.SIGTERM)
    if gone(record, grace_seconds):
        return True
    _signal(record, signal.SIGKILL)
    gone(record, 5.0)
    return False


def gone(record: Record, seconds: float) -> bool:
    """Wait until the process is gone, at most so long."""
    deadline = time.monotonic() + seconds
    while record.alive:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _signal(record: Record, number: signal.Signals) -> None:
    if record.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)
