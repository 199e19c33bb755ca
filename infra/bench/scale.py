"""`assay bench scale`: what a second worker brings, in events a second and in CPU seconds.

The load is there before the workers, which get their partitions at the same time: one that comes later would find the
others' partitions half folded, and have more or less than its share. Start-up is left out.
"""

import asyncio
import contextlib
import time
from typing import Any

from infra.bench.live import Load, check, load_topic
from infra.bench.rig import CORES, Measured, Say, begun, broker_of, brokers_of, cpu_seconds, finished, worker
from infra.errors import AssayError, Exit
from infra.settings import Settings

#: How long the broker waits for other members when a group begins.
TOGETHER_MS = 8_000


async def measure(settings: Settings, load: Load, workers: int, say: Say) -> dict[str, Any]:
    """One run with so many workers. Topics must be new, and the broker wait for members."""
    say(f"writing {load.events:,} events")
    await load_topic(settings, load)
    say(f"{workers} at work")
    async with contextlib.AsyncExitStack() as stack:
        team = [
            await stack.enter_async_context(worker(settings, CORES[number % len(CORES)], name=f"worker{number}"))
            for number in range(workers)
        ]
        await begun(*team)
        began, cpu, broker_cpu = time.perf_counter(), _cpu(team), cpu_seconds(broker_of(settings))
        await asyncio.gather(*(begun(each) for each in team))
        await finished(settings, *team)
        seconds = time.perf_counter() - began
        used = [after - earlier for after, earlier in zip(_cpu(team), cpu, strict=True)]
        broker_used = cpu_seconds(broker_of(settings)) - broker_cpu
        shares = [len(each.report()["assigned"]) for each in team]
    if max(shares) - min(shares) > 1:
        hint = "a worker joined late; try again on a quieter machine"
        raise AssayError("the partitions were not shared out evenly", got=shares, hint=hint, exit_code=Exit.FAILED)
    checked = await check(brokers_of(settings), load.events)
    return {
        "holds": checked["holds"],
        "events": load.events,
        "seconds": round(seconds, 3),
        "events_per_second": round(load.events / seconds),
        "worker_cpu_seconds": [round(each, 2) for each in used],
        "broker_cpu_seconds": round(broker_used, 2),
        "events_per_worker_cpu_second": round(load.events / sum(used)),
    }


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
