"""The log from outside: where it ends, and state rows, without joining any group. Its events: infra.history."""

from collections.abc import AsyncIterator

from aiokafka import TopicPartition

from agents.clients import new_consumer
from agents.state_log import FENCE_KEY
from streams.projection import AnyProjection, AnyState, restore, topic_of


async def ends(brokers: str, *topics: str) -> dict[tuple[str, int], int]:
    """The next offset of every partition of these topics; nothing for a topic that does not exist."""
    consumer = new_consumer(brokers)
    try:
        await consumer.start()
        places: list[TopicPartition] = []
        for topic in topics:
            places += [TopicPartition(topic, number) for number in sorted(await consumer.partitions_for(topic))]
        found = await consumer.end_offsets(places)
        return {(place.topic, place.partition): end for place, end in found.items()}
    finally:
        await consumer.stop()


async def live_state(brokers: str, projection: AnyProjection, partition: int) -> tuple[AnyState, int]:
    """What a worker would recover: the state from the committed rows, and how many rows there are.

    May run beside the worker: it sees each of its transactions whole or not at all.
    """
    rows = await _newest_rows(brokers, topic_of(projection).name, partition)
    rows.pop(FENCE_KEY, None)
    return restore(projection, ((key.decode(), value) for key, value in rows.items())), len(rows)


async def live_states(brokers: str, projection: AnyProjection) -> AsyncIterator[AnyState]:
    """The same of every partition, in order."""
    for _, partition in sorted(await ends(brokers, projection.source.name)):
        yield (await live_state(brokers, projection, partition))[0]


async def _newest_rows(brokers: str, topic: str, partition: int) -> dict[bytes, bytes]:
    consumer = new_consumer(brokers, isolation_level="read_committed")
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        rows: dict[bytes, bytes] = {}
        while await consumer.position(place) < end:
            for raw in (await consumer.getmany(place, timeout_ms=200)).get(place, []):
                # The end is the last stable offset, where no transaction is cut; a fetch may go on into the next one.
                if raw.offset >= end:
                    break
                if raw.value is None:
                    rows.pop(raw.key, None)
                else:
                    rows[raw.key] = raw.value
        return rows
    finally:
        await consumer.stop()
