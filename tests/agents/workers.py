"""Real workers as processes, on a broker and topics of their own."""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agents.readiness import READY_FD
from agents.settings import WorkerOptions
from infra.bench.load import Line, lines, publish
from infra.settling import Lag, lags
from infra.verification import Verification, verify

FOLDS = WorkerOptions()
PARTITIONS = 4
DEADLINE_SECONDS = 120.0


ASSAY = (sys.executable, "-m", "infra.cli", "worker")
#: What a Faust user types.
FAUST = (sys.executable, "-m", "faust", "-A", "agents.app", "worker", "--without-web", "-l", "warn")


class Worker:
    """One worker, whose log goes to a file."""

    def __init__(self, brokers: str, home: Path, name: str, command: Sequence[str] = ASSAY, **told: str) -> None:
        self.log = home / f"{name}.log"
        reading, writing = os.pipe()
        self._ready = os.fdopen(reading, "rb")
        world = {"ASSAY_KAFKA__BROKERS": brokers, "ASSAY_DATA_DIR": str(home / name), READY_FD: str(writing)}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=os.environ | world | told, stdout=output, stderr=subprocess.STDOUT, pass_fds=[writing]
            )
        os.close(writing)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Until all of its state is recovered."""
        said, _, _ = select.select([self._ready], [], [], DEADLINE_SECONDS)
        assert said, self.log.read_text()
        assert os.read(self._ready.fileno(), 1), self.log.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._ready.close()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def wait(self) -> int:
        return self._process.wait(DEADLINE_SECONDS)

    @property
    def ended(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.poll()

    def check(self) -> None:
        assert self._process.poll() is None, self.log.read_text()


@contextlib.contextmanager
def worker(brokers: str, home: Path, name: str, command: Sequence[str] = ASSAY, **told: str) -> Iterator[Worker]:
    running = Worker(brokers, home, name, command, **told)
    try:
        yield running
    finally:
        running.kill()


def write(brokers: str, load: list[Line]) -> None:
    """Write these lines to the events topic, each where its key belongs."""
    asyncio.run(publish(brokers, PARTITIONS, iter(load)))


def load(events: int, subjects: int, seed: int = 7) -> list[Line]:
    return list(lines(events, subjects, seed))


def wait_until(brokers: str, enough: Callable[[list[Lag]], bool], *watched: Worker) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not enough(found := asyncio.run(lags(brokers, [FOLDS]))):
        for one in watched:
            one.check()
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def begun(found: list[Lag]) -> bool:
    """Some of review's source is committed."""
    return next(lag.committed for lag in found if lag.agent == "review") > 0


def caught_up(found: list[Lag]) -> bool:
    return all(lag.total and not lag.events for lag in found if lag.agent != "diversity")


def settle(brokers: str, *watched: Worker) -> None:
    """Wait until nothing is left to do. What review derives is there before it commits, and each look begins with review."""
    wait_until(brokers, caught_up, *watched)


def verified(brokers: str) -> Verification:
    async def collect() -> Verification:
        found = Verification()
        async for result in verify(brokers):
            found.add(result)
        return found

    return asyncio.run(collect())
