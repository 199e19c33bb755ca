"""Every topic of the table exists as it must, and one that is kept otherwise is refused."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.errors import AssayError
from infra.kafka.topics import config, ensure_topics
from infra.settings import Kafka, Settings
from schemas.topics import TOPICS, Topic

SETTINGS = Settings(kafka=Kafka(partitions=2))


async def test_the_second_time_creates_nothing(kafka: str) -> None:
    created = await ensure_topics(kafka, SETTINGS)
    assert set(created) <= {topic.name for topic in TOPICS}
    assert await ensure_topics(kafka, SETTINGS) == ()


async def test_another_partition_count_is_refused(kafka: str) -> None:
    topic = Topic("test.partitions", "key", "nothing")
    await ensure_topics(kafka, SETTINGS, [topic])
    with pytest.raises(AssayError, match=r"got: 2, not 3; hint: .* kafka\.partitions = 2"):
        await ensure_topics(kafka, Settings(kafka=Kafka(partitions=3)), [topic])


async def test_a_topic_that_forgets_is_refused(kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    topic = Topic("test.forgets", "key", "nothing")
    kept = config(topic) | {"retention.ms": "86400000"}
    await admin.create_topics([NewTopic(topic.name, 2, 1, topic_configs=kept)])
    await admin.close()
    with pytest.raises(AssayError, match=r"got: retention\.ms = 86400000, not -1"):
        await ensure_topics(kafka, SETTINGS, [topic])


async def test_old_and_coming_event_times_are_taken(kafka: str) -> None:
    topic = Topic("test.times", "key", "nothing")
    await ensure_topics(kafka, Settings(kafka=Kafka(partitions=1)), [topic])
    times = [86_400_000, 1_600_000_000_000, 4_000_000_000_000]
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for time in times:
        await producer.send_and_wait(topic.name, b"event", timestamp_ms=time)
    await producer.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    partition = TopicPartition(topic.name, 0)
    consumer.assign([partition])
    found = [(await consumer.getone()).timestamp for _ in times]
    await consumer.stop()
    assert found == times
