"""The producer's side: batches in order per partition, delivery futures, transactions."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, ProducerClosed, ProducerFenced
from aiokafka.structs import RecordMetadata

from agents.clients import Batch
from infra.memory.broker import MemoryBroker
from infra.memory.log import Message
from infra.memory.network import Network
from infra.memory.transactions import Identity

#: Bytes that a message takes in a batch beside its key, value and headers, about.
OVERHEAD_BYTES = 20


class MemoryBatch:
    """Messages up to a number of bytes; the first always fits."""

    def __init__(self, most_bytes: int) -> None:
        self.messages: list[Message] = []
        self._room = most_bytes

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Any) -> Message | None:
        """The message, or None where there is no room for it."""
        message = Message(timestamp, key, value, tuple(headers))
        size = OVERHEAD_BYTES + len(key or b"") + len(value or b"") + sum(len(name) + len(said or b"") for name, said in headers)
        if self.messages and size > self._room:
            self._room = 0
            return None
        self._room -= size
        self.messages.append(message)
        return message

    def record_count(self) -> int:
        return len(self.messages)


class MemoryProducer:
    """An idempotent producer. What could not be delivered to a partition fails all that follows there, as a gap in
    its sequence does."""

    def __init__(self, broker: MemoryBroker, network: Network, client: str, options: Mapping[str, Any]) -> None:
        self._broker = broker
        self._network = network
        self._client = client
        self._batch_bytes = int(options.get("max_batch_size", 16_384))
        self._transactional_id: str | None = options.get("transactional_id")
        self._timeout_seconds = options.get("transaction_timeout_ms", 60_000) / 1000
        self._who: Identity | None = None
        self._transacting = False
        self._fenced: ProducerFenced | None = None
        #: The newest delivery of each partition, which the next one waits for.
        self._newest: dict[TopicPartition, asyncio.Task[RecordMetadata]] = {}

    async def start(self) -> None:
        self._who = await self._ask("begin producer", self._broker.begin_producer, self._transactional_id, self._timeout_seconds)

    async def stop(self) -> None:
        """Waits for what is on its way."""
        await self._settled()
        self._who = None

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(await self._ask("partitions", self._broker.partitions, topic)))

    def create_batch(self) -> MemoryBatch:
        return MemoryBatch(self._batch_bytes)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """The future is resolved once the batch is in the log, or fails."""
        assert isinstance(batch, MemoryBatch)
        who = self._started()
        if self._transactional_id is not None and not self._transacting:
            raise IllegalOperation("Can't send messages while not in transaction")
        place = TopicPartition(topic, partition)
        delivery = asyncio.get_running_loop().create_task(self._deliver(who, place, batch, self._newest.get(place)))
        self._newest[place] = delivery
        await asyncio.sleep(0)
        return delivery

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator["MemoryProducer"]:
        who = self._begin_transaction()
        try:
            yield self
        except BaseException:
            await self._end_transaction(who, committed=False)
            raise
        await self._end_transaction(who, committed=True)

    def _begin_transaction(self) -> Identity:
        who = self._started()
        if self._transactional_id is None or self._transacting:
            raise IllegalOperation("no transactional id, or a transaction is open")
        if self._fenced is not None:
            raise self._fenced
        self._transacting = True
        self._newest.clear()
        return who

    async def _end_transaction(self, who: Identity, committed: bool) -> None:
        await self._settled()
        self._transacting = False
        if self._fenced is None:
            await self._ask(
                "commit transaction" if committed else "abort transaction", self._broker.end_transaction, who, committed
            )
        elif committed:
            raise self._fenced

    async def _deliver(
        self, who: Identity, place: TopicPartition, batch: MemoryBatch, before: asyncio.Task[RecordMetadata] | None
    ) -> RecordMetadata:
        if before is not None:
            await before
        first = await self._ask("produce", self._broker.produce, who, place, batch.messages)
        return RecordMetadata(place.topic, place.partition, place, first, -1, 0, 0)

    async def _settled(self) -> None:
        await asyncio.gather(*self._newest.values(), return_exceptions=True)

    def _started(self) -> Identity:
        if self._who is None:
            raise ProducerClosed
        return self._who

    async def _ask(self, name: str, operation: Any, *arguments: Any) -> Any:
        try:
            return await self._network.request(self._client, name, lambda: operation(*arguments))
        except ProducerFenced as fenced:
            self._fenced = fenced
            raise
