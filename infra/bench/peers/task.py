"""What the Python peers share: what they are told, Assay's own pure fold on one stored row, and how time is taken.

It runs in the peers' environment too, so it imports nothing of Assay but the pure core.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas.topics import VERDICTS
from schemas.wire import Undecodable
from streams.projection import Fact, facts, record_of, restore, row_bytes
from streams.review import REVIEW

STATE_SECONDS = 1.0


class Task(NamedTuple):
    """Fold all events of a topic, write facts to `<prefix>.verdicts` and `<prefix>.judgements`, keep state in `home`."""

    brokers: str
    topic: str
    events: int
    prefix: str
    home: Path
    partitions: int

    @property
    def arguments(self) -> list[str]:
        return [str(each) for each in self]

    @property
    def outputs(self) -> tuple[str, str]:
        return f"{self.prefix}.verdicts", f"{self.prefix}.judgements"

    def output_of(self, fact: Fact) -> str:
        return self.outputs[0] if fact.topic == VERDICTS.name else self.outputs[1]


def told(arguments: Sequence[str]) -> Task:
    brokers, topic, events, prefix, home, partitions = arguments
    return Task(brokers, topic, int(events), prefix, Path(home), int(partitions))


class Watch:
    """Counts records, and takes the time from the first of them until `say`, after all is flushed and committed."""

    def __init__(self, events: int) -> None:
        self._left = self._events = events
        self._began = 0.0

    def saw_the_last(self) -> bool:
        """Call once a record."""
        if self._left == self._events:
            self._began = time.perf_counter()
        self._left -= 1
        return self._left == 0

    def say(self) -> None:
        seconds = time.perf_counter() - self._began
        sys.stdout.write(f'{{"events": {self._events - self._left}, "seconds": {seconds:.3f}}}\n')
        sys.stdout.flush()


def step(key: str, stored: bytes | None, place: tuple[int, int], value: bytes) -> tuple[bytes | None, list[Fact]]:
    """Assay's fold on one record of one subject whose row is stored as JSON: the new row, None if it stays, and facts."""
    rows = [] if stored is None else [(key, stored)]
    state = restore(REVIEW, rows)
    made = fold_one(state, place, value)
    return (row_bytes(REVIEW, state, key) if state.touched else None), made


def fold_one(state: Any, place: tuple[int, int], value: bytes) -> list[Fact]:
    """The same on a state in memory, which holds this one subject. A row's own offset tells a repetition."""
    partition, offset = place
    if any(offset <= row.offset for row in state.rows.values()):
        return []
    try:
        record = record_of(partition, offset, value)
    except Undecodable:
        return []
    applied = REVIEW.apply(state, record)
    return list(facts(REVIEW, record, applied.effects)) if applied.effects else []
