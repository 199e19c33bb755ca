"""The broker in memory: topics, transactions and groups. Each method is what clients may ask, and one step."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from infra.memory.groups import Group, Joined, Times
from infra.memory.log import Message, PartitionLog, Read
from infra.memory.transactions import Identity, Transactions


@dataclass
class Topic:
    """The partitions of a topic, and whether old values of its keys may be taken out."""

    logs: list[PartitionLog]
    compacted: bool


class MemoryBroker:
    """Everything that a broker knows."""

    def __init__(self, fetch_records: int = 10_000) -> None:
        """`fetch_records`: most records of one partition that a fetch returns."""
        self.transactions = Transactions()
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self._fetch_records = fetch_records

    # --- topics --------------------------------------------------------------------------------

    def create_topic(self, name: str, partitions: int, compacted: bool = False) -> None:
        if name in self.topics:
            raise TopicAlreadyExistsError(name)
        self.topics[name] = Topic([PartitionLog() for _ in range(partitions)], compacted)

    def delete_topic(self, name: str) -> None:
        """Its messages, and what groups have committed of it."""
        if self.topics.pop(name, None) is None:
            raise UnknownTopicOrPartitionError(name)
        for group in self.groups.values():
            group.forget(name)

    def compact(self) -> None:
        """Do now what the log cleaner does some time."""
        for topic in self.topics.values():
            for log in topic.logs if topic.compacted else ():
                log.compact()

    def partitions(self, topic: str) -> int:
        if topic not in self.topics:
            raise UnknownTopicOrPartitionError(topic)
        return len(self.topics[topic].logs)

    def log(self, place: TopicPartition) -> PartitionLog:
        if not 0 <= place.partition < self.partitions(place.topic):
            raise UnknownTopicOrPartitionError(f"{place.topic}/{place.partition}")
        number: int = place.partition
        return self.topics[place.topic].logs[number]

    # --- writing -------------------------------------------------------------------------------

    def begin_producer(self, transactional_id: str | None, timeout_seconds: float) -> Identity:
        return self.transactions.begin_producer(transactional_id, timeout_seconds)

    def produce(self, who: Identity, place: TopicPartition, messages: Iterable[Message]) -> int:
        """Append in this producer's transaction, if it has any; the first offset. Raises ProducerFenced."""
        log = self.log(place)
        transactional = who.transactional_id is not None
        if transactional:
            self.transactions.join(who, log)
        return log.append(messages, who.producer, transactional)

    def end_transaction(self, who: Identity, committed: bool) -> None:
        self.transactions.end(who, committed)

    # --- reading -------------------------------------------------------------------------------

    def fetch(self, place: TopicPartition, start: int, committed: bool, limit: int | None) -> Read:
        """Raises OffsetOutOfRangeError."""
        log = self.log(place)
        if not log.start <= start <= log.end:
            raise OffsetOutOfRangeError({place: start})
        return log.read(start, committed, min(limit or self._fetch_records, self._fetch_records))

    def end(self, place: TopicPartition, committed: bool) -> int:
        log = self.log(place)
        return log.stable if committed else log.end

    # --- groups --------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group(self._count))

    def _count(self, topic: str) -> int:
        return self.partitions(topic) if topic in self.topics else 0

    def join(self, group: str, member: str, topics: Iterable[str], times: Times) -> asyncio.Future[Joined]:
        return self.group(group).join(member, tuple(topics), times)

    def heartbeat(self, group: str, member: str, generation: int) -> None:
        self.group(group).heartbeat(member, generation)

    def commit(self, group: str, member: str, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        self.group(group).commit(member, generation, offsets)

    def committed(self, group: str, place: TopicPartition) -> int | None:
        return self.group(group).committed.get(place)

    def leave(self, group: str, member: str) -> None:
        self.group(group).leave(member)
