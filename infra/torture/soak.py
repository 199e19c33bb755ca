"""`assay torture soak`: the whole system under a steady load for minutes or hours: memory, lag and files over time.

A broker, a worker with all agents and the sink run as `assay up` runs them. Subjects come and go, and every row stays
in the state, so that memory grows with what was ever received: what must not grow is the rest.
"""

import asyncio
import contextlib
import os
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from agents.settings import WorkerOptions
from infra.bench.latency import Trial, send
from infra.bench.load import lines
from infra.bench.rig import Say, assay, broker_of, brokers_of, died
from infra.clickhouse.engine import asking
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.plots import Panel
from infra.settings import Settings
from infra.settling import lags, settled
from infra.verification import Verification, verify
from schemas.topics import EVENTS

OPTIONS = WorkerOptions()
#: Samples of a soak, whatever its length: enough for a plot.
SAMPLES = 120
#: A worker may grow by so much more in the second half than its rows explain.
SLACK_BYTES = 64 << 20


@dataclass(frozen=True)
class Told:
    minutes: float
    rate: int
    subjects: int
    seed: int


@dataclass
class Sample:
    """One look at everything."""

    seconds: float
    rss_bytes: dict[str, int]
    lag_events: dict[str, int]
    file_bytes: dict[str, int]
    sent: int


@dataclass
class Soak:
    settings: Settings
    told: Told
    samples: list[Sample] = field(default_factory=list[Sample])

    async def run(self, say: Say) -> dict[str, Any]:
        """Topics must be new."""
        await ensure_topics(brokers_of(self.settings), self.settings)
        async with assay(self.settings, "worker") as worker, assay(self.settings, "serve", ASSAY_CLICKHOUSE__PORT="0") as sink:
            processes = {
                "broker": broker_of(self.settings),
                "worker": psutil.Process(worker.pid),
                "sink": psutil.Process(sink.pid),
            }
            trial = Trial(EVENTS.name, EVENTS.name)
            trial.sent = {number: (0, []) for (_, number) in await ends(brokers_of(self.settings), EVENTS.name)}
            await together(self._load(trial), self._look_on(processes, trial, say, lambda: _alive(worker, sink)))
            say("what is left to do")
            await settled(brokers_of(self.settings), [OPTIONS], lambda _: _alive(worker, sink))
            sent = sum(len(times) for _, times in trial.sent.values())
            stored = await _stored(self.settings, sent)
            await self._look(processes, sent, 60 * self.told.minutes)
        say("live = replay")
        verification = Verification()
        async for result in verify(brokers_of(self.settings)):
            verification.add(result)
        return self.judged(verification, sent, stored)

    async def _load(self, trial: Trial) -> None:
        """The load in stretches of some seconds, so that little of it waits in memory."""
        made = lines(10**12, self.told.subjects, self.told.seed)
        until = time.perf_counter() + 60 * self.told.minutes
        while (left := until - time.perf_counter()) > 0:
            some = list(islice(made, max(1, int(self.told.rate * min(5.0, left)))))
            await send(brokers_of(self.settings), trial, some, self.told.rate)

    async def _look_on(self, processes: dict[str, psutil.Process], trial: Trial, say: Say, check: Callable[[], None]) -> None:
        began = time.perf_counter()
        every = max(0.5, 60 * self.told.minutes / SAMPLES)
        while True:
            check()
            sent = sum(len(times) for _, times in trial.sent.values())
            sample = await self._look(processes, sent, time.perf_counter() - began)
            say(f"{sample.seconds:.0f} s: {sent:,} events, lag {sum(sample.lag_events.values()):,}")
            await asyncio.sleep(every)

    async def _look(self, processes: dict[str, psutil.Process], sent: int, seconds: float) -> Sample:
        rss = {name: int(process.memory_info().rss) for name, process in processes.items()}
        lag = {lag.agent: lag.events for lag in await lags(brokers_of(self.settings), [OPTIONS])}
        files = {name: _size(self.settings.data_dir / name) for name in ("kafka/data", "clickhouse")}
        self.samples.append(Sample(round(seconds, 1), rss, lag, files, sent))
        return self.samples[-1]

    def judged(self, verification: Verification, sent: int, stored: int) -> dict[str, Any]:
        """What the samples say, and whether it holds."""
        first, half, last = self.samples[0], self.samples[len(self.samples) // 2], self.samples[-1]
        grown = {name: last.rss_bytes[name] - half.rss_bytes[name] for name in last.rss_bytes}
        rows = sum(compared.rows for compared in verification.compared)
        # Rows came as evenly as events, so the second half has as much of the growth as the first.
        expected = max(0, half.rss_bytes["worker"] - first.rss_bytes["worker"])
        bounded = grown["worker"] <= expected + SLACK_BYTES
        return {
            "holds": bounded and verification.holds and stored == sent and not sum(last.lag_events.values()),
            "minutes": self.told.minutes,
            "events": sent,
            "rows_in_clickhouse": stored,
            "live_equals_replay": verification.holds,
            "state_rows": rows,
            "rss_grown_in_second_half": grown,
            "rss_bounded": bounded,
            "most_lag_events": {name: max(sample.lag_events[name] for sample in self.samples) for name in last.lag_events},
            "samples": self.samples,
        }


def _size(folder: Path) -> int:
    """What the files take on the disk: Kafka's index files are mostly holes."""
    total = 0
    for place, _, names in os.walk(folder):  # which passes over folders that go meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += 512 * (Path(place) / name).stat().st_blocks
    return total


async def _stored(settings: Settings, sent: int) -> int:
    """Wait until ClickHouse has as many events, or does not come further."""
    before, count = -1, 0
    while count < sent and count != before:
        before = count
        await asyncio.sleep(3.0)
        with asking(settings) as client:
            count = int(client.query("SELECT count() FROM events FINAL").result_rows[0][0])
    return count


async def together(work: Coroutine[Any, Any, Any], watch: Coroutine[Any, Any, Any]) -> None:
    """Until the work is done; what ends the watch before, ends the work."""
    tasks = [asyncio.create_task(work), asyncio.create_task(watch)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _alive(*processes: Process) -> None:
    for process in processes:
        if process.returncode is not None:
            raise died(process.returncode)


def panels(samples: list[Sample]) -> list[Panel]:
    """Memory, lag and files over time."""

    def lines_of(column: str) -> dict[str, list[tuple[float, float]]]:
        names = getattr(samples[0], column)
        return {name: [(sample.seconds, getattr(sample, column)[name]) for sample in samples] for name in names}

    return [
        Panel("Memory", "seconds", "resident bytes", lines_of("rss_bytes")),
        Panel("Lag", "seconds", "events", lines_of("lag_events")),
        Panel("Files", "seconds", "bytes", lines_of("file_bytes")),
    ]
