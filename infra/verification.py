"""live = replay: what the workers keep, against the same folds run over the log from its beginning."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from zlib import crc32

from agents.topology import AGENT_BY_NAME
from infra.history.kafka import KafkaHistory
from infra.kafka.reading import ends, live_state
from streams.catalogue import PROJECTIONS
from streams.projection import AnyProjection, AnyState, Record, Step, facts, state_hash


@dataclass(frozen=True)
class Compared:
    """One partition of one projection: the live state against its replay to the same position.

    `behind`: events that stand after that position in the log, and were not compared.
    """

    projection: str
    partition: int
    position: int
    behind: int
    rows: int
    live_hash: str
    replay_hash: str

    @property
    def equal(self) -> bool:
        return self.live_hash == self.replay_hash


@dataclass
class Derived:
    """One topic of derived facts against what a replay derives; `pending` come from records not yet in state rows."""

    topic: str
    expected: int = 0
    present: int = 0
    missing: int = 0
    altered: int = 0
    unexpected: int = 0
    repeated: int = 0
    pending: int = 0
    #: First sights of a fact after a later one of the same subject and source: the next fold took it for a repetition.
    disordered: int = 0

    @property
    def equal(self) -> bool:
        return self.missing == self.altered == self.unexpected == self.disordered == 0


@dataclass
class Verification:
    """`holds`: every hash is equal, and every derived fact is there with the bytes that a replay gives it."""

    compared: list[Compared] = field(default_factory=list[Compared])
    derived: list[Derived] = field(default_factory=list[Derived])

    @property
    def holds(self) -> bool:
        return bool(self.compared) and all(c.equal for c in self.compared) and all(d.equal for d in self.derived)

    @property
    def hash(self) -> str:
        """One hash over every partition's live state."""
        lines = sorted(f"{c.projection}/{c.partition}/{c.live_hash}" for c in self.compared)
        return sha256("\n".join(lines).encode()).hexdigest()

    def add(self, result: "Compared | Derived") -> None:
        if isinstance(result, Compared):
            self.compared.append(result)
        else:
            self.derived.append(result)


Expected = dict[str, dict[str, int]]
#: Offset and index of an origin.
Place = tuple[int, int]


async def replayed(
    brokers: str, projection: AnyProjection, partition: int, end: int, expected: Expected | None = None
) -> AnyState:
    """Fold one partition of the log up to `end`; ids and checksums of its effects go into `expected` by topic."""
    state = projection.empty()
    async for record in KafkaHistory(brokers).records(projection.source.name, partition, end):
        step = projection.apply(state, record)
        state = step.state
        if expected is not None and step.effects:
            _expect(projection, record, step, expected)
    return state


def _expect(projection: AnyProjection, record: Record, step: Step[Any, Any], expected: Expected) -> None:
    for fact in facts(projection, record, step.effects):
        expected.setdefault(fact.topic, {})[fact.id] = crc32(fact.value)


async def verify(brokers: str, projections: tuple[AnyProjection, ...] = PROJECTIONS) -> AsyncIterator[Compared | Derived]:
    """Compare every projection and partition, then every derived topic; yields each result as it is known."""
    for projection in projections:
        expected: Expected = {topic.name: {} for topic in AGENT_BY_NAME[projection.name].derives}
        positions: dict[int, int] = {}
        for (_, partition), end in sorted((await ends(brokers, projection.source.name)).items()):
            compared = await _compare(brokers, projection, partition, end, expected)
            positions[partition] = compared.position
            yield compared
        for topic, ids in expected.items():
            yield await _derived(brokers, projection, topic, ids, positions)


async def _compare(brokers: str, projection: AnyProjection, partition: int, end: int, expected: Expected) -> Compared:
    live, rows = await live_state(brokers, projection, partition)
    again = await replayed(brokers, projection, partition, live.position + 1, expected)
    hashes = state_hash(projection, live), state_hash(projection, again)
    behind = 0
    async for _ in KafkaHistory(brokers).records(projection.source.name, partition, end, live.position + 1):
        behind += 1
    return Compared(projection.name, partition, live.position, behind, rows, *hashes)


async def _derived(
    brokers: str, projection: AnyProjection, topic: str, expected: dict[str, int], positions: dict[int, int]
) -> Derived:
    result = Derived(topic, expected=len(expected))
    seen: Counter[str] = Counter()
    for (_, partition), end in (await ends(brokers, topic)).items():
        newest: dict[tuple[str, int], Place] = {}
        async for record in KafkaHistory(brokers).records(topic, partition, end):
            if record.event.source == f"assay/{projection.name}":
                result.disordered += not seen[record.event.id] and _overtaken(record, newest)
                seen[record.event.id] += 1
                _classify(result, record, expected, positions)
    result.present = sum(1 for id_ in seen if id_ in expected)
    result.missing = len(expected) - result.present
    result.repeated = sum(count - 1 for count in seen.values())
    return result


def _overtaken(record: Record, newest: dict[tuple[str, int], Place]) -> bool:
    """Whether a later fact of the same subject and source partition came before this one."""
    origin = getattr(record.event.data, "origin", None)
    if origin is None:
        return False
    key, at = (record.event.subject, origin.partition), (origin.offset, origin.index)
    before = newest.get(key, at)
    newest[key] = max(before, at)
    return at < before


def _classify(result: Derived, record: Record, expected: dict[str, int], positions: dict[int, int]) -> None:
    checksum = expected.get(record.event.id)
    if checksum is not None:
        result.altered += checksum != record.digest
        return
    origin = getattr(record.event.data, "origin", None)
    if origin is not None and origin.offset > positions.get(origin.partition, -1):
        result.pending += 1
    else:
        result.unexpected += 1
