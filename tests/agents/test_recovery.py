"""From an assignment to a live state, on the broker in memory and on Apache Kafka: whatever became of the state topic."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from agents.recovery import LogLost
from agents.runner import UnequalPartitions
from agents.state_log import Row
from infra.kafka.topics import config
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from schemas.topics import EVENTS, TOPICS
from streams.projection import topic_of
from streams.review import REVIEW
from tests.agents.worlds import CONTROL, STATE, Batch, World
from tests.brokers import COMPACTED, SEGMENT_MS, one_broker

PARTITIONS = 16


def without_a_field(row: bytes) -> bytes:
    return orjson.dumps(orjson.loads(row)[:-1])


def of_a_later_version(row: bytes) -> bytes:
    return orjson.dumps([*orjson.loads(row), 1])


class RecoveryContract:
    """What a recovery must do on any broker."""

    async def test_an_empty_partition_is_live_without_a_batch(self, world: World) -> None:
        async with world.recovered() as runner:
            (status,) = runner.status()
            assert (status.state, status.log_have, status.eta_seconds) == ("live", 0, 0.0)
        assert world.fatal == []

    async def test_a_lost_state_is_folded_again_without_a_batch_and_in_several_flushes(self, world: World) -> None:
        """One transaction over the whole log would outlast its time-out where the log is long."""
        log = await world.write(3_000, 600)
        await world.commit(len(log))
        async with world.recovered(unflushed_rows=100):
            assert await world.flushes() > 3
            assert (await world.hashes())[1]
        await world.check(len(log))
        assert await world.flushes() > 5

    async def test_without_a_bound_there_is_one_flush(self, world: World) -> None:
        """So the test before this one can fail."""
        log = await world.write(3_000, 600)
        await world.commit(len(log))
        async with world.recovered(unflushed_rows=10**9):
            assert await world.flushes() == 0
        await world.check(len(log))
        assert await world.flushes() == 1

    @pytest.mark.parametrize("damage", ["no JSON", "a field less", "a field more", "no position"])
    async def test_damaged_rows_are_thrown_away_and_folded_again(self, world: World, damage: str) -> None:
        log = await world.write(600, 100)
        await world.commit(len(log))
        async with world.recovered():
            pass
        rows = await world.rows()
        key, ghost = next(key for key in sorted(rows) if not key.startswith(b"~")), b"s-that-never-was"
        planted: dict[str, Row] = {
            "no JSON": (key, b"{no json"),
            "a field less": (key, without_a_field(rows[key])),
            "a field more": (key, of_a_later_version(rows[key])),
            "no position": (CONTROL, None),
        }
        await world.forge([planted[damage], (ghost, rows[key])])
        with capture_logs() as said:
            async with world.recovered():
                pass
        await world.check(len(log))
        assert ghost not in await world.rows()
        (warning,) = [line for line in said if "damaged" in line["event"]]
        assert (warning["partition"], warning["rows"]) == (world.partition, len(rows) + (damage != "no position"))

    async def test_a_crash_between_throwing_away_and_folding_again_is_an_empty_start(self, world: World) -> None:
        log = await world.write(600, 100)
        async with world.recovered() as runner:
            await runner.process(Batch(log))
        rows = await world.rows()
        await world.forge([(CONTROL, None)])
        await world.forge([(key, None) for key in sorted(rows)[:50]])
        await world.commit(len(log))
        async with world.recovered():
            pass
        await world.check(len(log))

    async def test_rows_ahead_of_the_log_stop_the_worker(self, world: World) -> None:
        log = await world.write(300, 100)
        async with world.recovered() as runner:
            await runner.process(Batch(log))
        control = orjson.loads((await world.rows())[CONTROL])
        await world.forge([(CONTROL, orjson.dumps(control | {"position": len(log)}))])
        async with world.recovered():
            pass
        (error,) = world.fatal
        assert isinstance(error, LogLost)
        assert f"ends at offset {len(log)}" in str(error)

    async def test_commits_ahead_of_the_log_stop_the_worker(self, world: World) -> None:
        log = await world.write(300, 100)
        await world.commit(len(log) + 1)
        async with world.recovered():
            pass
        (error,) = world.fatal
        assert isinstance(error, LogLost)
        assert str(error).startswith("the group's commits are ahead of the log")

    async def test_a_batch_of_a_partition_that_is_not_ours_is_left_alone(self, world: World) -> None:
        """A worker that was fenced off is handed what was on its way; to open the state log would fence off the owner."""
        log = await world.write(300, 100)
        batch, runner = Batch(log), world.runner()
        await runner.keep({world.partition})
        await runner.keep(set())
        await runner.process(batch)
        await runner.close()
        assert not batch.acknowledged
        assert await world.flushes() == 0


_partitions = count()


class TestMemory(RecoveryContract):
    @pytest.fixture
    def world(self) -> Iterator[World]:
        broker = MemoryBroker()
        for topic in TOPICS:
            broker.create_topic(topic.name, PARTITIONS, topic.compacted)
        with serving("recovery", broker) as address:
            yield World(f"{address}/worker", 0)


async def test_partitions_that_were_added_to_the_log_end_the_worker() -> None:
    broker = MemoryBroker()
    for topic in TOPICS:
        broker.create_topic(topic.name, 6 if topic == EVENTS else 4, topic.compacted)
    with serving("uneven", broker) as address:
        world = World(f"{address}/worker", 0)
        runner = world.runner()
        await runner.keep({0})
        await runner.close()
    (error,) = world.fatal
    assert isinstance(error, UnequalPartitions)
    assert f"has 6 partitions and {topic_of(REVIEW).name} has 4" in str(error)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for this module: topics have fixed names, and each test has a partition of its own."""
    for brokers in one_broker(tmp_path_factory):
        asyncio.run(_prepare(brokers))
        yield brokers


