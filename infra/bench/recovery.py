"""`assay bench recovery`: from the start of a worker to ready, where the state topic holds many rows.

The rows are those of a real load, copied under other keys until there are enough, and written as a worker writes them.
The floor is reading the same topic to its end, and throwing away what was read.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import orjson
from aiokafka import TopicPartition

from agents.clients import new_consumer
from agents.state_log import Row, StateLog
from infra.bench.live import Load, load_topic
from infra.bench.rig import Measured, Say, brokers_of, said_by, worker
from infra.kafka.reading import ends
from infra.settings import Settings
from infra.verification import replayed
from schemas.topics import EVENTS
from streams.projection import CONTROL_KEY, AnyState, row_bytes, topic_of
from streams.review import REVIEW

ROWS_A_TRANSACTION = 50_000
BAR_SECONDS = 15.0
STATE = topic_of(REVIEW).name


async def measure(settings: Settings, load: Load, rows: int, say: Say) -> dict[str, Any]:
    """Topics must be new."""
    brokers = brokers_of(settings)
    say(f"writing {rows:,} rows")
    await load_topic(settings, load)
    for number in range(settings.kafka.partitions):
        await _fill(settings, number, rows // settings.kafka.partitions)
    say("the floor")
    floor = orjson.loads(await said_by([sys.executable, "-m", "infra.bench.recovery", brokers]))
    say("the worker")
    before = sum((await ends(brokers, STATE)).values())
    began = time.perf_counter()
    async with worker(settings) as measured:
        await _opened(settings, before, measured)
        opened = time.perf_counter()
        report = await _ready(measured)
        done = time.perf_counter()
        measured.look()
    read = sum(partition["rows_read"] for partition in report["partitions"])
    return {
        "holds": done - began < BAR_SECONDS and read >= rows,
        "rows": rows,
        "rows_read": read,
        "seconds_from_start": round(done - began, 3),
        "seconds_from_open": round(done - opened, 3),
        "rows_per_second": round(rows / (done - opened)),
        "floor_seconds": floor["seconds"],
        "floor_rows_per_second": round(rows / floor["seconds"]),
        "ratio_to_floor": round(floor["seconds"] / (done - opened), 3),
        "state_bytes": floor["bytes"],
        "rss_bytes": measured.rss_bytes,
        "bar_seconds": BAR_SECONDS,
    }


async def _fill(settings: Settings, number: int, rows: int) -> None:
    """Write rows of one partition, and the position that they stand for."""
    brokers = brokers_of(settings)
    end = (await ends(brokers, EVENTS.name))[EVENTS.name, number]
    state = await replayed(brokers, REVIEW, number, end)
    log = StateLog(brokers, REVIEW, number)
    await log.open()
    made = _rows(state, rows)
    while some := list(islice(made, ROWS_A_TRANSACTION)):
        await log.write(some)
    await log.write([(CONTROL_KEY.encode(), row_bytes(REVIEW, state, CONTROL_KEY))])
    await log.close()


def _rows(state: AnyState, rows: int) -> Iterator[Row]:
    values = cycle([row_bytes(REVIEW, state, key) for key in state.rows])
    return ((b"s-%09d" % number, value) for number, value in zip(range(rows), values, strict=False))


async def _opened(settings: Settings, before: int, measured: Measured) -> None:
    """Wait for the first fence."""
    while sum((await ends(brokers_of(settings), STATE)).values()) == before:
        measured.look()
        await asyncio.sleep(0.02)


async def _ready(measured: Measured) -> dict[str, Any]:
    """Wait until the worker says so; returns its report."""
    while (report := await asyncio.to_thread(measured.report)).get("state") != "ready":
        measured.look()
        await asyncio.sleep(0.05)
    return report


async def floor(brokers: str) -> dict[str, float]:
    """Seconds to read the state topic, and its bytes."""
    end = await ends(brokers, STATE)
    consumer = new_consumer(brokers, isolation_level="read_committed")
    await consumer.start()
    began, size = time.perf_counter(), 0
    try:
        places = [TopicPartition(*place) for place in end]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        while any([await consumer.position(place) < end[place.topic, place.partition] for place in places]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                size += sum(len(raw.key) + len(raw.value or b"") for raw in batch)
        return {"seconds": round(time.perf_counter() - began, 3), "bytes": size}
    finally:
        await consumer.stop()


if __name__ == "__main__":
    print(orjson.dumps(asyncio.run(floor(sys.argv[1]))).decode())
