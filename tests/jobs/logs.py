"""Logs in memory, for what only reads a log: no broker is started."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from agents.publishing import partition_of
from infra.importing.publish import publishing
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.settings import Kafka, Settings
from schemas.events import AnyEvent
from schemas.topics import EVENTS, POLICIES, RUNS
from schemas.wire import encode
from schemas.words import Frozen
from tests.jobs.conversations import EVERYWHERE, events

Steps = Sequence[tuple[str, Frozen]]


@contextmanager
def log_of(steps: Steps, data_dir: Path, partitions: int = 2) -> Iterator[Settings]:
    """The settings of a data directory whose broker, in memory, holds these steps."""
    broker = MemoryBroker()
    for topic in (EVENTS, RUNS, POLICIES):
        broker.create_topic(topic.name, partitions)
    with serving(uuid4().hex, broker) as address:
        world = Settings(data_dir=data_dir, kafka=Kafka(brokers=address, partitions=partitions))
        append(world, steps)
        yield world


def append(world: Settings, steps: Steps, start: int = 0) -> None:
    """`start`: seconds by which these come later, and what makes their ids others."""
    partitions = world.kafka.partitions
    made = events(steps, start)
    placed = [
        (number, subject, value)
        for subject, value in made
        for number in (range(partitions) if subject == EVERYWHERE else [partition_of(subject, partitions)])
    ]
    asyncio.run(_append(world, EVENTS.name, placed))


def propose(world: Settings, proposed: Iterable[AnyEvent]) -> None:
    """Policies, on their own topic."""
    placed = [(partition_of(event.subject, world.kafka.partitions), event.subject, encode(event)) for event in proposed]
    asyncio.run(_append(world, POLICIES.name, placed))


def say(world: Settings, said: Iterable[AnyEvent]) -> None:
    """What runs did."""
    placed = [(partition_of(event.subject, world.kafka.partitions), event.subject, encode(event)) for event in said]
    asyncio.run(_append(world, RUNS.name, placed))


async def _append(world: Settings, topic: str, placed: Iterable[tuple[int, str, bytes]]) -> None:
    assert world.kafka.brokers
    async with publishing(world.kafka.brokers) as publisher:
        for number, subject, value in placed:
            publisher.add((topic, number), subject.encode(), value, 1, [])
