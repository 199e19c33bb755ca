"""`assay bench scale`: what a second worker brings, in events a second and in CPU seconds.

Start-up is left out: a run is measured from the instant when every partition has committed something to the last commit.
"""

import asyncio
import contextlib
import time
from typing import Any

from infra.bench.live import Load, check, load_topic
from infra.bench.rig import CORES, REVIEW_ONLY, Measured, Say, broker_of, brokers_of, cpu_seconds, finished, worker
from infra.settings import Settings
from infra.settling import committed_by


async def measure(settings: Settings, load: Load, workers: int, say: Say) -> dict[str, Any]:
    """One run with so many workers. Topics must be new."""
    say(f"writing {load.events:,} events")
    await load_topic(settings, load)
    say(f"{workers} at work")
    async with contextlib.AsyncExitStack() as stack:
        team = [
            await stack.enter_async_context(worker(settings, CORES[number % len(CORES)], name=f"worker{number}"))
            for number in range(workers)
        ]
        before = await _all_at_work(settings, team)
        began, cpu, broker_cpu = time.perf_counter(), _cpu(team), cpu_seconds(broker_of(settings))
        await finished(settings, *team)
        seconds = time.perf_counter() - began
        used = [after - earlier for after, earlier in zip(_cpu(team), cpu, strict=True)]
        broker_used = cpu_seconds(broker_of(settings)) - broker_cpu
    checked = await check(brokers_of(settings), load.events)
    events = load.events - before
    return {
        "holds": checked["holds"],
        "events": events,
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds),
        "worker_cpu_seconds": [round(each, 2) for each in used],
        "broker_cpu_seconds": round(broker_used, 2),
        "events_per_worker_cpu_second": round(events / sum(used)),
    }


async def _all_at_work(settings: Settings, team: list[Measured]) -> int:
    """Wait until every partition has committed something; returns how many events that is."""
    while True:
        for each in team:
            each.look()
        found = await committed_by(brokers_of(settings), REVIEW_ONLY.group)
        if len(found) == settings.kafka.partitions and all(found.values()):
            return sum(found.values())
        await asyncio.sleep(0.05)


def _cpu(team: list[Measured]) -> list[float]:
    return [each.cpu_seconds for each in team]


def scaling(one: dict[str, Any], two: dict[str, Any], cores: int) -> dict[str, Any]:
    """What the two runs say together."""
    shared = f"{cores} cores: the second worker shares its core with the broker" if cores < 3 else "the broker has its own core"
    ratio = two["events_per_worker_cpu_second"] / one["events_per_worker_cpu_second"]
    return {
        "holds": one["holds"] and two["holds"],
        "speedup": round(two["events_per_second"] / one["events_per_second"], 3),
        "speedup_by_cpu": round(2 * ratio, 3),
        "limit": shared,
        "cores": cores,
        "workers_1": one,
        "workers_2": two,
    }
