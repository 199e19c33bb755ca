"""A broker that many tests use in turn, each of which finds it new: starting one takes longer than emptying one."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from infra.kafka import broker
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from tests.agents.workers import PARTITIONS


class Reuse:
    """Hands out a broker with empty topics and no groups. One with members left in a group, as killed workers leave
    them for some seconds, is given up for another."""

    def __init__(self, new_home: Callable[[], Path]) -> None:
        self._new_home = new_home
        self._running = ExitStack()
        self._settings: Settings | None = None
        self.bootstrap = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def fresh(self) -> Settings:
        if self._settings is None or not asyncio.run(_emptied(self.bootstrap)):
            self._running.close()
            self._settings = Settings(data_dir=self._new_home(), kafka=Kafka(heap_mb=384, partitions=PARTITIONS))
            self.bootstrap = self._running.enter_context(broker.running(self._settings))
        asyncio.run(ensure_topics(self.bootstrap, self._settings))
        return self._settings


async def _emptied(bootstrap: str) -> bool:
    """Delete all topics, and with them what groups had committed. False where a group has members."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        groups = [group for group, _ in await admin.list_consumer_groups()]
        if any([await _members(admin, group) for group in groups]):
            return False
        await admin.delete_topics([name for name in await admin.list_topics() if not name.startswith("__")])
        while any([await _holds(admin, group) for group in groups]) or await _topics(admin):  # noqa: ASYNC110  Kafka tells nobody
            await asyncio.sleep(0.05)
        return True
    finally:
        await admin.close()


async def _members(admin: AIOKafkaAdminClient, group: str) -> bool:
    (said,) = await admin.describe_consumer_groups([group])
    return any(found["members"] for found in said.to_object()["groups"])


async def _holds(admin: AIOKafkaAdminClient, group: str) -> bool:
    try:
        return bool(await admin.list_consumer_group_offsets(group))
    except GroupCoordinatorNotAvailableError:
        return False


async def _topics(admin: AIOKafkaAdminClient) -> list[str]:
    return [name for name in await admin.list_topics() if not name.startswith("__")]
