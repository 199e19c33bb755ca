"""Keeps the parts of the system running: starts them in order, says when each is ready, starts again what dies, and
stops them in the opposite order. Whatever becomes of the supervisor, no part outlives it."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Self

from agents.readiness import READY_FD, ready
from infra.errors import AssayError, Exit
from infra.processes import spawn

Tell = Callable[[str, str], None]
TICK_SECONDS = 0.05


@dataclass(frozen=True)
class Started:
    """A part's process, the lines that it says, and whether it does its work by now."""

    process: subprocess.Popen[bytes]
    lines: IO[bytes] | None
    is_ready: Callable[[], bool]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Part:
    """A process to keep running. Parts of one rank start together, once all of the lower ranks are ready."""

    name: str
    rank: int
    launch: Callable[[], Started]
    on_ready: Callable[[], None] = lambda: None
    stop_seconds: float = 20.0


def program(name: str, rank: int, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Part:
    """A part that is a program of ours: it calls `agents.readiness.ready` when it is."""
    return Part(name, rank, lambda: begin(argv, env or {}))


def begin(
    argv: Sequence[str], env: Mapping[str, str], *, bound: bool = True, output: int | IO[bytes] = subprocess.PIPE
) -> Started:
    """Start a program that tells when it is ready."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    said = {**env, READY_FD: str(writing), "PYTHONUNBUFFERED": "1"}
    try:
        process = spawn(argv, bound=bound, output=output, pass_fds=[writing], env=said)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    signalled = _Signalled(reading)
    return Started(process, process.stdout, signalled, signalled.close)


class _Signalled:
    """Whether a byte has come through a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "rb", buffering=0)
        self._said = False

    def __call__(self) -> bool:
        if not self._said and not self._pipe.closed:
            with contextlib.suppress(BlockingIOError):
                said = self._pipe.read(1)
                self._said = bool(said)
                if said is not None:
                    self.close()
        return self._said

    def close(self) -> None:
        self._pipe.close()


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the n-th start in a row: doubling, up to a bound; a part that ran long starts afresh."""

    first_seconds: float = 0.5
    most_seconds: float = 30.0
    healthy_seconds: float = 60.0
    hopeless_after: int = 5

    def seconds(self, failures: int) -> float:
        return min(self.most_seconds, self.first_seconds * 2.0 ** min(failures - 1, 32))


@dataclass
class _Child:
    part: Part
    started: Started | None = None
    since: float = 0.0
    ready: bool = False
    ever_ready: bool = False
    failures: int = 0
    not_before: float = 0.0
    reader: threading.Thread | None = field(default=None, repr=False)


class Supervisor:
    """`run()` blocks until a signal; as a context manager it runs beside the block. Raises AssayError where a part
    cannot start at all: exit code 2, or five failures before it was ever ready."""

    def __init__(self, parts: Sequence[Part], tell: Tell = lambda name, text: None, backoff: Backoff = Backoff()) -> None:
        self._children = [_Child(part) for part in sorted(parts, key=lambda part: part.rank)]
        self._tell = tell
        self._backoff = backoff
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._all_ready = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Run all parts until SIGINT, SIGTERM or SIGHUP; a second one kills what has not stopped yet."""
        with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._on_signal):
            self._supervise()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        # One thread starts and watches all parts and outlives them, since their lives are bound to it. It is a daemon
        # so that a process that ends without ado takes it, and so them, along.
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread is not None and self._thread.is_alive():
            try:
                self._thread.join()
            except KeyboardInterrupt:
                self._hurry.set()

    def wait_ready(self, seconds: float) -> None:
        """Wait until every part is ready. Raises AssayError where one cannot be, or is not in that time."""
        deadline = time.monotonic() + seconds
        while not self._all_ready.wait(TICK_SECONDS):
            self.check()
            if time.monotonic() >= deadline:
                raise AssayError("not ready in time", where=", ".join(self._waiting()), got=f"{seconds:.0f} s")
        self.check()

    def check(self) -> None:
        """Raise what ended the supervisor, if something did."""
        if self._error is not None:
            raise self._error

    def pid(self, name: str) -> int | None:
        """The process of a part at this moment."""
        found = [child.started for child in self._children if child.part.name == name]
        return found[0].process.pid if found and found[0] else None

    def is_ready(self, name: str) -> bool:
        """Whether a part does its work at this moment."""
        return any(child.ready for child in self._children if child.part.name == name)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _supervise(self) -> None:
        try:
            while not self._stop.wait(TICK_SECONDS):
                self._tick()
        except BaseException as error:
            if not self._stop.is_set():
                self._error = error
        finally:
            self._stop_all()

    def _tick(self) -> None:
        for child in self._children:
            self._watch(child)
        if not self._waiting() and not self._all_ready.is_set():
            self._all_ready.set()
            ready()

    def _waiting(self) -> list[str]:
        return [child.part.name for child in self._children if not child.ready]

    def _watch(self, child: _Child) -> None:
        if child.started is None:
            if self._may_start(child):
                self._start(child)
        elif (code := child.started.process.poll()) is not None:
            self._died(child, code)
        elif not child.ready and child.started.is_ready():
            self._became_ready(child)

    def _may_start(self, child: _Child) -> bool:
        below = [other for other in self._children if other.part.rank < child.part.rank]
        return time.monotonic() >= child.not_before and all(other.ready for other in below)

    def _start(self, child: _Child) -> None:
        child.since = time.monotonic()
        try:
            child.started = child.part.launch()
        except (AssayError, OSError) as error:
            if not child.ever_ready:
                raise
            self._again(child, str(error))
            return
        if child.started.lines is not None:
            child.reader = threading.Thread(target=self._relay, args=(child.part.name, child.started.lines), daemon=True)
            child.reader.start()

    def _relay(self, name: str, lines: IO[bytes]) -> None:
        with lines:
            for said in lines:
                if text := said.decode("utf-8", "replace").rstrip():
                    self._tell(name, text)

    def _became_ready(self, child: _Child) -> None:
        child.part.on_ready()
        child.ready = child.ever_ready = True
        self._tell(child.part.name, f"ready after {time.monotonic() - child.since:.1f} s")

    def _died(self, child: _Child, code: int) -> None:
        self._forget(child)
        if not child.ever_ready and code == Exit.USAGE:
            raise AssayError(f"{child.part.name} cannot start", got="exit 2", hint="its own line above says why")
        # A part that somebody else told to stop did not die.
        how = "was stopped from outside" if code == 0 else f"died ({_said(code)})"
        self._again(child, f"{how} after {time.monotonic() - child.since:.1f} s")

    def _again(self, child: _Child, why: str) -> None:
        ran = time.monotonic() - child.since
        child.failures = 1 if ran >= self._backoff.healthy_seconds else child.failures + 1
        if not child.ever_ready and child.failures >= self._backoff.hopeless_after:
            raise AssayError(f"{child.part.name} does not start", got=f"{why}, {child.failures} times in a row")
        wait = self._backoff.seconds(child.failures)
        child.not_before = time.monotonic() + wait
        self._tell(child.part.name, f"{why}; starts again in {wait:.1f} s")

    def _stop_all(self) -> None:
        for rank in sorted({child.part.rank for child in self._children}, reverse=True):
            self._stop_rank([child for child in self._children if child.part.rank == rank and child.started])

    def _stop_rank(self, children: Sequence[_Child]) -> None:
        for child in children:
            _send(child, signal.SIGTERM)
        asked = time.monotonic()
        while left := [child for child in children if child.started and child.started.process.poll() is None]:
            for child in left:
                if self._hurry.is_set() or time.monotonic() - asked > child.part.stop_seconds:
                    _send(child, signal.SIGKILL)
            time.sleep(TICK_SECONDS)
        for child in children:
            self._stopped(child)

    def _stopped(self, child: _Child) -> None:
        code = child.started.process.returncode if child.started else 0
        self._forget(child)
        self._tell(child.part.name, "killed" if code == -signal.SIGKILL else "stopped")

    def _forget(self, child: _Child) -> None:
        # Its last lines say why it went. A grandchild that holds the pipe on must not hold us.
        if child.reader is not None:
            child.reader.join(1.0)
        if child.started is not None:
            child.started.close()
        child.started, child.ready = None, False


def _send(child: _Child, number: signal.Signals) -> None:
    if child.started is not None:
        child.started.process.send_signal(number)


def _said(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@contextlib.contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
