"""`assay bench replay`: an archive folded again on every processor, what of that is reading and decoding, and `--as-of`.

Each partition is a process's. Bars count seconds by the clock; CPU seconds stand beside them, for a machine that others use.
"""

import asyncio
import gc
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter, process_time
from typing import Any, NamedTuple

import orjson

from agents.publishing import partition_of
from infra.bench.load import START, lines
from infra.bench.rig import CORES, Say, said_by
from infra.code import code_version
from infra.history import segments
from infra.history.archive import ArchivedRecord, ArchiveHistory
from infra.history.archiving import LIMITS
from infra.history.asof import folded as fold
from infra.history.asof import hash_at
from infra.history.choosing import Source
from infra.history.imaging import image
from infra.history.replaying import Replayed, Task, processors, work
from infra.history.segments import Manifest, columns_of, folder_of, table_of
from infra.history.source import decoded
from schemas.identity import unix_milliseconds
from schemas.topics import EVENTS
from schemas.wire import headers
from streams.catalogue import PROJECTION_BY_NAME
from streams.projection import state_hash
from streams.review import REVIEW

RATE_BAR = 200_000
EVENTS_BAR, SECONDS_BAR = 10_000_000, 60.0
AS_OF_BAR = 2.0


class Load(NamedTuple):
    events: int
    subjects: int
    partitions: int
    seed: int
    #: Of each command that is timed: the quickest counts.
    runs: int = 3


def measure(load: Load, every: int, say: Say) -> dict[str, Any]:
    """In a folder of its own, which goes."""
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name:
        folder, cores = Path(name), processors()
        say(f"writing {load.events:,} events to an archive")
        written = _timed(lambda: fill(folder, load))
        source = Source(None, folder)
        ends = asyncio.run(ArchiveHistory(folder).ends(EVENTS.name))
        tasks = [Task(source, REVIEW.name, partition, 0, end) for (_, partition), end in sorted(ends.items())]
        say("reading alone, then with decoding, then all of it")
        reading, decoding = _stage(read_alone, tasks, cores), _stage(decode_alone, tasks, cores)
        with _pool(cores) as pool:
            list(pool.map(_ready, range(cores)))
            began = perf_counter()
            folded = list(pool.map(work, tasks))
            seconds = perf_counter() - began
            say("state images")
            imaged = _timed(lambda: list(pool.map(_image, [(folder, task.partition, task.end, every) for task in tasks])))
        say("as of a time")
        found = _rates(load.events, cores, seconds, folded, reading, decoding)
        found |= {"write_seconds": written, "archive_bytes": _bytes(folder / EVENTS.name)}
        found |= {"image_seconds": imaged, "image_bytes": _bytes(folder / "images")}
        found |= asyncio.run(_as_of(folder, load, tasks, folded))
        found["holds"] = _holds(found)
        return found


def fill(folder: Path, load: Load) -> None:
    """An archive as `assay archive` writes it, without a broker before it."""
    waiting: list[list[ArchivedRecord]] = [[] for _ in range(load.partitions)]
    manifests = [Manifest(format=1, log="bench", topic=EVENTS.name, partition=number) for number in range(load.partitions)]
    ends = [0] * load.partitions
    for number, (subject, type_, id_, value) in enumerate(lines(load.events, load.subjects, load.seed)):
        at, time = partition_of(subject, load.partitions), _time_of(number)
        waiting[at].append(ArchivedRecord(ends[at], time, subject.encode(), value, headers(id_, type_)))
        ends[at] += 1
        if len(waiting[at]) == LIMITS.records:
            manifests[at] = _write(folder, manifests[at], waiting[at])
            waiting[at] = []
    for at, rest in enumerate(waiting):
        if rest or not ends[at]:
            _write(folder, manifests[at], rest)


def _time_of(number: int) -> int:
    return unix_milliseconds(START + timedelta(milliseconds=100 * number))


def _write(folder: Path, manifest: Manifest, rows: list[ArchivedRecord]) -> Manifest:
    place = folder_of(folder, (manifest.topic, manifest.partition))
    if not rows:
        segments.save(place, manifest)
        return manifest
    return segments.write(place, manifest, table_of(columns_of(rows)), rows[-1], rows[-1].offset + 1, rows[0].offset)


# --- stages ------------------------------------------------------------------------------------


def read_alone(task: Task) -> float:
    """CPU seconds of reading and checking the segments, up to bytes in lists."""
    return asyncio.run(_each(task, lambda stretch: None))


def decode_alone(task: Task) -> float:
    """The same with pydantic's decoding of every event, which is thrown away."""
    place = (EVENTS.name, task.partition)
    return asyncio.run(_each(task, lambda stretch: sum(1 for _ in decoded(place, stretch))))


