"""`assay bench live`: one worker on one core, from records in Kafka to durable state rows and delivered verdicts.

The floor is what the same core does with the same topic when it only fetches and decodes: aiokafka's `getmany`
and pydantic. Each runs in a process of its own, pinned to one core.
"""

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.settings import WorkerOptions
from infra.bench.load import lines, publish
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.settling import lags
from infra.verification import Verification, verify
from schemas.topics import EVENTS
from schemas.wire import decode
from streams.projection import topic_of
from streams.review import REVIEW

REVIEW_ONLY = WorkerOptions(agents="review")


class Load(NamedTuple):
    """What is measured on."""

    events: int
    subjects: int
    seed: int


async def measure(brokers: str, settings: Settings, load: Load) -> dict[str, Any]:
    """Load the topic, then the floor, then the worker, then live = replay. Topics must be empty before."""
    await ensure_topics(brokers, settings)
    size = await publish(brokers, settings.kafka.partitions, lines(*load))
    floor = await _floor_process(brokers)
    seconds, rss = await _worker(brokers, settings)
    verification = Verification()
    async for result in verify(brokers, (REVIEW,)):
        verification.add(result)
    folded = sum(compared.position + 1 for compared in verification.compared)
    rate = load.events / seconds
    return {
        "holds": verification.holds and folded == load.events,
        "events": load.events,
        "subjects": load.subjects,
        "seed": load.seed,
        "event_bytes_mean": round(size / load.events, 1),
        "partitions": settings.kafka.partitions,
        "seconds": round(seconds, 3),
        "events_per_second": round(rate),
        "floor_events_per_second": round(floor),
        "ratio_to_floor": round(rate / floor, 3),
        "rss_bytes": rss,
        "state_rows": sum(compared.rows for compared in verification.compared),
        "facts_delivered": {derived.topic: derived.present for derived in verification.derived},
        "live_equals_replay": all(compared.equal for compared in verification.compared),
    }


def leave_a_core_to_the_measured() -> None:
    """Keep this process, and the broker that it starts, off the core of the worker and the floor, if there are two."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed - {MEASURED_CORE} or allowed)


#: Picked before anything is pinned: children inherit what is left to this process.
MEASURED_CORE = max(os.sched_getaffinity(0))


def _one_core() -> None:
    os.sched_setaffinity(0, {MEASURED_CORE})


# --- the floor ---------------------------------------------------------------------------------


async def _floor_process(brokers: str) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.bench.live", brokers, stdout=asyncio.subprocess.PIPE, preexec_fn=_one_core
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the floor could not be measured")
    return float(out)


async def floor(brokers: str) -> float:
    """Events/s of getmany and decode over the whole topic, from the first fetch on."""
    end = await ends(brokers, EVENTS.name)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(*place) for place in end])
        total, count, started = sum(end.values()), 0, time.perf_counter()
        while count < total:
            for batch in (await consumer.getmany(timeout_ms=1_000, max_records=4_000)).values():
                for raw in batch:
                    decode(raw.value)
                count += len(batch)
        return total / (time.perf_counter() - started)
    finally:
        await consumer.stop()


# --- the worker --------------------------------------------------------------------------------


async def _worker(brokers: str, settings: Settings) -> tuple[float, int]:
    """Seconds from the worker's first sign on the state topic (its fence, before it folds) to its last commit."""
    async with _running(brokers, settings) as process:
        watched = psutil.Process(process.pid)
        rss = 0
        while not await _signs(brokers):
            _alive(process)
            await asyncio.sleep(0.01)
        started = time.perf_counter()
        while any(lag.events for lag in await lags(brokers, [REVIEW_ONLY])):
            _alive(process)
            rss = max(rss, watched.memory_info().rss)
            await asyncio.sleep(0.05)
        return time.perf_counter() - started, max(rss, watched.memory_info().rss)


@contextlib.asynccontextmanager
async def _running(brokers: str, settings: Settings) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "infra.cli", "worker", "--agents", "review"]
    told = os.environ | {"ASSAY_KAFKA__BROKERS": brokers, "ASSAY_DATA_DIR": str(settings.data_dir)}
    process = await asyncio.create_subprocess_exec(*command, env=told, preexec_fn=_one_core, stdout=sys.stderr.fileno())
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _alive(process: Process) -> None:
    if process.returncode is not None:
        raise RuntimeError(f"the worker ended with exit code {process.returncode}; its log is above")


async def _signs(brokers: str) -> bool:
    return any((await ends(brokers, topic_of(REVIEW).name)).values())


if __name__ == "__main__":
    print(asyncio.run(floor(sys.argv[1])))
