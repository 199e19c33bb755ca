"""A worker whose state log another one opens while it still reads its rows: it must come to an end, and not to wait."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from agents.clients import registered
from agents.log_reading import extents
from agents.state_log import StateLog
from infra.memory.broker import MemoryBroker
from infra.memory.clients import InMemory
from infra.memory.log import Message
from infra.memory.network import Direct
from streams.projection import topic_of
from streams.review import REVIEW

T = TypeVar("T")


class Holding(Direct):
    """A network that holds back one kind of request of one client until it is let go."""

    def __init__(self, client: str, name: str) -> None:
        self._held = (client, name)
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    async def request(self, client: str, name: str, operation: Callable[[], T]) -> T:
        if (client.partition("/")[0], name) == self._held:
            self.asked.set()
            await self.let_go.wait()
        return await super().request(client, name, operation)


async def test_an_overtaken_reading_ends() -> None:
    broker, network = MemoryBroker(), Holding("slow", "fetch")
    broker.create_topic(topic_of(REVIEW).name, 1, compacted=True)
    with registered("overtaken", InMemory(broker, network)) as address:
        slow, fast = StateLog(f"{address}/slow", REVIEW, 0), StateLog(f"{address}/fast", REVIEW, 0)
        opening = asyncio.create_task(slow.open())
        await network.asked.wait()
        await fast.open()
        await fast.write([(b"a", b"1")])
        network.let_go.set()
        async with asyncio.timeout(20):
            await opening
        with pytest.raises(ProducerFenced):
            await slow.write([(b"a", b"0")])
        await slow.close()
        await fast.close()


async def test_commits_that_come_while_it_is_asked_are_not_ahead_of_the_log() -> None:
    broker, network = MemoryBroker(), Holding("slow", "committed")
    broker.create_topic("t", 1)
    with registered("extents", InMemory(broker, network)) as address:
        asking = asyncio.create_task(extents(f"{address}/slow", "g", [("t", 0)]))
        await network.asked.wait()
        broker.log(TopicPartition("t", 0)).append([Message(1, None, b"v", ())] * 5)
        broker.group("g").committed[TopicPartition("t", 0)] = 5
        network.let_go.set()
        extent = (await asking)["t", 0]
        assert extent.committed <= extent.end
