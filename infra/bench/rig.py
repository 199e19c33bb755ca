"""What every measurement stands on: a broker of its own, processes pinned to cores, and what these use."""

import asyncio
import contextlib
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import psutil

from agents.settings import WorkerOptions
from infra import ports
from infra.errors import AssayError, Exit
from infra.kafka import broker
from infra.settings import Settings
from infra.settling import lags

REVIEW_ONLY = WorkerOptions(agents="review")
Say = Callable[[str], None]

#: Picked before anything is pinned, for children inherit what is left to this process: the first is the measured one's.
CORES = sorted(os.sched_getaffinity(0), reverse=True)
MEASURED = frozenset(CORES[:1])


def leave_to_the_measured(count: int = 1) -> None:
    """Keep this process, and the broker that it starts, off that many cores; where there are too few, on the last."""
    os.sched_setaffinity(0, set(CORES[count:]) or {CORES[-1]})


def broker_of(settings: Settings) -> psutil.Process:
    """The process of the broker that `alone` started."""
    record = broker.Broker(settings).record()
    assert record is not None
    return psutil.Process(record.pid)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def alone(like: Settings, **told: int) -> Iterator[Settings]:
    """Settings with a broker that runs as long as the block, in a directory that goes with it; `told` changes `kafka`."""
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as directory:
        kafka = like.kafka.model_copy(update={"brokers": None, "port": 0} | told)
        made = Settings(data_dir=Path(directory), kafka=kafka)
        with broker.running(made) as bootstrap:
            yield made.model_copy(update={"kafka": made.kafka.model_copy(update={"brokers": bootstrap})})


def brokers_of(settings: Settings) -> str:
    assert settings.kafka.brokers is not None
    return settings.kafka.brokers


# --- processes ---------------------------------------------------------------------------------


@dataclass
class Measured:
    """A process under measurement."""

    process: Process
    port: int
    rss_bytes: int = 0

    def look(self) -> None:
        """Note its memory. Raises AssayError if it is gone."""
        if self.process.returncode is not None:
            raise died(self.process.returncode)
        self.rss_bytes = max(self.rss_bytes, psutil.Process(self.process.pid).memory_info().rss)

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(psutil.Process(self.process.pid))

    def report(self) -> dict[str, Any]:
        """What it says of itself at `/livez?verbose`; nothing before it listens there."""
        with contextlib.suppress(OSError), urlopen(f"http://{ports.HOST}:{self.port}/livez?verbose", timeout=5) as response:
            report: dict[str, Any] = orjson.loads(response.read())
            return report
        return {}


def died(code: int) -> AssayError:
    what, hint = "what is measured ended before its time", "its log is above"
    return AssayError(what, got=f"exit code {code}", hint=hint, exit_code=Exit.FAILED)


def _on(cores: Set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)


@contextlib.asynccontextmanager
async def worker(settings: Settings, core: int = CORES[0], name: str = "", **told: str) -> AsyncIterator[Measured]:
    """A worker of the agent review on one core, with these variables in its environment; ended by SIGTERM."""
    port = ports.choose(settings.data_dir, f"health of worker {name}")
    told = {"ASSAY_WORKER__HEALTH_PORT": str(port), **told}
    async with assay(settings, "worker", "--agents", "review", cores={core}, name=name, **told) as process:
        yield Measured(process, port)


@contextlib.asynccontextmanager
async def assay(
    settings: Settings, *command: str, cores: Set[int] = frozenset(CORES), name: str = "", **told: str
) -> AsyncIterator[Process]:
    """The command line with these arguments, on these cores; ended by SIGTERM. `name`: a folder of its own for its data."""
    where = {"ASSAY_KAFKA__BROKERS": brokers_of(settings), "ASSAY_DATA_DIR": str(settings.data_dir / name)}
    argv = [sys.executable, "-m", "infra.cli", *command]
    process = await asyncio.create_subprocess_exec(
        *argv, env=os.environ | where | told, preexec_fn=_on(cores), stdout=sys.stderr.fileno()
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def said_by(command: Sequence[str], seconds: float = 600.0, cores: Set[int] = MEASURED, **told: str) -> bytes:
    """What a process on these cores prints, with these variables in its environment. Raises AssayError where it fails."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, preexec_fn=_on(cores), env=os.environ | told)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        raise _failed(command, f"nothing after {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise _failed(command, f"exit code {process.returncode}")
    return out


def _failed(command: Sequence[str], got: str) -> AssayError:
    return AssayError("a part of the measurement failed", " ".join(command[:4]), got, "its log is above", Exit.FAILED)


# --- the worker's progress ---------------------------------------------------------------------


async def begun(*workers: Measured) -> None:
    """Wait until one of them has a partition's state, before which nothing is folded."""
    while not any([_has_state(each.report()) for each in workers]):
        for each in workers:
            each.look()
        await asyncio.sleep(0.01)


def _has_state(report: dict[str, Any]) -> bool:
    return any(partition["state"] == "live" for partition in report.get("partitions", ()))


async def finished(settings: Settings, *workers: Measured) -> None:
    """Wait until review has committed everything."""
    while any(lag.events for lag in await lags(brokers_of(settings), [REVIEW_ONLY])):
        for each in workers:
            each.look()
        await asyncio.sleep(0.05)
