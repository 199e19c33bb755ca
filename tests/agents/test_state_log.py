"""State rows in their compacted topic: fenced, whole, and read back to the last row."""

import asyncio
import gc
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ProducerFenced

from agents.state_log import RowsLost, StateLog
from schemas.topics import EVENTS
from streams.projection import topic_of
from streams.review import Review


@pytest.fixture
async def projection(kafka: str) -> Review:
    """A projection with a name, and so a state topic, of its own."""
    made = Review()
    made.name = f"review-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic_of(made).name, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    await asyncio.sleep(0.2)
    return made


async def test_the_last_row_of_each_key_comes_back(kafka: str, projection: Review) -> None:
    log = StateLog(kafka, projection, 0)
    assert await log.open() == {}
    await log.write([(b"a", b"1"), (b"b", b"1")])
    await log.write([(b"a", b"2")])
    await log.close()
    again = StateLog(kafka, projection, 0)
    assert await again.open() == {b"a": b"2", b"b": b"1"}
    await again.close()


async def test_a_topic_that_was_made_again_gets_no_rows(kafka: str, projection: Review) -> None:
    """They would bring the newest position and not the older rows: a recovery would take them for the whole."""
    log, name = StateLog(kafka, projection, 0), topic_of(projection).name
    await log.open()
    await log.write([(b"a", b"1"), (b"~control", b"1")])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([name])
    await asyncio.sleep(1)
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    await asyncio.sleep(1)
    with pytest.raises(RowsLost, match="deleted and made again"):
        await log.write([(b"b", b"2"), (b"~control", b"2")])
    await log.close()
    again = StateLog(kafka, projection, 0)
    assert await again.open() == {}
    await again.close()


async def test_a_zombie_cannot_write_over_the_new_owner(kafka: str, projection: Review) -> None:
    """Without the fence the zombie's older row would be the newest in the topic, and compaction would keep it."""
    zombie, owner = StateLog(kafka, projection, 0), StateLog(kafka, projection, 0)
    await zombie.open()
    await zombie.write([(b"a", b"old")])
    assert await owner.open() == {b"a": b"old"}
    await owner.write([(b"a", b"new")])
    with pytest.raises(ProducerFenced):
        await zombie.write([(b"a", b"older")])
    await owner.close()
    await zombie.close()
    # aiokafka leaves futures of a fenced producer behind, and asyncio complains when they are collected: here, and
    # not in the middle of a later test.
    del zombie
    gc.collect()
    reader = StateLog(kafka, projection, 0)
    assert await reader.open() == {b"a": b"new"}
    await reader.close()


async def test_rows_larger_than_a_megabyte_fit(kafka: str) -> None:
    """A slice's second moments are 800 kB, and a submission may have thousands of events."""
    made = Review()
    made.name = f"review-{uuid.uuid4().hex[:8]}"
    assert made.source is EVENTS
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    configs = {"cleanup.policy": "compact", "max.message.bytes": str(16 << 20)}
    await admin.create_topics([NewTopic(topic_of(made).name, 1, 1, topic_configs=configs)])
    await admin.close()
    await asyncio.sleep(0.2)
    log = StateLog(kafka, made, 0)
    await log.open()
    large = uuid.uuid4().bytes * 200_000
    await log.write([(b"large", large)])
    await log.close()
    again = StateLog(kafka, made, 0)
    assert (await again.open())[b"large"] == large
    await again.close()
