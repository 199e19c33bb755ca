"""A projection in which everything that is folded twice, or not at all, shows; and its log on a broker."""

import uuid
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.clients import new_producer
from agents.log_reading import read_range
from agents.publishing import Publisher, delivered
from schemas.topics import Topic
from streams.projection import NOWHERE, Json, Record, State, Step, topic_of
from tests.agents.workers import load

EVENTS = 20

Counts = State[int, None]


class Counting:
    """How many events each subject has."""

    version = 1

    def __init__(self) -> None:
        self.name = f"counting-{uuid.uuid4().hex[:8]}"
        self.source = Topic(f"{self.name}-log", "subject id", "events of a test")

    def empty(self) -> Counts:
        return State(control=None)

    def apply(self, state: Counts, record: Record) -> Step[int, None]:
        if record.offset <= state.position:
            return Step(state, [])
        state.position = record.offset
        key = record.event.subject
        state.rows[key] = state.rows.get(key, 0) + 1
        state.touched[key] = None
        return Step(state, [])

    def pack(self, row: int) -> Json:
        return {"events": row}

    def unpack(self, packed: Json) -> int:
        return int(packed["events"])

    def pack_control(self, control: None) -> Json:
        return {}

    def unpack_control(self, packed: Json) -> None:
        return None


class Forgetful(Counting):
    """A planted fault: rows without the position that they were folded up to, as a Table keeps them."""

    def apply(self, state: Counts, record: Record) -> Step[int, None]:
        state.position = NOWHERE
        step = super().apply(state, record)
        state.position = NOWHERE
        return step


class Failing(Counting):
    """Fails on one record, having begun with it."""

    FAILS_AT = 10

    def apply(self, state: Counts, record: Record) -> Step[int, None]:
        step = super().apply(state, record)
        if record.offset == self.FAILS_AT:
            raise RuntimeError("planted")
        return step


async def create(brokers: str, *topics: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        await admin.create_topics(list(topics))
    finally:
        await admin.close()


async def log_of(brokers: str, projection: Counting) -> list[Any]:
    """Its topics, made and filled; the records that stand there."""
    source, rows = projection.source.name, topic_of(projection).name
    await create(brokers, NewTopic(source, 1, 1), NewTopic(rows, 1, 1, topic_configs={"cleanup.policy": "compact"}))
    await append(brokers, source, [value for *_, value in load(EVENTS, 3)])
    return [record async for batch in read_range(brokers, (source, 0), 0, EVENTS) for record in batch]


async def append(brokers: str, topic: str, values: list[bytes]) -> None:
    producer = new_producer(brokers)
    await producer.start()
    try:
        publisher = Publisher(producer)
        for value in values:
            publisher.add((topic, 0), b"key", value, 1, [])
        await delivered(await publisher.send_all())
    finally:
        await producer.stop()
