"""The consumer's side: positions, fetches, and its part in a group."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import ConsumerRecord, OffsetAndTimestamp

from infra.memory.broker import MemoryBroker
from infra.memory.groups import Joined, Times
from infra.memory.log import Entry, PartitionLog, Read
from infra.memory.network import Network

T = TypeVar("T")
Fetched = dict[TopicPartition, list[Any]]


class MemoryConsumer:
    """Reads what it is assigned, by its user or by its group. It commits nothing by itself."""

    def __init__(self, broker: MemoryBroker, network: Network, client: str, options: Mapping[str, Any]) -> None:
        self._broker = broker
        self._network = network
        self._client = client
        self._group: str | None = options.get("group_id")
        self._reset: str = options.get("auto_offset_reset", "latest")
        self._committed_only = options.get("isolation_level") == "read_committed"
        self._times = Times(options.get("session_timeout_ms", 10_000) / 1000, options.get("rebalance_timeout_ms", 20_000) / 1000)
        self._heartbeat_seconds = options.get("heartbeat_interval_ms", 3_000) / 1000
        self._places: list[TopicPartition] = []
        self._positions: dict[TopicPartition, int] = {}
        self._topics: tuple[str, ...] = ()
        self._listener: Any = None
        self._membership: asyncio.Task[None] | None = None
        self._heart: asyncio.Task[None] | None = None
        self._member = ""
        self.generation = 0
        self._rejoin = asyncio.Event()

    async def start(self) -> None:
        if self._topics:
            self._membership = asyncio.get_running_loop().create_task(self._take_part())

    async def stop(self) -> None:
        """Leave the group, if any."""
        _cancel(self._heart)
        _cancel(self._membership)
        self._heart = self._membership = None
        if self._group is not None and self._member:
            await self._ask("leave", self._broker.leave, self._group, self._member)
        self._places, self._member = [], ""

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(await self._ask("partitions", self._broker.partitions, topic)))

    # --- positions -----------------------------------------------------------------------------

    def assign(self, partitions: Collection[TopicPartition]) -> None:
        self._places = list(partitions)
        self._positions = {place: at for place, at in self._positions.items() if place in self._places}

    def assignment(self) -> set[TopicPartition]:
        return set(self._places)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._assigned(partition)
        self._positions[partition] = offset

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        for place, start in (await self.beginning_offsets(partitions or self._places)).items():
            self.seek(place, start)

    async def position(self, partition: TopicPartition) -> int:
        """The offset of the next record: as sought, else as committed, else by `auto_offset_reset`."""
        self._assigned(partition)
        if partition not in self._positions:
            committed = await self.committed(partition) if self._group is not None else None
            self._positions[partition] = await self._first(partition) if committed is None else committed
        return self._positions[partition]

    async def _first(self, place: TopicPartition) -> int:
        if self._reset == "none":
            raise OffsetOutOfRangeError({place: -1})
        asked = self.beginning_offsets if self._reset == "earliest" else self.end_offsets
        return (await asked([place]))[place]

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._ask("beginnings", lambda: {place: self._broker.log(place).start for place in partitions})

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Behind the last record; with `read_committed`, the last stable offset."""
        return await self._ask("ends", lambda: {place: self._broker.end(place, self._committed_only) for place in partitions})

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """The first record of each partition that is of this time or later, as it stands in the log."""
        return await self._ask("times", lambda: {place: _first_at(self._broker.log(place), ms) for place, ms in times.items()})

    def _assigned(self, place: TopicPartition) -> None:
        if place not in self._places:
            raise IllegalStateError(f"Partition {place} is not assigned")

    # --- records -------------------------------------------------------------------------------

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None) -> Fetched:
        """What there is of these partitions (default: all assigned); waits for it no longer than `timeout_ms`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_ms / 1000
        while True:
            places = [place for place in self._places if place in partitions or not partitions]
            fetched = await self._fetch(places, max_records)
            if fetched or loop.time() >= until:
                return fetched
            await self._changed(places, until - loop.time())

    async def _fetch(self, places: Iterable[TopicPartition], limit: int | None) -> Fetched:
        starts = {place: await self.position(place) for place in places if place in self._places}
        fetched: Fetched = {}
        for place, read in (await self._ask("fetch", self._read, starts, limit)).items():
            if read is None:
                self._positions[place] = await self._first(place)
            # What was fetched before a seek or a rebalance is nobody's.
            elif self._positions.get(place) == starts[place]:
                self._positions[place] = read.following
                if read.entries:
                    fetched[place] = [_record(place, entry) for entry in read.entries]
        return fetched

    def _read(self, starts: Mapping[TopicPartition, int], limit: int | None) -> dict[TopicPartition, Read | None]:
        """One request for all; None for an offset that is not there."""
        found: dict[TopicPartition, Read | None] = {}
        for place, start in starts.items():
            try:
                found[place] = self._broker.fetch(place, start, self._committed_only, limit)
            except OffsetOutOfRangeError:
                found[place] = None
        return found

    async def _changed(self, places: Sequence[TopicPartition], seconds: float) -> None:
        if any(self._broker.end(place, self._committed_only) > self._positions.get(place, 0) for place in places):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for place in places:
            self._broker.log(place).wait(waiter)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiter, seconds)

    # --- the group -----------------------------------------------------------------------------

    def subscribe(self, topics: Collection[str], *, listener: Any = None) -> None:
        """Take part in the group from `start` on. The listener is aiokafka's ConsumerRebalanceListener."""
        if self._group is None or self._membership is not None:
            raise IllegalStateError("a subscription asks for a group_id, and comes before the start")
        self._topics, self._listener = tuple(topics), listener

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Raises CommitFailedError where the group has gone on without this member."""
        for place in offsets:
            self._assigned(place)
        try:
            await self._ask("commit", self._broker.commit, self._group, self._member, self.generation, dict(offsets))
        except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
            self._rejoin.set()
            raise CommitFailedError("the group has already rebalanced") from error

    async def committed(self, partition: TopicPartition) -> int | None:
        return await self._ask("committed", self._broker.committed, self._group, partition)

    async def _take_part(self) -> None:
        while True:
            # Heartbeats go on meanwhile: whoever finishes what it has begun is not dead.
            await self._tell("on_partitions_revoked")
            _cancel(self._heart)
            joined = await self._join()
            self._member, self.generation = joined.member, joined.generation
            self._places, self._positions = joined.places, {}
            self._heart = asyncio.get_running_loop().create_task(self._beat())
            await self._tell("on_partitions_assigned")
            await self._rejoin.wait()

    async def _tell(self, what: str) -> None:
        if self._listener is not None:
            await getattr(self._listener, what)(set(self._places))

    async def _join(self) -> Joined:
        """Waits for the other members, who learn of it by their heartbeats."""
        self._rejoin.clear()
        while True:
            try:
                joined = await self._ask("join", self._broker.join, self._group, self._member, self._topics, self._times)
                return await joined
            except UnknownMemberIdError:
                self._member = ""

    async def _beat(self) -> None:
        while self._member:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self._ask("heartbeat", self._broker.heartbeat, self._group, self._member, self.generation)
            except (RebalanceInProgressError, IllegalGenerationError):
                self._rejoin.set()
            except UnknownMemberIdError:
                self._member = ""
                self._rejoin.set()

    async def _ask(self, name: str, operation: Callable[..., T], *arguments: Any) -> T:
        return await self._network.request(self._client, name, lambda: operation(*arguments))


def _first_at(log: PartitionLog, time_ms: int) -> OffsetAndTimestamp | None:
    for entry in log.entries:
        if entry.message is not None and entry.message.timestamp >= time_ms:
            return OffsetAndTimestamp(entry.offset, entry.message.timestamp)
    return None


def _record(place: TopicPartition, entry: Entry) -> Any:
    message = entry.message
    assert message is not None
    key, value = message.key, message.value
    sizes = (-1 if key is None else len(key), -1 if value is None else len(value))
    return ConsumerRecord(*place, entry.offset, message.timestamp, 0, key, value, None, *sizes, message.headers)


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
