"""Planted bugs: the engine with one of its guards taken out, to see that the simulation and the model notice."""

import itertools
from dataclasses import dataclass
from typing import Any

from agents.clients import new_producer
from agents.publishing import delivered
from agents.runner import Runner
from agents.state_log import StateLog
from streams.projection import AnyProjection, AnyState, Record, Step


@dataclass(frozen=True)
class Engine:
    """What a simulated worker runs."""

    runner: type[Runner] = Runner
    #: Whether folds skip what lies at or below the position of their state.
    guards_positions: bool = True

    def projection(self, projection: AnyProjection) -> AnyProjection:
        return projection if self.guards_positions else Unguarded(projection)


class Unguarded:
    """A projection that folds a record again when it comes again."""

    def __init__(self, projection: AnyProjection) -> None:
        self._projection = projection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._projection, name)

    def apply(self, state: AnyState, record: Record) -> Step[Any, Any]:
        state.position = min(state.position, record.offset - 1)
        return self._projection.apply(state, record)


class FoldsAgain(Runner):
    """Does not look at where it has read to."""

    def _fold(self, partition: Any, records: list[Any]) -> None:
        partition.read = min(partition.read, records[0].offset - 1)
        super()._fold(partition, records)


class EffectsAfterState(Runner):
    """Writes state rows before the effects that they include are delivered."""

    async def flush(self) -> None:
        async with self._lock:
            flushes = [partition.snapshot() for partition in self._partitions.values() if partition.is_dirty]
            for flush in flushes:
                await self._write(flush)
            await delivered(await self._publisher.send_all())
        self._relieved.set()


class AcknowledgesFirst(Runner):
    """Acknowledges what it has folded before anything of it is durable."""

    async def process(self, event: Any) -> None:
        await super().process(event)
        event.ack()


class Unfenced(StateLog):
    """Has a transactional id of its own each time, so that nobody fences anybody."""

    _numbers = itertools.count()

    def __init__(self, brokers: str, projection: AnyProjection, partition: int) -> None:
        super().__init__(brokers, projection, partition)
        self._producer = new_producer(brokers, transactional_id=f"{projection.name}-{partition}-{next(self._numbers)}")


class WithoutFence(Runner):
    state_log = Unfenced


BUGS = {
    "position-guard-off": Engine(FoldsAgain, guards_positions=False),
    "effects-after-state": Engine(EffectsAfterState),
    "ack-before-delivery": Engine(AcknowledgesFirst),
    "zombie-fence-off": Engine(WithoutFence),
}
