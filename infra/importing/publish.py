"""Imported events to `assay.events.v1` at full speed, and what the log has already."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from zlib import crc32

from agents.clients import new_producer
from agents.log_reading import read_range
from agents.publishing import Place, Publisher, delivered, fact_headers, partition_of
from infra.kafka.reading import ends
from schemas.identity import unix_milliseconds
from schemas.topics import EVENTS, Topic
from schemas.upcasts import ToldEvent
from schemas.wire import encode

#: Messages between two pauses in which the producer may send.
STRIDE = 2_000

#: Event id (its 16 bytes) -> checksum of the event's bytes.
Known = dict[bytes, int]
Advance = Callable[[int], object]


class Message(NamedTuple):
    """One event as the log stores it."""

    subject: str
    id: str
    type: str
    time_ms: int
    value: bytes


def message(event: ToldEvent) -> Message:
    return Message(event.subject, event.id, event.type, unix_milliseconds(event.time), encode(event))


def event_key(id_: str) -> bytes:
    """An event id as `Known` holds it."""
    return bytes.fromhex(id_.replace("-", ""))


@asynccontextmanager
async def publishing(brokers: str) -> AsyncIterator[Publisher]:
    """A publisher; on the way out, what was added is sent and every delivery awaited. Raises the first that failed."""
    producer = new_producer(brokers)
    await producer.start()
    try:
        publisher = Publisher(producer)
        yield publisher
        await delivered(await publisher.send_all())
    finally:
        await producer.stop()


async def publish(
    brokers: str,
    partitions: int,
    messages: Iterable[Message],
    advance: Advance = lambda done: None,
    before: Callable[[], None] = lambda: None,
) -> int:
    """Write all to the events topic by Kafka's default partitioner, and return how many; all of them are durable then.
    Cancelled in the middle it leaves whole events, of which the same ids can be written again. `before` is called whenever
    messages are about to be sent: their keys must be durable first."""
    done = 0
    async with publishing(brokers) as publisher:
        for done, one in enumerate(messages, 1):
            add(publisher, partitions, one)
            if done % STRIDE == 0:
                before()
                await publisher.send()
                advance(done)
        before()
    advance(done)
    return done


def add(publisher: Publisher, partitions: int, one: Message) -> None:
    put(publisher, (EVENTS.name, partition_of(one.subject, partitions)), one)


def put(publisher: Publisher, place: Place, one: Message) -> None:
    """Into this very partition."""
    publisher.add(place, one.subject.encode(), one.value, one.time_ms, fact_headers(one.id, one.type))


async def known_events(brokers: str, topic: Topic = EVENTS, advance: Advance = lambda done: None) -> Known:
    """The ids of all events of a topic, with the checksum of each one's bytes. Takes some 100 bytes of memory an event."""
    known: Known = {}
    for place, end in (await ends(brokers, topic.name)).items():
        async for batch in read_range(brokers, place, 0, end):
            for record in batch:
                if (id_ := _id(record)) is not None:
                    known.setdefault(id_, crc32(record.value or b""))
            advance(len(known))
    return known


def _id(record: Any) -> bytes | None:
    for name, value in record.headers:
        if name == "ce_id" and value is not None:
            try:
                return event_key(value.decode())
            except ValueError:
                return None
    return None
