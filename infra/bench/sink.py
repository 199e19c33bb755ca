"""`assay bench sink`: rows a second from a full topic into ClickHouse's engine, and how soon SQL sees what is sent.

The floor is inserting the very same blocks, prepared beforehand. Sink, floor and watcher each run in a process of their
own, since the embedded engine belongs to one; none is pinned, for the engine has threads of its own.
"""

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import structlog

from agents.collecting import spare_the_collector
from agents.log_reading import read_range
from infra.bench.latency import Trial, send
from infra.bench.live import Load
from infra.bench.load import lines, publish
from infra.bench.rig import CORES, Say, brokers_of, said_by
from infra.clickhouse import migrate
from infra.clickhouse.engine import Store, open_store
from infra.clickhouse.rows import arrow, by_month, rows_of
from infra.clickhouse.sink import Limits, Sink
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from schemas.tables import SINK_TABLES
from schemas.topics import EVENTS

BAR_ROWS_PER_SECOND, BAR_P95_MS = 150_000, 2_000
LOOK_SECONDS = 0.02
TABLE = next(table for table in SINK_TABLES if table.topic == EVENTS)


async def measure(settings: Settings, load: Load, rate: int, seconds: float, say: Say) -> dict[str, Any]:
    """Topics must be new."""
    brokers = brokers_of(settings)
    await ensure_topics(brokers, settings)
    made = lines(10**9, load.subjects, load.seed, load.uniform)
    say(f"writing {load.events:,} events")
    await publish(brokers, settings.kafka.partitions, islice(made, load.events))
    say("the sink")
    filled = orjson.loads(await said_by(_command("fill", settings, "sink"), cores=set(CORES)))
    say("the floor")
    floor = orjson.loads(await said_by(_command("floor", settings, "floor"), cores=set(CORES)))
    say(f"freshness, at {rate:,} events/s for {seconds:.0f} s")
    fresh = await _freshness(settings, list(islice(made, int(rate * seconds))), rate)
    rows_per_second = filled["rows"] / filled["seconds"]
    p95 = fresh.percentile(95)
    return {
        "holds": filled["stored"] == load.events and rows_per_second >= BAR_ROWS_PER_SECOND and p95 < BAR_P95_MS,
        "rows": filled["rows"],
        "rows_stored": filled["stored"],
        "seconds": filled["seconds"],
        "rows_per_second": round(rows_per_second),
        "floor_rows_per_second": round(filled["rows"] / floor["seconds"]),
        "ratio_to_floor": round(floor["seconds"] / filled["seconds"], 3),
        "cpu_seconds": filled["cpu_seconds"],
        "floor_cpu_seconds": floor["cpu_seconds"],
        "fresh_rate": rate,
        "fresh_rows_seen": len(fresh.milliseconds),
        "fresh_p50_ms": fresh.percentile(50),
        "fresh_p95_ms": p95,
        "fresh_p99_ms": fresh.percentile(99),
        "bars": {"rows_per_second": BAR_ROWS_PER_SECOND, "fresh_p95_ms": BAR_P95_MS},
    }


def _command(part: str, settings: Settings, name: str) -> list[str]:
    return [sys.executable, "-m", "infra.bench.sink", part, str(settings.data_dir / name), brokers_of(settings)]


async def _freshness(settings: Settings, made: list[Any], rate: int) -> Trial:
    """A load while the sink runs; what the watcher saw when."""
    brokers = brokers_of(settings)
    trial = Trial(EVENTS.name, EVENTS.name)
    trial.sent = {number: (end, []) for (_, number), end in (await ends(brokers, EVENTS.name)).items()}
    process = await asyncio.create_subprocess_exec(*_command("watch", settings, "sink"), stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()  # it has stored all that was there
    await send(brokers, trial, made, rate)
    out, _ = await process.communicate(b"%d\n" % (sum(base + len(times) for base, times in trial.sent.values())))
    for line in out.splitlines():
        now, *seen = orjson.loads(line)
        _see(trial, now, dict(seen))
    return trial


def _see(trial: Trial, now: float, seen: dict[int, int]) -> None:
    """From this look on, SQL knows all records up to these offsets."""
    for number, (base, times) in trial.sent.items():
        fresh = max(0, seen.get(number, -1) + 1 - base)
        trial.milliseconds += [1e3 * (now - sent) for sent in times[:fresh]]
        trial.sent[number] = base + min(fresh, len(times)), times[fresh:]


# --- each in a process of its own --------------------------------------------------------------


@contextlib.contextmanager
def _store(home: Path) -> Iterator[Store]:
    with contextlib.closing(open_store(Settings(data_dir=home))) as store:
        migrate.up(store)
        yield store


@contextlib.asynccontextmanager
async def _running(store: Store, brokers: str) -> AsyncIterator[Sink]:
    spare_the_collector()  # as `assay serve` does
    sink, stop = Sink(store, brokers), asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    starting = asyncio.create_task(sink.started.wait())
    await asyncio.wait([task, starting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield sink
    finally:
        stop.set()
        starting.cancel()
        await task


async def _stored(sink: Sink) -> None:
    while sink.lag:  # noqa: ASYNC110  # what the sink tells of itself is a number
        await asyncio.sleep(0.01)


async def fill(home: Path, brokers: str) -> None:
    with _store(home) as store:
        async with _running(store, brokers) as sink:
            began, cpu = time.perf_counter(), time.process_time()
            await _stored(sink)
            seconds, used = time.perf_counter() - began, time.process_time() - cpu
        stored = store.client(store.database).query(f"SELECT count() FROM {TABLE.name} FINAL").result_rows[0][0]
    say = {"rows": sink.status()["rows"], "stored": stored, "seconds": round(seconds, 3), "cpu_seconds": round(used, 2)}
    print(orjson.dumps(say).decode())


async def floor(home: Path, brokers: str) -> None:
    blocks = [block async for block in _blocks(brokers, Limits().rows)]
    with _store(home) as store:
        client = store.client(store.database)
        began, cpu = time.perf_counter(), time.process_time()
        for block in blocks:
            client.insert_arrow(f"{store.database}.{TABLE.name}", block)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    print(orjson.dumps({"seconds": round(seconds, 3), "cpu_seconds": round(used, 2)}).decode())


async def _blocks(brokers: str, rows: int) -> AsyncIterator[Any]:
    for place, end in (await ends(brokers, EVENTS.name)).items():
        waiting: list[Any] = []
        async for records in read_range(brokers, place, 0, end):
            waiting += records
            while len(waiting) >= rows or (waiting and waiting[-1].offset == end - 1):
                some, waiting = waiting[:rows], waiting[rows:]
                columns = rows_of(TABLE, some)
                for block in by_month(columns, arrow(*place, columns)):
                    yield block


async def watch(home: Path, brokers: str) -> None:
    """Print when SQL sees which offsets; stdin says in the end how many records there are."""
    question = f"SELECT `partition`, max(`offset`) FROM {TABLE.name} WHERE topic = '{EVENTS.name}' GROUP BY `partition`"
    with _store(home) as store:
        client = store.client(store.database)
        async with _running(store, brokers) as sink:
            await _stored(sink)
            print("ready", flush=True)
            told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
            seen = 0
            while not told.done() or seen < int(told.result()):
                found = (await asyncio.to_thread(client.query, question)).result_rows
                print(orjson.dumps([time.perf_counter(), *found]).decode(), flush=False)
                seen = sum(offset + 1 for _, offset in found)
                await asyncio.sleep(LOOK_SECONDS)


PARTS = {"fill": fill, "floor": floor, "watch": watch}

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(PARTS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3]))