async def _prepare(brokers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.create_topics([NewTopic(topic.name, PARTITIONS, 1, topic_configs=config(topic)) for topic in TOPICS])
    await admin.close()
    await asyncio.sleep(0.5)


async def _clean_at_once(brokers: str) -> None:
    """Let the cleaner take old rows within a second."""
    often = ConfigResource(ConfigResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "50"})
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.alter_configs([often, ConfigResource(ConfigResourceType.TOPIC, STATE, COMPACTED)])
    await admin.close()


async def _delete_before(brokers: str, place: tuple[str, int], offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.delete_records({TopicPartition(*place): RecordsToDelete(before_offset=offset)})
    await admin.close()


class TestKafka(RecoveryContract):
    @pytest.fixture
    def world(self, kafka: str) -> World:
        return World(kafka, next(_partitions))

    async def test_a_log_that_begins_too_late_stops_the_worker(self, world: World) -> None:
        await world.write(300, 100)
        await _delete_before(world.brokers, world.place, 10)
        async with world.recovered():
            pass
        (error,) = world.fatal
        assert isinstance(error, LogLost)
        assert "begins at offset 10, and offset 0 has to be folded next" in str(error)
        assert await world.flushes() == 0

    async def test_a_log_that_begins_where_the_rows_end_goes_on(self, world: World) -> None:
        log = await world.write(300, 100)
        async with world.recovered() as runner:
            await runner.process(Batch(log))
        await _delete_before(world.brokers, world.place, len(log))
        async with world.recovered() as runner:
            (status,) = runner.status()
            assert (status.state, status.durable) == ("live", len(log))
        assert world.fatal == []

    async def test_a_compacted_state_topic_recovers(self, world: World, tmp_path: Path) -> None:
        await _clean_at_once(world.brokers)
        log = await world.write(1_000, 50)
        async with world.recovered() as runner:
            for at in range(0, len(log), 100):
                await runner.process(Batch(log[at : at + 100]))
                await runner.flush()
                await asyncio.sleep(2 * SEGMENT_MS / 1000)  # the next row closes this segment
        async with asyncio.timeout(60):
            while await world.flushes() > 2:  # noqa: ASYNC110  the cleaner tells nobody
                await asyncio.sleep(0.2)
        await world.check(len(log))
        again = await world.write(200, 50)
        async with world.recovered() as runner:
            await runner.process(Batch(again[len(log) :]))
        await world.check(len(again))
