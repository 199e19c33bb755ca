"""Facts to Kafka at speed: batches built here, deliveries awaited by whoever acknowledges."""

import asyncio
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from aiokafka.partitioner import murmur2

from agents.clients import Batch, Producer
from schemas.wire import headers

#: Full batches that may wait for the producer.
CROWD = 16

Place = tuple[str, int]
Headers = list[tuple[str, bytes]]


@lru_cache(maxsize=1 << 17)
def partition_of(key: str, partitions: int) -> int:
    """Kafka's default partitioner for this key."""
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)


class Publisher:
    """Collects messages per partition; `delivered` gives what to await for all that was added so far."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._open: dict[Place, Batch] = {}
        self._full: deque[tuple[Place, Batch]] = deque()
        self._sent: list[asyncio.Future[Any]] = []
        #: Two senders at once would put batches of one partition out of order.
        self._sending = asyncio.Lock()

    def add(self, place: Place, key: bytes | None, value: bytes | None, time: int, with_headers: Headers) -> None:
        """Add one message; `time` in milliseconds. Never blocks: call `send` between batches."""
        batch = self._open.get(place)
        if batch is None:
            batch = self._open[place] = self._producer.create_batch()
        if batch.append(timestamp=time, key=key, value=value, headers=with_headers) is not None:
            return
        self._full.append((place, batch))
        batch = self._open[place] = self._producer.create_batch()
        if batch.append(timestamp=time, key=key, value=value, headers=with_headers) is None:
            raise ValueError(f"a message of {len(value or b'')} bytes does not fit into a batch for {place[0]}")

    @property
    def crowded(self) -> bool:
        """Whether so many full batches wait that whoever adds more should wait, too."""
        return len(self._full) > CROWD

    async def send(self, unfilled: bool = False) -> None:
        """Hand full batches to the producer, or all; waits while its buffer is full."""
        if unfilled:
            self._full += [(place, batch) for place, batch in self._open.items() if batch.record_count()]
            self._open = {}
        if not self._full:
            return  # and wait for nobody who hands over others
        async with self._sending:
            while self._full:
                # Taken out once it is handed over: whoever waits here may be cancelled.
                (topic, partition), batch = self._full[0]
                self._sent.append(await self._producer.send_batch(batch, topic, partition=partition))
                self._full.popleft()

    async def send_all(self) -> list[asyncio.Future[Any]]:
        """Hand over everything; the futures of all deliveries since the last call."""
        await self.send(unfilled=True)
        async with self._sending:  # what somebody else is handing over counts as well
            sent, self._sent = self._sent, []
            return sent


async def delivered(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Wait for these deliveries; raises the first that failed."""
    await asyncio.gather(*futures)


@lru_cache(maxsize=256)
def _type_header(type_: str) -> tuple[str, bytes]:
    return headers("", type_)[1]


def fact_headers(id_: str, type_: str) -> Headers:
    return [("ce_id", id_.encode()), _type_header(type_)]
