"""Creates the topics of the table in schemas.topics, and refuses to work with ones that are kept otherwise."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from infra.errors import AssayError, Exit
from infra.settings import Settings
from schemas.topics import TOPICS, Topic

FOREVER = 2**63 - 1
_EXISTS = 36

# Event times are history: a segment must not roll for a leap of a week in them, nor a broker find them too old or new.
_TIMES = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": str(FOREVER),
    "message.timestamp.after.max.ms": str(FOREVER),
    "max.message.bytes": str(16 << 20),
}
_FACTS = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "segment.ms": str(FOREVER)}
# Only closed segments are compacted: small ones keep recovery short.
_STATE = {"cleanup.policy": "compact", "segment.bytes": str(64 << 20)}
# What would lose events, or let state grow without bound, if an existing topic had it otherwise.
_VITAL = ("cleanup.policy", "retention.ms", "retention.bytes")


# What is set aside has its own bytes and headers that say why, and may be compressed less than it came.
_BYTES = {"max.message.bytes": str(64 << 20)}


def config(topic: Topic) -> dict[str, str]:
    return _TIMES | (_STATE if topic.compacted else _FACTS) | (_BYTES if topic.content == "bytes" else {})


async def ensure_topics(bootstrap: str, settings: Settings, topics: Sequence[Topic] = TOPICS) -> tuple[str, ...]:
    """Create the topics that are missing and check the others; return the names of the new ones.

    Raises AssayError where an existing topic has another partition count or would not keep what it is given.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        there = await _led(admin)
        created = await _create(admin, settings, [topic for topic in topics if topic.name not in there])
        _same_partitions(settings, topics, await _settled(admin, topics))
        await _same_config(admin, [topic for topic in topics if topic.name not in created])
        return created
    finally:
        await admin.close()


async def _led(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Topics with the number of their partitions that have a leader."""
    found: list[dict[str, Any]] = await admin.describe_topics()
    return {topic["topic"]: sum(part["leader"] >= 0 for part in topic["partitions"]) for topic in found}


async def _settled(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, int]:
    # A topic shows in the metadata a little after its creation was answered.
    for _ in range(100):
        there = await _led(admin)
        if all(there.get(topic.name) for topic in topics):
            break
        await asyncio.sleep(0.05)
    return there


async def _create(admin: AIOKafkaAdminClient, settings: Settings, missing: Sequence[Topic]) -> tuple[str, ...]:
    if not missing:
        return ()
    kafka = settings.kafka
    wanted = [NewTopic(topic.name, kafka.partitions, kafka.replication, topic_configs=config(topic)) for topic in missing]
    said = (await admin.create_topics(wanted)).to_object()["topic_errors"]
    for answer in said:
        if answer["error_code"] not in (0, _EXISTS):
            raise _refused(answer)
    return tuple(answer["topic"] for answer in said if answer["error_code"] == 0)


def _refused(answer: dict[str, Any]) -> AssayError:
    return AssayError(
        "Kafka refuses to create a topic",
        where=answer["topic"],
        got=answer.get("error_message") or for_code(answer["error_code"]).__name__,
        hint="kafka.replication must not be above the number of brokers",
    )


def _same_partitions(settings: Settings, topics: Iterable[Topic], there: dict[str, int]) -> None:
    for topic in topics:
        if (count := there.get(topic.name)) != settings.kafka.partitions:
            raise AssayError(
                "a topic has another partition count than the settings say",
                where=topic.name,
                got=f"{count}, not {settings.kafka.partitions}",
                hint=f"the count is fixed for ever: set kafka.partitions = {count}, or use another data directory",
            )


async def _same_config(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    if not topics:
        return
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    kept = {
        name: {entry[0]: entry[1] for entry in entries}
        for response in await admin.describe_configs(asked)
        for _, _, _, name, entries in response.resources
    }
    for topic in topics:
        _keeps(topic, kept.get(topic.name, {}))


def _keeps(topic: Topic, kept: dict[str, str]) -> None:
    for key, wanted in config(topic).items():
        if key in _VITAL and kept.get(key) != wanted:
            raise AssayError(
                "a topic does not keep what it is given",
                where=topic.name,
                got=f"{key} = {kept.get(key)}, not {wanted}",
                hint="set it right on the topic, since the log is the truth",
                exit_code=Exit.USAGE,
            )
