"""Which batches are handed out and not yet committed: batches commit in order, however they are acknowledged."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

#: A topic and a partition, as the client has them.
Place = Any


class Acknowledgeable(Protocol):
    """A batch with the offset of its last record."""

    offset: int
    acked: bool


class InFlight:
    """Per partition, the batches handed out and not yet committed, oldest first."""

    def __init__(self) -> None:
        self._batches: dict[Place, deque[Acknowledgeable]] = {}

    def __iter__(self) -> Iterator[Place]:
        return iter(self._batches)

    def hand_out(self, place: Place, batch: Acknowledgeable) -> None:
        self._batches.setdefault(place, deque()).append(batch)

    def finish(self, place: Place) -> int | None:
        """Take out what is acknowledged before the first that is not; the last offset of it, None where that is nothing."""
        batches = self._batches.get(place)
        done: int | None = None
        while batches and batches[0].acked:
            done = batches.popleft().offset
        return done

    def forget(self, places: Iterable[Place]) -> None:
        for place in places:
            self._batches.pop(place, None)

    def clear(self) -> None:
        self._batches.clear()
