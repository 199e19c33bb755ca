"""Consumer groups: members, generations, eager rebalances, session time-outs, and commits of the newest generation only."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError

Places = list[TopicPartition]


class Joined(NamedTuple):
    """What a member is told when a rebalance is over."""

    member: str
    generation: int
    places: Places


class Times(NamedTuple):
    """Seconds that a member may be silent, and that it may take to join again."""

    session: float
    rebalance: float


class _Member:
    def __init__(self, name: str, topics: tuple[str, ...], times: Times) -> None:
        self.name = name
        self.topics = topics
        self.times = times
        self.session: asyncio.TimerHandle | None = None
        self.joining: asyncio.Future[Joined] | None = None


class Group:
    """One group: stable, or waiting for its members to join the next generation."""

    def __init__(self, partitions: Callable[[str], int]) -> None:
        """`partitions`: how many a topic has."""
        self._partitions = partitions
        self._members: dict[str, _Member] = {}
        self._names = 0
        self.generation = 0
        self._rebalancing = False
        self._deadline: asyncio.TimerHandle | None = None
        self.committed: dict[TopicPartition, int] = {}

    def join(self, name: str, topics: Collection[str], times: Times) -> asyncio.Future[Joined]:
        """Take part in the next generation; resolved once it begins. An empty name is a new member's."""
        if name and name not in self._members:
            raise UnknownMemberIdError(name)
        if not name:
            self._names += 1
            name = f"member-{self._names}"
            self._members[name] = _Member(name, tuple(sorted(topics)), times)
        member = self._members[name]
        joining = member.joining = asyncio.get_running_loop().create_future()
        self._alive(member)
        self._rebalance()
        return joining

    def heartbeat(self, name: str, generation: int) -> None:
        """Raises RebalanceInProgressError where the member has to join again, else as `commit`."""
        self._known(name, generation)
        if self._rebalancing:
            raise RebalanceInProgressError(name)

    def commit(self, name: str, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Raises UnknownMemberIdError or IllegalGenerationError for whoever is not of this generation."""
        self._known(name, generation)
        self.committed.update(offsets)

    def leave(self, name: str) -> None:
        member = self._members.pop(name, None)
        if member is not None:
            _cancel(member.session)
            self._rebalance()

    def forget(self, topic: str) -> None:
        """A topic is gone, and what was committed of it."""
        self.committed = {place: offset for place, offset in self.committed.items() if place.topic != topic}

    def _known(self, name: str, generation: int) -> None:
        if name not in self._members:
            raise UnknownMemberIdError(name)
        if generation != self.generation:
            raise IllegalGenerationError(f"{name}: {generation}, not {self.generation}")
        self._alive(self._members[name])

    def _alive(self, member: _Member) -> None:
        _cancel(member.session)
        # Who waits to join is being answered late, and cannot be silent.
        member.session = None if member.joining else _later(member.times.session, self.leave, member.name)

    def _rebalance(self) -> None:
        if not self._rebalancing and self._members:
            self._rebalancing = True
            self._deadline = _later(max(one.times.rebalance for one in self._members.values()), self._begin)
        if all(one.joining for one in self._members.values()):
            self._begin()

    def _begin(self) -> None:
        """The next generation, of those who joined in time."""
        _cancel(self._deadline)
        self._rebalancing = False
        for name in [name for name, one in self._members.items() if one.joining is None]:
            _cancel(self._members.pop(name).session)
        self.generation += 1
        for name, places in self._assigned().items():
            member = self._members[name]
            joining, member.joining = member.joining, None
            self._alive(member)
            if joining is not None and not joining.done():
                joining.set_result(Joined(name, self.generation, places))

    def _assigned(self) -> dict[str, Places]:
        """By range: the partitions of each topic in stretches of equal length, the first members get one more."""
        places: dict[str, Places] = {name: [] for name in sorted(self._members)}
        for topic in sorted({topic for one in self._members.values() for topic in one.topics}):
            readers = [name for name in places if topic in self._members[name].topics]
            share, more = divmod(self._partitions(topic), len(readers))
            number = 0
            for at, name in enumerate(readers):
                count = share + (at < more)
                places[name] += [TopicPartition(topic, one) for one in range(number, number + count)]
                number += count
        return places


def _later(seconds: float, callback: object, *arguments: object) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, callback, *arguments)  # type: ignore[arg-type]


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
