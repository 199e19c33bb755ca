"""`assay bench live`: one worker on one core, from records in Kafka to durable state rows and delivered verdicts.

The floor is what the same core does with the same topic when it only fetches and decodes: aiokafka's `getmany`
and pydantic. Each runs in a process of its own, pinned to one core; the broker has what is left.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.bench import weights
from infra.bench.load import Line, lines, publish
from infra.bench.peers.race import Race
from infra.bench.rig import Say, begun, brokers_of, finished, said_by, worker
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.verification import Verification, verify
from schemas.topics import EVENTS
from schemas.wire import decode
from streams.review import REVIEW


class Load(NamedTuple):
    """What is measured on."""

    events: int
    subjects: int
    seed: int
    uniform: bool = False
    #: Weights of all voters stand before the events, and again every so often between them.
    skills: bool = False


async def load_topic(settings: Settings, load: Load) -> int:
    """Create the topics, which must be new, and write the load; returns its bytes."""
    await ensure_topics(brokers_of(settings), settings)
    partitions = settings.kafka.partitions
    between = weights.between(partitions, load.seed) if load.skills else None
    return await publish(brokers_of(settings), partitions, _lines(load), between=between)


def _lines(load: Load) -> Iterator[Line]:
    return lines(load.events, load.subjects, load.seed, load.uniform)


async def measure(settings: Settings, load: Load, say: Say) -> dict[str, Any]:
    """The load, then the floor, then the worker, then live = replay. Topics must be new."""
    brokers = brokers_of(settings)
    say(f"writing {load.events:,} events on {load.subjects:,} subjects{' (uniform)' if load.uniform else ' at a time'}")
    size = await load_topic(settings, load)
    say("the floor")
    floor = await floor_rate(brokers)
    say("the worker")
    seconds, rss = await fold(settings)
    say("live = replay")
    control = weights.estimates(load.events) * settings.kafka.partitions if load.skills else 0
    checked = await check(brokers, load.events + control)
    rate = load.events / seconds
    return {
        "holds": checked.pop("holds"),
        "events": load.events,
        "subjects": load.subjects,
        "seed": load.seed,
        "control_records": control,
        "event_bytes_mean": round(size / load.events, 1),
        "partitions": settings.kafka.partitions,
        "seconds": round(seconds, 3),
        "events_per_second": round(rate),
        "floor_events_per_second": round(floor),
        "ratio_to_floor": round(rate / floor, 3),
        "rss_bytes": rss,
        **checked,
    }


async def check(brokers: str, events: int) -> dict[str, Any]:
    """Whether so many events were folded, no more and no fewer, into what a replay gives, and all facts delivered."""
    verification = Verification()
    async for result in verify(brokers, (REVIEW,)):
        verification.add(result)
    folded = sum(compared.position + 1 for compared in verification.compared)
    return {
        "holds": verification.holds and folded == events,
        "state_rows": sum(compared.rows for compared in verification.compared),
        "facts_delivered": {derived.topic: derived.present for derived in verification.derived},
        "live_equals_replay": all(compared.equal for compared in verification.compared),
    }


async def race(settings: Settings, load: Load, say: Say) -> dict[str, dict[str, Any]]:
    """The peers on the topic that was measured on, which Assay has folded by now."""
    return await Race(settings, lambda events: _lines(load._replace(events=events)), say).run()


async def fold(settings: Settings) -> tuple[float, int]:
    """Seconds from when the worker has state, before which it folds nothing, to its last commit; RSS."""
    async with worker(settings) as measured:
        await begun(measured)
        started = time.perf_counter()
        await finished(settings, measured)
        seconds = time.perf_counter() - started
        measured.look()
        return seconds, measured.rss_bytes


async def floor_rate(brokers: str) -> float:
    """The floor's events/s, in a process on the measured core."""
    return float(await said_by([sys.executable, "-m", "infra.bench.live", brokers]))


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


if __name__ == "__main__":
    print(asyncio.run(floor(sys.argv[1])))
