"""Which fault strikes whom after which event: all of it follows from the seed, and spreads over the whole load."""

import random
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "kill_worker", "kill_again", "stall_worker", "zombie_worker", "leave_worker", "join_worker",
    "kill_sink", "stall_sink", "kill_broker", "stall_broker",
]  # fmt: skip
SINK, BROKER, GUEST = "serve", "broker", "guest"


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long a stall lasts, or a worker that joined works, or after which a worker that was killed and
    starts again is killed once more; 0 for what takes no time."""

    after_event: int
    kind: Kind
    target: str
    seconds: float


#: How many of 20 faults are of each kind. A campaign of 20 has every one of them.
SHARES: dict[Kind, int] = {
    "kill_worker": 5,
    "kill_again": 1,
    "stall_worker": 2,
    "zombie_worker": 1,
    "leave_worker": 1,
    "join_worker": 1,
    "kill_sink": 3,
    "stall_sink": 2,
    "kill_broker": 2,
    "stall_broker": 2,
}
#: How long each lasts. A worker's session is over after 10 s, and its partitions go to another.
SECONDS: dict[Kind, tuple[float, float]] = {
    "kill_again": (1.0, 6.0),
    "stall_worker": (0.2, 5.0),
    "zombie_worker": (11.5, 14.0),
    "join_worker": (5.0, 15.0),
    "stall_sink": (0.2, 8.0),
    "stall_broker": (0.2, 8.0),
}


def worker_name(number: int) -> str:
    return f"worker-{number}"


def schedule(kills: int, events: int, workers: int, seed: int) -> tuple[Fault, ...]:
    """The faults in the order of the events that they follow; the same arguments give the same."""
    chance = random.Random(f"schedule {seed}")
    deck = [kind for kind, share in SHARES.items() for _ in range(share)]
    kinds: list[Kind] = []
    while len(kinds) < kills:
        kinds += chance.sample(deck, len(deck))
    # The last faults still meet work: some of the load comes after them.
    places = sorted(chance.randint(1, max(1, events * 95 // 100)) for _ in range(kills))
    return tuple(_fault(place, kind, workers, chance) for place, kind in zip(places, kinds[:kills], strict=True))


def _fault(after: int, kind: Kind, workers: int, chance: random.Random) -> Fault:
    target = _target(kind, workers, chance)
    low, high = SECONDS.get(kind, (0.0, 0.0))
    return Fault(after, kind, target, round(chance.uniform(low, high), 2))


def _target(kind: Kind, workers: int, chance: random.Random) -> str:
    if kind == "join_worker":
        return GUEST
    if kind.endswith(("_worker", "_again")):
        return worker_name(chance.randint(1, workers))
    return SINK if kind.endswith("_sink") else BROKER
