"""Watches, with clients of its own, that what the group commits moves wherever there is work; a standstill is fatal.

It asks the broker and not the worker, so it sees a fetch that never returns as well as a flush that never ends.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog
from aiokafka.errors import KafkaError

from agents.log_reading import Extent, extents, read_range
from agents.publishing import Place
from agents.settings import WorkerSettings

log = structlog.get_logger(__name__)

#: A standstill is this many looks in a row.
LOOKS = 5
#: The longest time between two looks.
LOOK_SECONDS = 10.0
#: What a look counts while other partitions move: a partition may wait until what was fetched of the others is done.
WAITING = 0.1


class Standstill(Exception):
    """A commit has stood still for too long before work."""


class Standing:
    """Counts for how many looks each partition has stood still before work.

    Looks and not seconds: a process that was stopped, or a broker that was, has seen no standstill.
    """

    def __init__(self) -> None:
        self._marks: dict[Place, tuple[int, int]] = {}
        self._looks: dict[Place, float] = {}

    def look(self, seen: Mapping[Place, Extent], recovered: int) -> dict[Place, float]:
        """The count of each partition. `recovered` grows while a recovery moves, during which no commit need."""
        marks = {place: (extent.committed, recovered) for place, extent in seen.items()}
        moved = any(self._marks.get(place) != mark for place, mark in marks.items())
        weight = WAITING if moved else 1.0
        self._looks = {
            place: self._looks.get(place, 0.0) + weight if self._stands(place, extent, marks[place]) else 0.0
            for place, extent in seen.items()
        }
        self._marks = marks
        return self._looks

    def _stands(self, place: Place, extent: Extent, mark: tuple[int, int]) -> bool:
        return extent.end > extent.committed and self._marks.get(place) == mark

    def forget(self) -> None:
        self._looks = {}
        self._marks = {}


class Watchdog:
    """Looks again and again at the partitions that this worker is assigned."""

    def __init__(
        self, settings: WorkerSettings, assigned: Callable[[], Collection[Place] | None], recovered: Callable[[], int]
    ) -> None:
        """`assigned`: None until the group has assigned for the first time."""
        self._brokers = settings.brokers
        self._group = settings.group
        self._seconds = seconds = settings.standstill_seconds
        self._pause = min(LOOK_SECONDS, seconds / LOOKS)
        self._enough = max(LOOKS, round(seconds / self._pause))
        self._assigned = assigned
        self._recovered = recovered
        #: What was seen last, for whoever asks how far the partitions are.
        self.seen: dict[Place, Extent] = {}

    async def run(self) -> None:
        """Ends only by raising Standstill."""
        standing, joining = Standing(), 0
        while True:
            await asyncio.sleep(self._pause)
            try:
                self.seen = await asyncio.wait_for(self._look(), LOOK_SECONDS)
                joining = joining + 1 if self._assigned() is None else 0
                if joining >= self._enough:
                    raise Standstill(f"the group {self._group} has assigned nothing for {self._seconds:.0f} s or more")
                looks = standing.look(self.seen, self._recovered())
                for place in [place for place, count in looks.items() if count >= self._enough]:
                    await asyncio.wait_for(self._judge(place), LOOK_SECONDS)
            except (KafkaError, OSError, TimeoutError, AssertionError) as error:
                # A broker's silence is no standstill of ours, and a restart would not end it. aiokafka asserts that it knows a
                # broker, which it does not where the only one has just told it of none.
                log.warning("cannot look for standstills", error=repr(error))
                standing.forget()
                joining = 0

    async def _look(self) -> dict[Place, Extent]:
        # Asked for nothing as well: whether the broker answers tells a group that is stuck from a broker that is away.
        return await extents(self._brokers, self._group, sorted(self._assigned() or ()))

    async def _judge(self, place: Place) -> None:
        _, end, committed = self.seen[place]
        async for _ in read_range(self._brokers, place, committed, end):
            raise Standstill(
                f"{place[0]}, partition {place[1]}: the commit has stood at offset {committed} for "
                f"{self._seconds:.0f} s or more, and the log ends at {end}"
            )
        # Nothing but the markers of somebody's transactions.
