"""What must hold: at every step of the broker, whenever live is compared with a replay, and when all is done."""

from collections.abc import Mapping, Sequence

import orjson
from aiokafka import TopicPartition

from infra.memory.broker import MemoryBroker
from infra.memory.log import PartitionLog
from infra.memory.transactions import Identity
from infra.torture.checks import Findings, check_log
from infra.torture.load import Sent
from infra.verification import Compared, Derived, verify
from schemas.wire import Undecodable
from streams.projection import CONTROL_KEY, NOWHERE, AnyProjection, record_of, topic_of


class WatchedBroker(MemoryBroker):
    """Notes at once where a committed offset or a durable position is not what it may be."""

    def __init__(self, projections: Sequence[AnyProjection], fetch_records: int) -> None:
        super().__init__(fetch_records)
        self.violations: list[str] = []
        self._of_source = {projection.source.name: projection for projection in projections}
        self._of_state = {topic_of(projection).name: projection for projection in projections}
        self._positions: dict[TopicPartition, int] = {}

    def commit(self, group: str, member: str, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        before = dict(self.group(group).committed)
        super().commit(group, member, generation, offsets)
        for place, offset in offsets.items():
            if offset < before.get(place, 0):
                self.violations.append(f"{_said(place)}: committed {offset} after {before[place]}")
            self._check_durable(place, offset)

    def end_transaction(self, who: Identity, committed: bool) -> None:
        super().end_transaction(who, committed)
        for name in self._of_state if committed else ():
            for number in range(self.partitions(name)):
                self._check_rising(TopicPartition(name, number))

    def _check_durable(self, place: TopicPartition, committed: int) -> None:
        """Committed offsets never pass durable positions: what lies between must be no events at all."""
        state = topic_of(self._of_source[place.topic]).name
        position = _position(self.log(TopicPartition(state, place.partition)))
        for entry in self.log(place).read(position + 1, True, committed).entries:
            if entry.offset < committed and entry.message is not None and _is_event(place, entry.offset, entry.message.value):
                self.violations.append(f"{_said(place)}: committed {committed} with rows up to {position} durable")
                return

    def _check_rising(self, place: TopicPartition) -> None:
        position, before = _position(self.log(place)), self._positions.get(place, NOWHERE)
        if position < before:
            self.violations.append(f"{_said(place)}: rows up to {position} written over rows up to {before}")
        self._positions[place] = position


def _position(log: PartitionLog) -> int:
    """What the newest committed rows were folded up to."""
    for entry in reversed(log.entries):
        message = entry.message
        if message is not None and message.key == CONTROL_KEY.encode() and log.is_committed(entry) and message.value:
            return int(orjson.loads(message.value)["position"])
    return NOWHERE


def _is_event(place: TopicPartition, offset: int, value: bytes | None) -> bool:
    try:
        record_of(place.partition, offset, value)  # type: ignore[arg-type]  # None is undecodable as well
    except Undecodable:
        return False
    return True


def _said(place: TopicPartition) -> str:
    return f"{place.topic}/{place.partition}"


async def compare(brokers: str, projections: tuple[AnyProjection, ...], final: bool) -> list[str]:
    """Where live is no replay of the log, or a derived fact is not as it must be; `final`: and where any is left to do."""
    wrong: list[str] = []
    async for found in verify(brokers, projections):
        if isinstance(found, Compared):
            if not found.equal or (final and found.behind):
                wrong.append(f"live is no replay: {found}")
        elif not found.equal or (final and found.pending):
            wrong.append(_derived(found))
    return wrong


def _derived(found: Derived) -> str:
    return f"derived facts are not those of a replay: {found}"


async def recount(brokers: str, meant: Sequence[Sent], projections: tuple[AnyProjection, ...]) -> list[str]:
    """Where the log is not what was meant, and state and quarantine are not what other code makes of the log."""
    found = Findings()
    await check_log(brokers, meant, found, projections)
    return [] if found.holds else found.details
