"""`assay bench latency`: from sending the event that decides to a consumer that sees the verdict, under a steady load.

The load comes at half of the rate that the same worker just showed, or at the rate that is given. A verdict's origin
names the record that decided it, and that record's place in its partition tells when it was sent. The floor is the
same load on a topic with nothing between producer and consumer.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.clients import new_producer
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from infra.bench.load import Line, lines, publish
from infra.bench.rig import Say, begun, brokers_of, finished, worker
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from schemas.catalogue import TYPE_OF
from schemas.events import VerdictReached
from schemas.topics import EVENTS, VERDICTS, Topic

TICK_SECONDS = 0.005
#: Left out at the beginning of a trial, where clients meet and caches fill.
WARM_SECONDS = 1.0
P50_MS, P99_MS = 50, 250
ECHO = Topic("bench.echo", "subject id", "the same load again, for the floor")
_REACHED = TYPE_OF[VerdictReached].encode()


class Told(NamedTuple):
    """What is measured. Rate 0: half of what the worker shows on `events` that wait for it."""

    rate: int
    seconds: float
    events: int
    subjects: int
    seed: int


async def measure(settings: Settings, told: Told, say: Say) -> dict[str, Any]:
    """Topics must be new."""
    await ensure_topics(brokers_of(settings), settings)
    await ensure_topics(brokers_of(settings), settings, [ECHO])
    load = lines(10**9, told.subjects, told.seed)
    await publish(brokers_of(settings), settings.kafka.partitions, islice(load, told.events))
    async with worker(settings) as measured:
        say(f"the full rate, on {told.events:,} events")
        await begun(measured)
        started = time.perf_counter()
        await finished(settings, measured)
        full = told.events / (time.perf_counter() - started)
        rate = told.rate or int(full / 2)
        say(f"the floor: {rate:,} events/s with nothing between")
        floor = await _trial(settings, Trial(ECHO.name, ECHO.name), load, rate, told.seconds / 2)
        say(f"{rate:,} events/s for {told.seconds:.0f} s")
        found = await _trial(settings, Trial(EVENTS.name, VERDICTS.name), load, rate, told.seconds)
        await finished(settings, measured)
    p50, p99 = found.percentile(50), found.percentile(99)
    return {
        "holds": p50 < P50_MS and p99 < P99_MS and found.rate >= 0.95 * rate,
        "p50_ms": p50,
        "p95_ms": found.percentile(95),
        "p99_ms": p99,
        "max_ms": found.percentile(100),
        "verdicts": len(found.milliseconds),
        "rate": rate,
        "achieved_rate": round(found.rate),
        "full_rate": round(full),
        "seconds": told.seconds,
        "floor_p50_ms": floor.percentile(50),
        "floor_p99_ms": floor.percentile(99),
        "bars_ms": {"p50": P50_MS, "p99": P99_MS},
    }


@dataclass
class Trial:
    """A steady load into one topic, and when what follows from it was seen on another."""

    into: str
    out: str
    #: For each partition of `into`: its end before the load, and when each record of the load was sent.
    sent: dict[int, tuple[int, list[float]]] = field(default_factory=dict[int, tuple[int, list[float]]])
    milliseconds: list[float] = field(default_factory=list[float])
    rate: float = 0.0

    def percentile(self, percent: int) -> float:
        """Of what was seen; infinite if nothing was."""
        ordered = sorted(self.milliseconds)
        return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 1) if ordered else float("inf")

    def see(self, raw: Any, now: float, warm_until: float) -> None:
        place = (raw.partition, raw.offset) if self.out == self.into else _origin(raw)
        if place is None or place[0] not in self.sent:
            return
        base, times = self.sent[place[0]]
        if 0 <= place[1] - base < len(times) and times[place[1] - base] >= warm_until:
            self.milliseconds.append(1e3 * (now - times[place[1] - base]))


def _origin(raw: Any) -> tuple[int, int] | None:
    """Partition and offset of the record that decided; None for what is no verdict."""
    if _REACHED not in raw.value:
        return None
    origin = orjson.loads(raw.value)["data"]["origin"]
    return origin["partition"], origin["offset"]


async def _trial(settings: Settings, trial: Trial, load: Iterator[Line], rate: int, seconds: float) -> Trial:
    brokers = brokers_of(settings)
    made = list(islice(load, int(rate * seconds)))
    trial.sent = {number: (end, []) for (_, number), end in (await ends(brokers, trial.into)).items()}
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False, fetch_max_wait_ms=50)
    await consumer.start()
    consumer.assign([TopicPartition(*place) for place in await ends(brokers, trial.out)])
    await consumer.seek_to_end()
    began = time.perf_counter()
    watching = asyncio.create_task(_watch(consumer, trial, began + WARM_SECONDS))
    with _no_collections():
        await send(brokers, trial, made, rate)
        trial.rate = len(made) / (time.perf_counter() - began)
        await asyncio.sleep(1.0)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await consumer.stop()
    return trial


async def _watch(consumer: AIOKafkaConsumer, trial: Trial, warm_until: float) -> None:
    while True:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            now = time.perf_counter()
            for raw in records:
                trial.see(raw, now, warm_until)


async def send(brokers: str, trial: Trial, made: Sequence[Line], rate: int) -> None:
    """As many a tick as are due; when each was sent is noted in the trial."""
    producer = new_producer(brokers)
    await producer.start()
    try:
        publisher, done, count, began = Publisher(producer), 0, len(trial.sent), time.perf_counter()
        deliveries: list[asyncio.Future[Any]] = []
        while done < len(made):
            now = time.perf_counter()
            due = min(int((now - began) * rate), len(made))
            for subject, type_, id_, value in made[done:due]:
                number = partition_of(subject, count)
                publisher.add((trial.into, number), subject.encode(), value, 1, fact_headers(id_, type_))
                trial.sent[number][1].append(now)
            done = due
            deliveries += await publisher.send_all()
            await asyncio.sleep(TICK_SECONDS)
        await delivered(deliveries)
    finally:
        await producer.stop()


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """A collection would look like a slow worker."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
