"""A log as a small system leaves it: a load, and every fact that the folds derive from it."""

from collections.abc import Iterable, Sequence

from agents.publishing import fact_headers, partition_of
from agents.topology import AGENT_BY_NAME
from infra.bench.load import lines
from infra.importing.publish import publishing
from infra.kafka.topics import TOPICS
from infra.memory.broker import MemoryBroker
from schemas.identity import unix_milliseconds
from schemas.topics import EVENTS, QUARANTINE, Topic
from schemas.wire import decode
from streams.projection import AnyProjection, Fact, facts, record_of
from streams.review import REVIEW

PARTITIONS = 2


def create(broker: MemoryBroker, topics: Iterable[Topic] = TOPICS) -> None:
    for topic in topics:
        broker.create_topic(topic.name, PARTITIONS, topic.compacted)


def by_partition(events: int, seed: int = 1) -> list[list[bytes]]:
    found: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for subject, _, _, value in lines(events, 30, seed):
        found[partition_of(subject, PARTITIONS)].append(value)
    return found


def derived(projection: AnyProjection, values: Sequence[bytes], partition: int) -> list[Fact]:
    state, found = projection.empty(), list[Fact]()
    for offset, value in enumerate(values):
        record = record_of(partition, offset, value)
        step = projection.apply(state, record)
        state = step.state
        found += facts(projection, record, step.effects)
    return found


async def fill(brokers: str, events: int, seed: int = 1) -> None:
    """Write a load, what review says of it, and something that is no event into quarantine."""
    assert AGENT_BY_NAME["review"].source == EVENTS
    async with publishing(brokers) as publisher:
        for partition, values in enumerate(by_partition(events, seed)):
            for value in values:
                event = decode(value)
                time, with_headers = unix_milliseconds(event.time), fact_headers(event.id, event.type)
                publisher.add((EVENTS.name, partition), event.subject.encode(), value, time, with_headers)
            for fact in derived(REVIEW, values, partition):
                place, time = (fact.topic, partition_of(fact.key, PARTITIONS)), unix_milliseconds(decode(fact.value).time)
                publisher.add(place, fact.key.encode(), fact.value, time, fact_headers(fact.id, fact.type))
        publisher.add((QUARANTINE.name, 1), None, b"\x00no event", 7, [("reason", b"not_json"), ("offset", b"")])
