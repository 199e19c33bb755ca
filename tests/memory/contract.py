"""What every broker must do, as tests: the same class runs on the one in memory and on Apache Kafka."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterable
from typing import Any, Protocol

import pytest
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalOperation, IllegalStateError, OffsetOutOfRangeError, ProducerFenced

from agents.clients import Batch, Consumer, Producer, new_consumer, new_producer
from agents.log_reading import read_range
from agents.publishing import Publisher, delivered
from infra.kafka.reading import ends

WAIT_MS = 5_000


class World(Protocol):
    """A broker as the tests see it."""

    address: str
    #: A time that this broker takes from a member before it is given up.
    session_ms: int

    async def create(self, topic: str, partitions: int, compacted: bool) -> None: ...
    async def delete(self, topic: str) -> None: ...
    async def compact(self, topic: str) -> None:
        """Come back when the cleaner has run over all that stands before the newest message."""
        ...

    def silence(self, consumer: Consumer) -> None:
        """No heartbeats from this one any more."""
        ...


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.told.append(("revoked", len(set(revoked))))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.told.append(("assigned", len(set(assigned))))


class Clients:
    """Makes clients for one test, and stops them at its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._made: list[Producer | Consumer] = []

    async def topic(self, partitions: int = 1, compacted: bool = False) -> str:
        name = f"t-{uuid.uuid4().hex[:8]}"
        await self.world.create(name, partitions, compacted)
        return name

    async def producer(self, **options: Any) -> Producer:
        made = new_producer(self.world.address, **options)
        self._made.append(made)
        await made.start()
        return made

    async def consumer(self, *places: TopicPartition, **options: Any) -> Consumer:
        made = new_consumer(self.world.address, **options)
        self._made.append(made)
        await made.start()
        if places:
            made.assign(places)
        return made

    async def member(self, topic: str, group: str, listener: Listener | None = None) -> Consumer:
        session = self.world.session_ms
        times = {"session_timeout_ms": session, "rebalance_timeout_ms": session, "heartbeat_interval_ms": session // 30}
        made = new_consumer(self.world.address, group_id=group, auto_offset_reset="earliest", **times)
        self._made.append(made)
        made.subscribe([topic], listener=listener)
        await made.start()
        return made

    async def close(self) -> None:
        for made in reversed(self._made):
            await made.stop()


def filled(producer: Producer, values: Iterable[bytes], key: bytes | None = None) -> Batch:
    batch = producer.create_batch()
    for value in values:
        assert batch.append(timestamp=1, key=key, value=value, headers=[]) is not None
    return batch


async def write(producer: Producer, place: TopicPartition, *values: bytes, key: bytes | None = None) -> Any:
    """Send these in one batch; the metadata of its delivery."""
    sent = await producer.send_batch(filled(producer, values, key), place.topic, partition=place.partition)
    return await sent


async def records(consumer: Consumer, place: TopicPartition, count: int) -> list[Any]:
    """The next so many records, or a few more."""
    found: list[Any] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += (await consumer.getmany(place, timeout_ms=WAIT_MS)).get(place, [])
    return found


async def values(consumer: Consumer, place: TopicPartition, count: int) -> list[bytes]:
    return [one.value for one in await records(consumer, place, count)]


async def assigned(consumer: Consumer, count: int) -> None:
    async with asyncio.timeout(30):
        while len(consumer.assignment()) != count:  # noqa: ASYNC110  an assignment tells only its listener
            await asyncio.sleep(0.02)


class BrokerContract:
    """Subclasses say which broker by a fixture `world`."""

    @pytest.fixture
    async def clients(self, world: World) -> Any:
        made = Clients(world)
        yield made
        await made.close()

    # --- messages ------------------------------------------------------------------------------

    async def test_what_is_sent_comes_back_in_order_and_whole(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer, consumer = await clients.producer(), await clients.consumer(place)
        await consumer.seek_to_beginning(place)
        batch = producer.create_batch()
        for number in range(3):
            headers = [("n", b"%d" % number)]
            batch.append(timestamp=1_000 + number, key=b"k%d" % number, value=b"v%d" % number, headers=headers)
        assert batch.record_count() == 3
        sent = await (await producer.send_batch(batch, place.topic, partition=0))
        assert (sent.topic, sent.partition, sent.offset) == (place.topic, 0, 0)
        records = (await consumer.getmany(place, timeout_ms=WAIT_MS))[place]
        assert [(one.topic, one.partition, one.offset) for one in records] == [(place.topic, 0, at) for at in range(3)]
        assert [(one.timestamp, one.key, one.value) for one in records] == [
            (1_000 + at, b"k%d" % at, b"v%d" % at) for at in range(3)
        ]
        assert [list(one.headers) for one in records] == [[("n", b"%d" % at)] for at in range(3)]

    async def test_a_batch_takes_no_more_than_its_bytes_but_one_message_always(self, clients: Clients) -> None:
        producer = await clients.producer(max_batch_size=1_000)
        batch = producer.create_batch()
        assert batch.append(timestamp=1, key=None, value=b"x" * 2_000, headers=[]) is not None
        assert batch.append(timestamp=1, key=None, value=b"x", headers=[]) is None
        small = producer.create_batch()
        taken = [small.append(timestamp=1, key=None, value=b"x" * 100, headers=[]) for _ in range(12)]
        assert 5 < sum(one is not None for one in taken) < 12
        assert small.record_count() == sum(one is not None for one in taken)

    async def test_batches_of_a_partition_keep_their_order(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer, consumer = await clients.producer(), await clients.consumer(place)
        await consumer.seek_to_beginning()
        sent = [await producer.send_batch(filled(producer, [b"%d" % at]), place.topic, partition=0) for at in range(20)]
        await asyncio.gather(*sent)
        assert await values(consumer, place, 20) == [b"%d" % at for at in range(20)]

    async def test_partitions_are_known_and_apart(self, clients: Clients) -> None:
        topic = await clients.topic(3)
        producer, consumer = await clients.producer(), await clients.consumer()
        assert await producer.partitions_for(topic) == await consumer.partitions_for(topic) == {0, 1, 2}
        await write(producer, TopicPartition(topic, 1), b"a", b"b")
        assert await ends(clients.world.address, topic) == {(topic, 0): 0, (topic, 1): 2, (topic, 2): 0}

    # --- positions -----------------------------------------------------------------------------

    async def test_reading_goes_on_from_a_position(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer, consumer = await clients.producer(), await clients.consumer(place)
        await write(producer, place, *[b"%d" % at for at in range(10)])
        consumer.seek(place, 4)
        first = (await consumer.getmany(place, timeout_ms=WAIT_MS, max_records=2))[place]
        assert [one.offset for one in first] == [4, 5]
        assert await consumer.position(place) == 6
        assert await values(consumer, place, 4) == [b"6", b"7", b"8", b"9"]
        assert await consumer.position(place) == 10
        assert await consumer.beginning_offsets([place]) == {place: 0}
        assert await consumer.end_offsets([place]) == {place: 10}

    async def test_waiting_for_records_ends_in_time_and_as_soon_as_there_are_some(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer, consumer = await clients.producer(), await clients.consumer(place)
        await consumer.seek_to_beginning(place)
        assert await consumer.getmany(place, timeout_ms=50) == {}
        waiting = asyncio.ensure_future(consumer.getmany(place, timeout_ms=60_000))
        await asyncio.sleep(0.05)
        await write(producer, place, b"there")
        async with asyncio.timeout(20):
            assert [one.value for one in (await waiting)[place]] == [b"there"]

    async def test_without_a_position_reading_starts_where_it_was_told(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer = await clients.producer()
        await write(producer, place, b"early")
        first, last = [await clients.consumer(place, auto_offset_reset=at) for at in ("earliest", "latest")]
        assert (await first.position(place), await last.position(place)) == (0, 1)

    async def test_a_position_that_is_not_there_is_reset_or_refused(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        await write(await clients.producer(), place, b"one")
        resetting = await clients.consumer(place, auto_offset_reset="earliest")
        resetting.seek(place, 40)
        assert await values(resetting, place, 1) == [b"one"]
        strict = await clients.consumer(place, auto_offset_reset="none")
        strict.seek(place, 40)
        with pytest.raises(OffsetOutOfRangeError):
            await values(strict, place, 1)

    async def test_a_stranger_partition_has_no_position(self, clients: Clients) -> None:
        topic = await clients.topic(2)
        consumer = await clients.consumer(TopicPartition(topic, 0))
        assert consumer.assignment() == {TopicPartition(topic, 0)}
        with pytest.raises(IllegalStateError):
            await consumer.position(TopicPartition(topic, 1))

    # --- transactions --------------------------------------------------------------------------

    async def test_what_was_committed_is_there_and_what_was_aborted_is_not(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer = await clients.producer(transactional_id=place.topic)
        async with producer.transaction():
            await write(producer, place, b"a", b"b")
        with contextlib.suppress(ZeroDivisionError):
            async with producer.transaction():
                await write(producer, place, b"lost")
                raise ZeroDivisionError
        async with producer.transaction():
            await write(producer, place, b"c")
        committed = await clients.consumer(place, isolation_level="read_committed")
        every = await clients.consumer(place)
        for consumer in (committed, every):
            await consumer.seek_to_beginning(place)
        assert await values(committed, place, 3) == [b"a", b"b", b"c"]
        assert await values(every, place, 4) == [b"a", b"b", b"lost", b"c"]

    async def test_markers_take_offsets_and_positions_pass_them(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer = await clients.producer(transactional_id=place.topic)
        for value in (b"a", b"b"):
            async with producer.transaction():
                await write(producer, place, value)
        found = [batch async for batch in read_range(clients.world.address, place, 0, 4)]
        assert [(one.offset, one.value) for batch in found for one in batch] == [(0, b"a"), (2, b"b")]
        assert await ends(clients.world.address, place.topic) == {place: 4}

    async def test_nothing_behind_an_open_transaction_is_stable(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer, other = await clients.producer(transactional_id=place.topic), await clients.producer()
        committed = await clients.consumer(place, isolation_level="read_committed")
        every = await clients.consumer(place)
        await committed.seek_to_beginning(place)
        await write(other, place, b"before")
        async with producer.transaction():
            await write(producer, place, b"within")
            await write(other, place, b"behind")
            assert await values(committed, place, 1) == [b"before"]
            assert await committed.getmany(place, timeout_ms=50) == {}
            assert await committed.end_offsets([place]) == {place: 1}
            assert await every.end_offsets([place]) == {place: 3}
        assert await values(committed, place, 2) == [b"within", b"behind"]

    async def test_the_next_with_a_transactional_id_fences_the_one_before(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        zombie = await clients.producer(transactional_id=place.topic)
        with pytest.raises(ProducerFenced):
            await self._write_while_fenced(clients, zombie, place)
        # aiokafka asserts that it has not been fenced before.
        with pytest.raises((ProducerFenced, AssertionError)):
            await zombie.transaction().__aenter__()
        reader = await clients.consumer(place, isolation_level="read_committed")
        await reader.seek_to_beginning(place)
        assert await values(reader, place, 1) == [b"new"]
        assert await reader.getmany(place, timeout_ms=50) == {}

    async def _write_while_fenced(self, clients: Clients, zombie: Producer, place: TopicPartition) -> None:
        async with zombie.transaction():
            await write(zombie, place, b"half")
            owner = await clients.producer(transactional_id=place.topic)
            async with owner.transaction():
                await write(owner, place, b"new")
            await write(zombie, place, b"old")

    async def test_a_transactional_producer_sends_nothing_outside_of_a_transaction(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        producer = await clients.producer(transactional_id=place.topic)
        with pytest.raises(IllegalOperation):
            await write(producer, place, b"x")
        async with producer.transaction():
            pass
        assert await ends(clients.world.address, place.topic) == {place: 0}

    async def test_assays_publisher_writes_through_either(self, clients: Clients) -> None:
        topic = await clients.topic(2)
        publisher = Publisher(await clients.producer())
        for number in range(100):
            publisher.add((topic, number % 2), b"k", b"v%d" % number, 1, [])
        await delivered(await publisher.send_all())
        found = [one.value async for batch in read_range(clients.world.address, (topic, 1), 10, 20) for one in batch]
        assert found == [b"v%d" % number for number in range(21, 41, 2)]

    # --- groups --------------------------------------------------------------------------------

    async def test_members_share_the_partitions_and_are_told(self, clients: Clients) -> None:
        topic, first_told, second_told = await clients.topic(4), Listener(), Listener()
        first = await clients.member(topic, topic, first_told)
        await assigned(first, 4)
        second = await clients.member(topic, topic, second_told)
        await asyncio.gather(assigned(first, 2), assigned(second, 2))
        assert first.assignment() | second.assignment() == {TopicPartition(topic, at) for at in range(4)}
        await second.stop()
        await assigned(first, 4)
        assert first_told.told == [
            ("revoked", 0), ("assigned", 4), ("revoked", 4), ("assigned", 2), ("revoked", 2), ("assigned", 4)
        ]  # fmt: skip
        assert second_told.told[:2] == [("revoked", 0), ("assigned", 2)]

    async def test_what_was_committed_is_where_the_next_goes_on(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        await write(await clients.producer(), place, b"0", b"1", b"2")
        first = await clients.member(place.topic, place.topic)
        await assigned(first, 1)
        assert await first.committed(place) is None
        await first.commit({place: 2})
        assert await first.committed(place) == 2
        with pytest.raises(IllegalStateError):
            await first.commit({TopicPartition(place.topic, 7): 1})
        await first.stop()
        second = await clients.member(place.topic, place.topic)
        await assigned(second, 1)
        assert await second.position(place) == 2
        assert await values(second, place, 1) == [b"2"]

    async def test_whoever_is_silent_loses_its_partitions_and_its_transaction(self, clients: Clients) -> None:
        """Both at once, since Kafka takes its time for either."""
        await asyncio.gather(self._be_silent_in_a_group(clients), self._be_silent_in_a_transaction(clients))

    async def _be_silent_in_a_transaction(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        silent = await clients.producer(transactional_id=place.topic, transaction_timeout_ms=1_000)
        reader = await clients.consumer(place, isolation_level="read_committed")
        with pytest.raises(ProducerFenced):
            await self._write_slowly(silent, reader, place)
        await reader.seek_to_beginning(place)
        assert await reader.getmany(place, timeout_ms=50) == {}

    async def _write_slowly(self, silent: Producer, reader: Consumer, place: TopicPartition) -> None:
        async with silent.transaction(), asyncio.timeout(60):
            await write(silent, place, b"slow")
            while await reader.end_offsets([place]) != {place: 2}:  # noqa: ASYNC110  an aborted transaction tells nobody
                await asyncio.sleep(0.1)
            await write(silent, place, b"late")

    async def _be_silent_in_a_group(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        silent = await clients.member(place.topic, place.topic)
        await assigned(silent, 1)
        await silent.commit({place: 3})
        clients.world.silence(silent)
        owner = await clients.member(place.topic, place.topic)
        await assigned(owner, 1)
        await owner.commit({place: 5})
        with pytest.raises(CommitFailedError):
            await silent.commit({place: 4})
        assert await owner.committed(place) == 5

    # --- topics --------------------------------------------------------------------------------

    async def test_compaction_keeps_the_newest_of_each_key_at_its_offset(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(compacted=True), 0)
        producer = await clients.producer(transactional_id=place.topic)
        for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1")):
            async with producer.transaction():
                await write(producer, place, value, key=key)
        await clients.world.compact(place.topic)
        reader = await clients.consumer(place, isolation_level="read_committed")
        await reader.seek_to_beginning(place)
        found = await records(reader, place, 3)
        assert [(one.offset, one.key, one.value) for one in found[:3]] == [(2, b"b", b"1"), (4, b"a", b"2"), (6, b"c", b"1")]

    async def test_a_deleted_topic_comes_back_empty(self, clients: Clients) -> None:
        place = TopicPartition(await clients.topic(), 0)
        await write(await clients.producer(), place, b"gone")
        await clients.world.delete(place.topic)
        await clients.world.create(place.topic, 1, False)
        assert await ends(clients.world.address, place.topic) == {place: 0}