async def _each(task: Task, then: Callable[[Any], object]) -> float:
    began = process_time()
    async for stretch in task.source.open().stretches(EVENTS.name, task.partition, task.end, task.start):
        then(stretch)
    return process_time() - began


def _stage(stage: Callable[[Task], float], tasks: list[Task], cores: int) -> tuple[float, float]:
    """Seconds by the clock and of CPU."""
    with _pool(cores) as pool:
        list(pool.map(_ready, range(cores)))
        began = perf_counter()
        cpu = sum(pool.map(stage, tasks))
        return perf_counter() - began, cpu


def _pool(cores: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(cores, get_context("spawn"), initializer=_without_collector)


def _without_collector() -> None:
    gc.disable()
    gc.freeze()


def _ready(_: int) -> int:
    return len(PROJECTION_BY_NAME)


def _image(told: tuple[Path, int, int, int]) -> int:
    folder, partition, end, every = told
    made = image(ArchiveHistory(folder), folder, "bench", REVIEW, partition, end, code_version(), every)
    return len(asyncio.run(made).images)


def _timed(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return round(perf_counter() - began, 2)


# --- figures -----------------------------------------------------------------------------------


#: Seconds by the clock, and of CPU.
Took = tuple[float, float]


def _rates(events: int, cores: int, seconds: float, folded: Iterable[Replayed], reading: Took, decoding: Took) -> dict[str, Any]:
    cpu = sum(one.cpu_seconds for one in folded)
    return {
        "events": events,
        "cores": cores,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "events_per_second_per_core": round(events / seconds / cores),
        "events_per_cpu_second": round(events / cpu),
        "decode_events_per_second_per_core": round(events / decoding[0] / cores),
        "decode_events_per_cpu_second": round(events / decoding[1]),
        "floor_events_per_second_per_core": round(events / reading[0] / cores),
        "ratio_to_floor": round(reading[0] / seconds, 3),
        "seconds_for_10_million": round(EVENTS_BAR * seconds / events, 1),
    }


async def _as_of(folder: Path, load: Load, tasks: list[Task], folded: list[Replayed]) -> dict[str, Any]:
    """Of the whole command, which a process of its own runs; and whether the state is that of the fold from the beginning."""
    time = f"@{_time_of(load.events * 3 // 4)}"
    subject = f"s-{load.events // 10:07d}"
    counted, counts = await _command(load.runs, "--as-of", time, "--source", str(folder), "--projection", "review", "--json")
    told, _ = await _command(load.runs, "--as-of", time, "--source", str(folder), "--subject", subject, "--json")
    kept, history = tasks[0].source.images(), ArchiveHistory(folder)
    began = perf_counter()
    at_end = [await hash_at(history, kept, REVIEW, task.partition, task.end) for task in tasks[:1]]
    hashed = perf_counter() - began
    middle = max(1, tasks[0].end * 2 // 3 - 1)
    expected = state_hash(REVIEW, await fold(history, REVIEW, tasks[0].partition, middle))
    equal = at_end == [one.hash for one in folded[:1]]
    equal = equal and await hash_at(history, kept, REVIEW, tasks[0].partition, middle) == expected
    return {
        "as_of_seconds": counted[0],
        "as_of_cpu_seconds": counted[1],
        "as_of_subject_seconds": told[0],
        "as_of_subject_cpu_seconds": told[1],
        "as_of_hash_seconds_of_a_partition": round(hashed, 2),
        "as_of_folded": sum(one["folded"] for one in counts["partitions"]),
        "as_of_hash_equal": equal,
    }


async def _command(runs: int, *arguments: str) -> tuple[Took, Any]:
    """The quickest of some runs, and what it said."""
    took, said = list[Took](), b""
    for _ in range(runs):
        began, cpu = perf_counter(), _cpu_of_children()
        said = await said_by([sys.executable, "-m", "infra.cli", "replay", *arguments], cores=frozenset(CORES))
        took.append((round(perf_counter() - began, 2), round(_cpu_of_children() - cpu, 2)))
    return min(took), orjson.loads(said)


def _cpu_of_children() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _holds(found: dict[str, Any]) -> dict[str, bool | None]:
    """By bar. None: the bar is about more events than there were."""
    whole = found["events"] >= EVENTS_BAR
    return {
        "hash_equal": found["as_of_hash_equal"],
        "events_per_second_per_core": found["events_per_second_per_core"] >= RATE_BAR,
        "10_million_in_60_seconds": found["seconds"] < SECONDS_BAR if whole else None,
        "as_of_seconds": found["as_of_seconds"] < AS_OF_BAR if whole else None,
    }


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
