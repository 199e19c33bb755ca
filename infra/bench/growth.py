"""`assay bench growth`: where an event's time goes, and how that grows with keys, overlap, record size and partitions.

All in CPU microseconds an event, which other processes on the machine disturb least. The stages are measured one after
the other in this process, over records in memory; partitions on a broker, by a worker's CPU seconds.
"""

import asyncio
import cProfile
import gc
import pstats
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from agents.clients import Producer, new_producer
from agents.publishing import Publisher, fact_headers, partition_of
from infra.bench.live import Load, load_topic
from infra.bench.load import TEXT, Line, lines
from infra.bench.rig import begun, finished, worker
from infra.plots import Panel
from infra.settings import Settings
from streams.projection import AnyState, Effect, Fact, Record, facts, record_of, row_bytes
from streams.review import REVIEW

STAGES = ("decode", "fold", "facts", "batches", "rows")
SUBJECTS = (100, 1_000, 10_000, 100_000)
OVERLAPS = (1, 2, 5, 10, 20, 50)
TEXT_BYTES = (100, 1_000, 4_000, 16_000)
PARTITIONS = (1, 4, 16, 64)
#: A state row is written once for so many events, which stand for the second between two flushes.
FLUSH_EVENTS = 50_000

Costs = dict[str, float]


def stages(made: Iterable[Line]) -> Costs:
    """Microseconds of CPU an event, by stage."""
    values = [line[3] for line in made]
    gc.collect()
    records, decoding = _timed(lambda: [record_of(0, offset, value) for offset, value in enumerate(values)])
    state, touched, effects = REVIEW.empty(), list[dict[str, None]](), list[tuple[Record, list[Effect]]]()
    _, folding = _timed(lambda: _fold(state, records, touched, effects))
    derived, deriving = _timed(lambda: [fact for record, some in effects for fact in facts(REVIEW, record, some)])
    _, batching = _timed(lambda: asyncio.run(_batch(derived)))
    _, writing = _timed(lambda: [row_bytes(REVIEW, state, key) for keys in touched for key in keys])
    spent = (decoding, folding, deriving, batching, writing)
    return {name: round(1e6 * seconds / len(values), 3) for name, seconds in zip(STAGES, spent, strict=True)}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    gc.disable()
    began = time.process_time()
    try:
        return work(), time.process_time() - began
    finally:
        gc.enable()


def _fold(state: AnyState, records: Sequence[Record], touched: list[dict[str, None]], effects: list[Any]) -> None:
    for record in records:
        step = REVIEW.apply(state, record)
        if step.effects:
            effects.append((record, step.effects))
        if record.offset % FLUSH_EVENTS == FLUSH_EVENTS - 1:
            touched.append(state.touched)
            state.touched = {}
    touched.append(state.touched)


async def _batch(derived: Iterable[Fact]) -> None:
    """Into batches and compressed, as the runner and its producer do; nothing is sent."""
    producer = new_producer("localhost:9092")
    publisher = Publisher(Unconnected(producer))
    for fact in derived:
        place = (fact.topic, partition_of(fact.key, 4))
        publisher.add(place, fact.key.encode(), fact.value, 1, fact_headers(fact.id, fact.type))
    await publisher.send_all()
    await producer.stop()


class Unconnected:
    """A producer that compresses what it is given, and keeps it to itself."""

    def __init__(self, real: Producer) -> None:
        self.create_batch = real.create_batch
        self.start, self.stop, self.partitions_for, self.transaction = (
            real.start,
            real.stop,
            real.partitions_for,
            real.transaction,
        )

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        batch.close()
        return asyncio.get_running_loop().create_future()


def keys(events: int, seed: int) -> Iterator[tuple[int, Costs]]:
    """By the number of subjects that are open at a time."""
    for subjects in SUBJECTS:
        yield subjects, stages(lines(events, subjects, seed))


def overlap(events: int, seed: int) -> Iterator[tuple[int, Costs]]:
    """By votes a subject, all of them open."""
    for votes in OVERLAPS:
        yield votes, stages(lines(events, max(1, events // (votes + 1)), seed, uniform=True))


def text(events: int, seed: int) -> Iterator[tuple[int, Costs]]:
    """By bytes of text in what is received or edited, some 3 of 10 events."""
    for size in TEXT_BYTES:
        longer = (TEXT.encode() * (size // len(TEXT) + 1))[:size]
        made = ((s, t, i, value.replace(TEXT.encode(), longer)) for s, t, i, value in lines(events, 10_000, seed))
        yield size, stages(made)


async def partitions(settings: Settings, events: int, seed: int) -> float:
    """A worker's CPU microseconds an event, on as many partitions as the settings say. Topics must be new."""
    await load_topic(settings, Load(events, 10_000, seed))
    async with worker(settings) as measured:
        await begun(measured)
        before = measured.cpu_seconds
        await finished(settings, measured)
        return round(1e6 * (measured.cpu_seconds - before) / events, 3)


def profile(events: int, seed: int) -> list[dict[str, Any]]:
    """The functions that take most of decoding, folding and deriving, with their shares by cProfile."""
    made = list(lines(events, 10_000, seed))
    profiler = cProfile.Profile()
    profiler.enable()
    stages(made)
    profiler.disable()
    found: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(each[2] for each in found.values())
    most = islice(sorted(found.items(), key=lambda each: -each[1][2]), 20)
    return [{"function": _named(*place), "calls": each[1], "share": round(each[2] / total, 4)} for place, each in most]


def _named(file: str, number: int, function: str) -> str:
    return function if number == 0 else f"{'/'.join(Path(file).parts[-2:])}:{function}"


def panels(found: dict[str, Any]) -> dict[str, list[Panel]]:
    """Plots by name."""
    axes = {
        "keys": "subjects open at a time",
        "overlap": "votes a subject",
        "text": "bytes of text",
        "partitions": "partitions",
    }
    return {
        name: [Panel(f"CPU an event, by {name}", x, "microseconds", _series(found[name]))]
        for name, x in axes.items()
        if found[name]
    }


def _series(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    return {name: [(row["at"], row[name]) for row in rows] for name in rows[0] if name != "at"}
