"""State rows of one partition in its compacted topic: fenced writes, and recovery that cannot stall.

The transactional producer is there for its fence alone: whoever opens the log makes every earlier owner's writes
fail, so a worker that slept through a rebalance cannot put an older row over a newer one.
"""

import uuid
from collections.abc import Callable, Iterable

from aiokafka import TopicPartition

from agents.clients import new_consumer, new_producer
from agents.publishing import Publisher, delivered
from streams.projection import AnyProjection, topic_of

FENCE_KEY = b"~fence"
#: Rows taken at once in a recovery, so that the event loop gets to everything else.
READ_ROWS = 5_000

#: A key and its value; None deletes the row.
Row = tuple[bytes, bytes | None]
#: Told how many offsets of the topic were read, and how many there are. Compaction left some of them empty.
Watch = Callable[[int, int], None]


class RowsLost(Exception):
    """The state topic was deleted and made again while its rows were written: it lacks all that stood there before."""


class StateLog:
    """The state rows of one projection's partition."""

    def __init__(self, brokers: str, projection: AnyProjection, partition: int) -> None:
        self._brokers = brokers
        self._place = (topic_of(projection).name, partition)
        self._last = -1
        self._producer = new_producer(brokers, transactional_id=f"{projection.name}-{partition}", transaction_timeout_ms=60_000)

    async def open(self, watch: Watch = lambda have, need: None) -> dict[bytes, bytes]:
        """Fence earlier owners, then read the newest row of every key."""
        await self._producer.start()
        fence = uuid.uuid4().bytes
        await self.write([(FENCE_KEY, fence)])
        rows = await self._read_until(fence, watch)
        rows.pop(FENCE_KEY, None)
        return rows

    async def write(self, rows: Iterable[Row]) -> None:
        """Replace these rows, all or none; returns once they are durable. Raises ProducerFenced for a zombie, and RowsLost
        before anything is committed that a recovery would take for the whole."""
        async with self._producer.transaction():
            publisher = Publisher(self._producer)
            for key, value in rows:
                publisher.add(self._place, key, value, 0, [])
            sent = await publisher.send_all()
            await delivered(sent)
            self._hold_against_topic([one.result().offset for one in sent])

    def _hold_against_topic(self, offsets: list[int]) -> None:
        """Offsets only grow, but in a new topic of this name. The broker does not tell that of a repeated batch: -1."""
        known = [offset for offset in offsets if offset >= 0]
        if known and min(known) <= self._last:
            raise RowsLost(
                f"{self._place[0]}, partition {self._place[1]}: rows went to offset {min(known)} after {self._last}: the topic "
                f"was deleted and made again. Nothing was written; after a restart the log is folded again"
            )
        self._last = max(known, default=self._last)

    async def close(self) -> None:
        await self._producer.stop()

    async def _read_until(self, fence: bytes, watch: Watch) -> dict[bytes, bytes]:
        """Read from the start to our own fence; to the end, where the fence of another owner has taken its place by then."""
        consumer = new_consumer(self._brokers, isolation_level="read_committed")
        try:
            await consumer.start()
            place = TopicPartition(*self._place)
            consumer.assign([place])
            first, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
            consumer.seek(place, first)
            rows: dict[bytes, bytes] = {}
            while rows.get(FENCE_KEY) != fence and await consumer.position(place) < end:
                fetched = (await consumer.getmany(place, timeout_ms=500, max_records=READ_ROWS)).get(place, [])
                for record in fetched:
                    if record.value is None:
                        rows.pop(record.key, None)
                    else:
                        rows[record.key] = record.value
                watch((fetched[-1].offset + 1 if fetched else await consumer.position(place)) - first, end - first)
            return rows
        finally:
            await consumer.stop()
