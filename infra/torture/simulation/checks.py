"""What must hold: at every step of the broker, whenever live is compared with a replay, and when all is done."""

from collections import Counter
from collections.abc import Mapping, Sequence

import orjson
from aiokafka import TopicPartition

from agents.log_reading import read_range
from infra.kafka.reading import ends
from infra.memory.broker import MemoryBroker
from infra.memory.log import PartitionLog
from infra.memory.transactions import Identity
from infra.verification import Compared, Derived, verify
from schemas.topics import QUARANTINE
from schemas.wire import Undecodable
from streams.projection import CONTROL_KEY, NOWHERE, AnyProjection, record_of, topic_of

#: Topic, partition and offset of a refused record, with its code and bytes.
Refused = tuple[str, int, int, str, bytes]


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


async def misquarantined(brokers: str, projections: tuple[AnyProjection, ...]) -> list[str]:
    """Where the quarantine does not hold exactly what a replay refuses, each once by its place, with its bytes."""
    expected = Counter[Refused]()
    for projection in projections:
        for (topic, partition), end in (await ends(brokers, projection.source.name)).items():
            expected.update(await _refused(brokers, projection, topic, partition, end))
    found = await _quarantined(brokers)
    missing, more = set(expected) - found, found - set(expected)
    return [f"not in quarantine: {one}" for one in sorted(missing)] + [f"wrongly in quarantine: {one}" for one in sorted(more)]


async def _refused(brokers: str, projection: AnyProjection, topic: str, partition: int, end: int) -> list[Refused]:
    refused: list[Refused] = []
    state = projection.empty()
    async for batch in read_range(brokers, (topic, partition), 0, end):
        for raw in batch:
            try:
                step = projection.apply(state, record_of(partition, raw.offset, raw.value))
            except Undecodable as error:
                refused.append((topic, partition, raw.offset, error.code, raw.value or b""))
                continue
            state = step.state
            if step.refusal is not None:
                refused.append((topic, partition, raw.offset, step.refusal.code, raw.value))
    return refused


async def _quarantined(brokers: str) -> set[Refused]:
    found: set[Refused] = set()
    for place, end in (await ends(brokers, QUARANTINE.name)).items():
        async for batch in read_range(brokers, place, 0, end):
            for raw in batch:
                said = {name: value.decode() for name, value in raw.headers}
                found.add((said["topic"], int(said["partition"]), int(said["offset"]), said["code"], raw.value or b""))
    return found
