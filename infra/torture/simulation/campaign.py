"""One seed: a load, a schedule of faults, and what came of it. The same seed gives the same run, step by step."""

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from infra.torture.simulation.bugs import BUGS, Engine
from infra.torture.simulation.crowd import WEIGHTS, Crowd
from infra.torture.simulation.network import Moment, Weather
from infra.torture.simulation.world import Slot, World
from streams.annotators import ANNOTATORS_PROJECTION
from streams.diversity import DIVERSITY
from streams.projection import AnyProjection
from streams.review import REVIEW

#: Violations kept of a seed: one cause shows in many places.
MOST_VIOLATIONS = 5


@dataclass(frozen=True)
class Outcome:
    """What one seed led to."""

    seed: int
    violations: list[str]
    events: int
    faults: dict[str, int]
    crashes: dict[str, int]
    rebalances: int
    virtual_seconds: float
    steps: int
    digest: str

    @property
    def holds(self) -> bool:
        return not self.violations


def simulate(seed: int, bug: str | None = None, trace: list[str] | None = None) -> Outcome:
    """Run one seed; with `trace`, every step is added to it."""
    chance = Random(f"{seed}/plan")
    engine = BUGS[bug] if bug else Engine()
    # What the collector finds first depends on what ran before: it has no place in what a seed decides.
    gc.disable()
    try:
        world = World(
            seed,
            _projections(chance),
            engine,
            _weather(chance),
            flush_seconds=chance.choice((0.2, 0.5, 0.8)),
            unflushed_rows=chance.choice((4, 200_000)),
            keep_trace=trace is not None,
        )
        with world.running():
            events, faults = _live(world, chance)
            world.finish()
            outcome = _outcome(world, events, faults)
            if trace is not None:
                trace += world.trace.lines or []
            return outcome
    finally:
        gc.enable()


def _projections(chance: Random) -> tuple[AnyProjection, ...]:
    """Diversity now and then: its rows are 800 kB each."""
    return (REVIEW, ANNOTATORS_PROJECTION, *((DIVERSITY,) if chance.random() < 0.1 else ()))


def _weather(chance: Random) -> Weather:
    return Weather(slow_chance=chance.choice((0.0, 0.02, 0.1)), loss_chance=chance.choice((1e-9, 0.001, 0.004)))


def _live(world: World, chance: Random) -> tuple[int, Counter[str]]:
    """Work and faults, until what was planned is done; how many events, and which faults."""
    crowd, kinds, weights = Crowd(), list(WEIGHTS), list(WEIGHTS.values())
    events, faults = chance.randint(80, 240), Counter[str]()
    for _ in range(chance.randint(1, 3)):
        world.add_worker()
    hurt = sorted(chance.sample(range(events), chance.randint(3, 8)))
    late = []
    for number in range(events):
        said = crowd.say(chance.choices(kinds, weights)[0], chance)
        if chance.random() < 0.04:
            late.append(said)
        else:
            world.append(said)
        if late and chance.random() < 0.1:
            world.append(late.pop(chance.randrange(len(late))))
        if number in hurt:
            faults[_hurt(world, chance)] += 1
        if chance.random() < 0.3:
            world.wait(chance.expovariate(3.0))
    for said in late:
        world.append(said)
    return events, faults


def _hurt(world: World, chance: Random) -> str:
    name = chance.choice(list(_FAULTS))
    _FAULTS[name](world, chance.choice(world.slots), chance)
    return name


def _moment(chance: Random) -> Moment:
    """Any request, or one of those that make things durable, between which the order is everything."""
    kind = chance.choice(("", "", "produce", "commit transaction", "commit"))
    return Moment(chance.randint(1, 8 if kind else 60), chance.random() < 0.5, kind)


def _kill_at(world: World, slot: Slot, chance: Random) -> None:
    world.kill_at(slot, _moment(chance))


def _stop_at(world: World, slot: Slot, chance: Random) -> None:
    world.stop_at(slot, _moment(chance), chance.uniform(1, 15))


def _join(world: World, slot: Slot, chance: Random) -> None:
    if len(world.slots) < 4:
        world.add_worker()
    else:
        world.restart(slot)


_FAULTS: dict[str, Callable[[World, Slot, Random], None]] = {
    "kill": lambda world, slot, chance: world.kill(slot),
    "kill at a request": _kill_at,
    "stop": lambda world, slot, chance: world.stop(slot, chance.uniform(1, 15)),
    "stop at a request": _stop_at,
    "leave": lambda world, slot, chance: world.restart(slot),
    "join": _join,
    "broker stops": lambda world, slot, chance: world.freeze(chance.uniform(0.5, 6)),
    "compaction": lambda world, slot, chance: world.compact(),
    "compare": lambda world, slot, chance: world.compare(),
}


def _outcome(world: World, events: int, faults: Counter[str]) -> Outcome:
    for name, topic in sorted(world.broker.topics.items()):
        world.trace.add(0, f"{name} {[log.end for log in topic.logs]}")
    return Outcome(
        seed=world.seed,
        violations=world.violations[:MOST_VIOLATIONS],
        events=events,
        faults=dict(sorted(faults.items())),
        crashes=dict(sorted(Counter(world.crashes).items())),
        rebalances=world.group.generation,
        virtual_seconds=round(world.loop.time(), 3),
        steps=world.trace.count,
        digest=world.trace.digest,
    )
