"""The kill campaign: a load is written and folded while faults strike; then all must be as if nothing had happened."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from infra.clickhouse.engine import asking
from infra.errors import AssayError, Exit
from infra.settings import Settings
from infra.settling import QUIET_LOOKS, Lag, lags
from infra.torture.checks import Findings, check_log, check_replay, check_store
from infra.torture.fleet import Fleet
from infra.torture.load import Load, Sent, Shape
from infra.torture.schedule import Fault, schedule
from infra.torture.writing import Writer

CHUNK_EVENTS = 2_000
LOOK_SECONDS = 0.5
#: Events that may wait to be folded, in faults: so faults strike all along the folding, several within one recovery.
AHEAD_FAULTS = 3
MIN_AHEAD = 2_000
#: Faults that may wait for their targets or be under way, before no more is written.
FAULTS_AT_ONCE = 4
#: Without any progress of any agent for so long after the last fault, something is stuck.
STANDSTILL_SECONDS = 120.0


class Campaign(NamedTuple):
    """What is done to whom."""

    kills: int
    shape: Shape
    workers: int

    @property
    def faults(self) -> tuple[Fault, ...]:
        return schedule(self.kills, self.shape.events, self.workers, self.shape.seed)

    @property
    def ahead(self) -> int:
        return max(MIN_AHEAD, AHEAD_FAULTS * self.shape.events // max(1, self.kills))


@dataclass
class Watch:
    """How far it is; whoever shows it is told at every look."""

    tell: Callable[["Watch"], None]
    phase: str = "starting"
    written: int = 0
    folded: int = 0
    behind: int = 0
    faults: int = 0
    over: bool = False

    def say(self, phase: str) -> None:
        self.phase = phase
        self.tell(self)


def run(settings: Settings, campaign: Campaign, watch: Watch) -> dict[str, Any]:
    """The whole campaign on an empty data directory; returns what was found. Blocks for minutes."""
    began = time.monotonic()
    watch.say("starting")
    found = Findings()
    with Fleet(settings, settings.data_dir / "torture.log") as fleet:
        seconds = asyncio.run(_under_fire(fleet, campaign, watch))
        watch.say("comparing the store with the log")
        with asking(settings) as client:
            asyncio.run(check_store(fleet.brokers, client, found))
        watch.say("counting the log")
        meant = chain.from_iterable(Load(campaign.shape))
        asyncio.run(check_log(fleet.brokers, meant, found))
        watch.say("replaying the log")
        asyncio.run(check_replay(fleet.brokers, found))
    return report(campaign, found, fleet, {**seconds, "all": round(time.monotonic() - began, 1)})


def report(campaign: Campaign, found: Findings, fleet: Fleet, seconds: dict[str, Any]) -> dict[str, Any]:
    """All figures. It holds only if every fault of the schedule struck: else less was withstood than is said."""
    kinds, missed = fleet.struck, Counter[str](fault.kind for fault in campaign.faults)
    missed.subtract(kinds)
    return {
        "holds": found.holds and not any(missed.values()),
        "lost": found.lost,
        "doubled": found.doubled,
        "hashes_equal": found.hashes_equal,
        "sink_equal": found.sink_equal,
        "quarantine_exact": found.quarantine_exact,
        "kills": dict(sorted(kinds.items())),
        "stalls": sum(count for kind, count in kinds.items() if kind.startswith(("stall", "zombie"))),
        "broker_kills": kinds["kill_broker"],
        "missed": {kind: count for kind, count in sorted(missed.items()) if count},
        "seed": campaign.shape.seed,
        "events": campaign.shape.events,
        "keys": campaign.shape.keys,
        "workers": campaign.workers,
        "partitions": campaign.shape.partitions,
        "records": found.records,
        "state_rows": found.state_rows,
        "facts": found.facts,
        "quarantined": found.quarantined,
        "endings": dict(sorted(fleet.endings.items())),
        "seconds": seconds,
        "details": found.details,
    }


# --- under fire --------------------------------------------------------------------------------


async def _under_fire(fleet: Fleet, campaign: Campaign, watch: Watch) -> dict[str, Any]:
    """Write and hurt, then wait until nothing is left to do."""
    settings, began = fleet.settings, time.monotonic()
    writer = Writer(fleet.brokers)
    watching = asyncio.create_task(_watch(fleet, settings, watch))
    try:
        watch.say("under fire")
        await _write_and_hurt(fleet, campaign, writer, watch)
        under_fire = time.monotonic() - began
        watch.say("settling")
        await _settled(watch)
        return {
            "under_fire": round(under_fire, 1),
            "settling": round(time.monotonic() - began - under_fire, 1),
            "records_written": writer.written,
            "records_written_again": writer.rewritten,
        }
    finally:
        # Not cancelled, since clients that are cut off while they connect leave their connection behind.
        watch.over = True
        await watching
        await writer.close()


async def _write_and_hurt(fleet: Fleet, campaign: Campaign, writer: Writer, watch: Watch) -> None:
    waiting = list(campaign.faults)
    striking: set[asyncio.Task[None]] = set()

    async def strike(fault: Fault) -> None:
        await fleet.suffer(fault)
        watch.faults += 1

    def too_far() -> bool:
        for task in [task for task in striking if task.done()]:
            task.result()
            striking.discard(task)
        return watch.written - watch.folded > campaign.ahead or len(striking) > FAULTS_AT_ONCE

    for upto, records in _chunks(campaign):
        while too_far():  # noqa: ASYNC110  a look at Kafka tells, no event
            await asyncio.sleep(LOOK_SECONDS / 5)
        writing = asyncio.create_task(writer.write(records))
        await asyncio.sleep(0)
        while waiting and waiting[0].after_event <= upto:
            striking.add(asyncio.create_task(strike(waiting.pop(0))))
        await writing
        watch.written = upto
    await asyncio.gather(*striking)


def _chunks(campaign: Campaign) -> Iterator[tuple[int, list[Sent]]]:
    """The load in pieces that are written at once, cut where a fault strikes; each with the events written by then."""
    cuts = {fault.after_event for fault in campaign.faults}
    records: list[Sent] = []
    begun = number = 0
    for number, event in enumerate(Load(campaign.shape), 1):
        records += event
        if number in cuts or number - begun >= CHUNK_EVENTS:
            yield number, records
            records, begun = [], number
    if records:
        yield number, records


async def _watch(fleet: Fleet, settings: Settings, watch: Watch) -> None:
    """Keep `watch` up to date for as long as the campaign runs; a broker that does not answer is no news."""
    while not watch.over:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            found = await asyncio.wait_for(lags(fleet.brokers, [settings.worker]), 10.0)
        except (KafkaError, OSError, TimeoutError, AssayError):
            continue
        _note(watch, found)


def _note(watch: Watch, found: list[Lag]) -> None:
    review = next(lag for lag in found if lag.agent == "review")
    # Positions of the log count copies too; what matters is how much of what was written still waits.
    watch.folded = max(watch.folded, watch.written - review.events)
    watch.behind = sum(lag.events for lag in found)
    watch.tell(watch)


async def _settled(watch: Watch) -> None:
    """Until there is no lag, several looks in a row. Returns too where nothing moves any more: the checks will tell."""
    quiet, least, since = 0, watch.behind, time.monotonic()
    while quiet < 2 * QUIET_LOOKS and time.monotonic() - since < STANDSTILL_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        quiet = quiet + 1 if not watch.behind else 0
        if watch.behind < least:
            least, since = watch.behind, time.monotonic()


def planned(kills: int, shape: Shape, workers: int) -> Campaign:
    """Raises AssayError where the figures make no campaign."""
    if shape.events > 1_000 * shape.keys:
        raise AssayError(
            "too few keys", where="--keys", got=shape.keys, hint="a submission takes at most 5,000 events", exit_code=Exit.USAGE
        )
    return Campaign(kills, shape, workers)
