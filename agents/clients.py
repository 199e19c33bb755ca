"""Producers and consumers, chosen by the brokers' address as URL schemes do: `host:port` is Apache Kafka, through
aiokafka, and `memory://NAME/CLIENT` a broker in this process that was registered under that name.

CLIENT says whose connection it is, so that a broker in memory can cut all that one simulated process has.
"""

from asyncio import Future
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

SCHEME = "memory://"
MAX_BATCH_BYTES = 512 * 1024
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class Batch(Protocol):
    """Messages of one partition, being collected."""

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Any) -> object | None: ...
    def record_count(self) -> int: ...


class Producer(Protocol):
    """What Assay uses of aiokafka's producer."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def partitions_for(self, topic: str) -> set[int]: ...
    def create_batch(self) -> Batch: ...
    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Future[Any]: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...


class Consumer(Protocol):
    """What Assay uses of aiokafka's consumer, and what Faust's driver does with a group."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def partitions_for(self, topic: str) -> set[int]: ...
    def assign(self, partitions: Collection[TopicPartition]) -> None: ...
    def assignment(self) -> set[TopicPartition]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    async def seek_to_beginning(self, *partitions: TopicPartition) -> Any: ...
    async def position(self, partition: TopicPartition) -> int: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]: ...
    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]: ...
    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]: ...
    def subscribe(self, topics: Collection[str], *, listener: Any = None) -> None: ...
    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...
    async def committed(self, partition: TopicPartition) -> int | None: ...


class Clients(Protocol):
    """A broker's side of the address: it makes the clients that talk to it. Options are aiokafka's."""

    def producer(self, client: str, options: Mapping[str, Any]) -> Producer: ...
    def consumer(self, client: str, options: Mapping[str, Any]) -> Consumer: ...


_IN_MEMORY: dict[str, Clients] = {}


@contextmanager
def registered(name: str, broker: Clients) -> Iterator[str]:
    """Let a broker in memory be reached; the address to add a client's name to."""
    _IN_MEMORY[name] = broker
    try:
        yield f"{SCHEME}{name}"
    finally:
        del _IN_MEMORY[name]


def new_producer(brokers: str, **options: Any) -> Producer:
    """An idempotent producer with room for large state rows. zstd: aiokafka asks lz4 for its slowest level, so that
    zstd takes a quarter of the time and two thirds of the bytes."""
    settings: dict[str, Any] = {
        "enable_idempotence": True,
        "compression_type": "zstd",
        "max_batch_size": MAX_BATCH_BYTES,
        "max_request_size": MAX_MESSAGE_BYTES,
        "request_timeout_ms": 30_000,
    }
    clients, client = _clients(brokers)
    return clients.producer(client, settings | options)


def new_consumer(brokers: str, **options: Any) -> Consumer:
    """A consumer that commits nothing by itself, with room for large state rows."""
    # Earliest: aiokafka looks for where to begin as soon as a partition is assigned, and may come after a seek to the beginning.
    settings: dict[str, Any] = {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "max_partition_fetch_bytes": MAX_MESSAGE_BYTES,
    }
    clients, client = _clients(brokers)
    return clients.consumer(client, settings | options)


def _clients(brokers: str) -> tuple[Clients, str]:
    if not brokers.startswith(SCHEME):
        return _KAFKA, brokers
    name, _, client = brokers.removeprefix(SCHEME).partition("/")
    if name not in _IN_MEMORY:
        raise ConnectionRefusedError(f"no broker in memory is registered as {name!r}: {brokers} leads nowhere")
    return _IN_MEMORY[name], client


class _KafkaConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    async def partitions_for(self, topic: str) -> set[int]:
        """As the producer's method of this name: waits for the topic to be known."""
        partitions: set[int] | None = await self._client._wait_on_metadata(topic)
        return partitions or set()


class _Kafka:
    """Apache Kafka, whose clients are named by the addresses that they are given."""

    def producer(self, client: str, options: Mapping[str, Any]) -> Producer:
        made: Producer = AIOKafkaProducer(bootstrap_servers=client.split(","), **options)
        return made

    def consumer(self, client: str, options: Mapping[str, Any]) -> Consumer:
        return _KafkaConsumer(bootstrap_servers=client.split(","), **options)


_KAFKA: Clients = _Kafka()
