"""The log folded again, a process for each processor: what comes back is each partition's hash and numbers, not its state."""

import asyncio
import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from time import perf_counter, process_time
from typing import NamedTuple

from infra.history.asof import folded, hash_of
from infra.history.choosing import Source
from infra.history.source import Watch
from streams.catalogue import PROJECTION_BY_NAME

#: Fewer records are folded before other processes have begun.
FEW = 200_000


class Task(NamedTuple):
    """One partition to fold: records at start <= offset < end."""

    source: Source
    projection: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Replayed:
    """`position` is the last event's offset; `seconds` and `cpu_seconds` are those of folding, without the hash."""

    projection: str
    partition: int
    start: int
    end: int
    position: int
    rows: int
    hash: str
    seconds: float
    cpu_seconds: float


def replay(tasks: Sequence[Task], processes: int = 1, watch: Watch = lambda done, total: None) -> list[Replayed]:
    """Fold all of it; results stand in the order of the tasks. Blocks, and not for a running event loop."""
    total, done = sum(task.end - task.start for task in tasks), 0
    found: dict[Task, Replayed] = {}
    alone = processes == 1 or len(tasks) == 1 or total < FEW
    for task, result in _alone(tasks) if alone else _spread(tasks, processes):
        found[task] = result
        done += task.end - task.start
        watch(done, total)
    return [found[task] for task in tasks]


def _alone(tasks: Sequence[Task]) -> Iterator[tuple[Task, Replayed]]:
    for task in tasks:
        yield task, work(task)


def _spread(tasks: Sequence[Task], processes: int) -> Iterator[tuple[Task, Replayed]]:
    with ProcessPoolExecutor(min(processes, len(tasks)), get_context("spawn")) as pool:
        # The longest first, so that none is left alone at the end.
        waiting = {pool.submit(work, task): task for task in sorted(tasks, key=lambda task: task.start - task.end)}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def work(task: Task) -> Replayed:
    """Fold one partition in this process, without the garbage collector: a state has no cycles, and many objects."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return asyncio.run(_work(task))
    finally:
        if collects:
            gc.enable()


async def _work(task: Task) -> Replayed:
    projection = PROJECTION_BY_NAME[task.projection]
    began, cpu = perf_counter(), process_time()
    state = await folded(task.source.open(), projection, task.partition, task.end, task.start)
    took, cpu_took = perf_counter() - began, process_time() - cpu
    hash_ = hash_of(projection, state)
    return Replayed(task.projection, task.partition, task.start, task.end, state.position, len(state.rows), hash_, took, cpu_took)


def processors() -> int:
    return len(os.sched_getaffinity(0))
