"""What state a worker is in: joining its group, recovering, ready or stopping; the facts behind `/livez` and `/readyz`."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from agents.log_reading import Extent
from agents.publishing import Place
from agents.readiness import ready
from agents.topology import AgentRunner

State = Literal["joining", "recovering", "ready", "stopping"]

BEAT_SECONDS = 0.1
#: An event loop that has not come round for so long does no work any more.
ALIVE_SECONDS = 30.0


class Condition:
    """One worker's. Everything but `beat` may be called from another thread."""

    def __init__(self, runners: Sequence[AgentRunner]) -> None:
        self._runners = runners
        #: Which partitions the group gave to us, once their runners know; None until it did for the first time.
        self.assigned: frozenset[Place] | None = None
        self.stopping = False
        self._beat = time.monotonic()

    @property
    def state(self) -> State:
        if self.stopping:
            return "stopping"
        if self.assigned is None:
            return "joining"
        stages = [status.state for runner in self._runners for status in runner.status()]
        return "ready" if all(stage == "live" for stage in stages) else "recovering"

    def taken(self) -> frozenset[Place]:
        """What may be handed over: given to us, known to its runner, and recovered."""
        found = [status for runner in self._runners for status in runner.status()]
        return (self.assigned or frozenset()) - {(one.topic, one.partition) for one in found if one.state != "live"}

    def recovered(self) -> int:
        """Grows while a recovery moves."""
        found = [status for runner in self._runners for status in runner.status()]
        return sum(status.rows_read + status.log_have for status in found if status.state != "live")

    def report(self, seen: Mapping[Place, Extent]) -> dict[str, Any]:
        """All of it as JSON; `seen` is what the broker said of the partitions some seconds ago."""
        age = time.monotonic() - self._beat
        partitions = [
            status._asdict() | _against(seen.get((status.topic, status.partition)))
            for runner in self._runners
            for status in runner.status()
        ]
        known = {"state": self.state, "alive": age < ALIVE_SECONDS, "event_loop_seconds_ago": round(age, 3)}
        return {**known, "assigned": sorted(self.assigned or ()), "partitions": partitions}

    async def beat(self) -> None:
        """Notes that the event loop comes round, and tells the supervisor once when all is recovered."""
        while True:
            self._beat = time.monotonic()
            if self.state == "ready":
                ready()
            await asyncio.sleep(BEAT_SECONDS)


def _against(seen: Extent | None) -> dict[str, int | None]:
    if seen is None:
        return {"committed": None, "end": None, "lag": None}
    return {"committed": seen.committed, "end": seen.end, "lag": max(0, seen.end - seen.committed)}
