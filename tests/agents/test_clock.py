"""The clock says each hour once in every partition, and what waits for it acts on it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from agents.clock import TICKED, Clock
from infra.history.kafka import KafkaHistory
from infra.kafka.reading import ends
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from schemas.events import ClockTicked
from schemas.topics import TOPICS

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def brokers() -> Iterator[str]:
    broker = MemoryBroker()
    for topic in TOPICS:
        broker.create_topic(topic.name, 3, topic.compacted)
    with serving("clock", broker) as address:
        yield f"{address}/clock"


async def said(brokers: str) -> list[tuple[str, int, str, datetime]]:
    found: list[tuple[str, int, str, datetime]] = []
    for (topic, partition), end in (await ends(brokers, *(topic.name for topic in TICKED))).items():
        async for record in KafkaHistory(brokers).records(topic, partition, end):
            assert isinstance(record.event.data, ClockTicked)
            found.append((topic, partition, record.event.id, record.event.data.until))
    return found


async def test_a_full_hour_is_said_in_every_partition_and_the_same_by_whomever(brokers: str) -> None:
    for minutes in (3, 59):
        async with Clock(brokers, partial(datetime.__add__, NOON, timedelta(minutes=minutes))) as clock:
            assert await clock.tick() == NOON
    found = await said(brokers)
    assert sorted(Counter((topic, partition) for topic, partition, *_ in found).items()) == [
        ((topic.name, partition), 2) for topic in TICKED for partition in range(3)
    ]
    assert {until for *_, until in found} == {NOON}
    assert len({id_ for _, _, id_, _ in found}) == 1


async def test_it_ticks_at_once_and_with_every_hour_until_it_is_stopped(brokers: str) -> None:
    stop, times = asyncio.Event(), [NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=1), NOON + timedelta(hours=2)]

    def now() -> datetime:
        if len(times) == 1:
            stop.set()
            return times[0]
        return times.pop(0)

    async with Clock(brokers, now) as clock:
        await clock.run(stop)
    assert {until for *_, until in await said(brokers)} == {NOON, NOON + timedelta(hours=1)}
