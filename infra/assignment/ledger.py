"""Leases into the log, and the certainty that they count there: a desk answers once it has read its own record back.

Kafka acknowledges what any desk writes. Whether it counts is decided by what stands before it in its partition: behind
the DeskOpened of a later desk nothing of an earlier one does. The reader sees that, at the cost of one fetch.
"""

import asyncio
from datetime import datetime

import uuid_utils

from agents.clients import Producer
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from schemas.catalogue import enveloped
from schemas.events import AnyEvent
from schemas.identity import unix_milliseconds
from schemas.topics import ASSIGNMENTS
from schemas.wire import encode
from schemas.words import Frozen

SOURCE = "assay/desk"


class NotReady(Exception):
    """The desk has not caught up with the log, or it ends."""


class Ledger:
    """Writes events of one desk, and tells when each was read back."""

    def __init__(self, producer: Producer, partitions: int) -> None:
        self.partitions = partitions
        self._publisher = Publisher(producer)
        self._added = asyncio.Event()
        self._unread: dict[str, asyncio.Future[None]] = {}

    def add(self, event: AnyEvent, partition: int | None = None) -> asyncio.Future[None]:
        """Have the event written behind those added before; the future is done once `read` was told of it."""
        number = partition_of(event.subject, self.partitions) if partition is None else partition
        # One event may stand in several partitions.
        key = f"{event.id}/{number}"
        self._unread[key] = future = asyncio.get_running_loop().create_future()
        headers, time = fact_headers(event.id, event.type), unix_milliseconds(event.time)
        self._publisher.add((ASSIGNMENTS.name, number), event.subject.encode(), encode(event), time, headers)
        self._added.set()
        return future

    def read(self, event_id: str, partition: int) -> bool:
        """Whether this record is one that was added here; whoever waits for it goes on."""
        future = self._unread.pop(f"{event_id}/{partition}", None)
        if future is not None and not future.done():
            future.set_result(None)
        return future is not None

    async def settled(self, event_id: str, partition_key: str) -> None:
        """Wait until this event was read back, if it is still on its way."""
        future = self._unread.get(f"{event_id}/{partition_of(partition_key, self.partitions)}")
        if future is not None:
            await asyncio.shield(future)

    def abandon(self) -> None:
        """Nobody will read any more: whoever waits is told."""
        for future in self._unread.values():
            if not future.done():
                future.set_exception(NotReady())
                future.exception()  # some wait for nothing, and asyncio would complain
        self._unread = {}

    async def run(self) -> None:
        """Send what is added, all that came meanwhile at once. Raises what the broker refuses."""
        while True:
            await self._added.wait()
            self._added.clear()
            await delivered(await self._publisher.send_all())


def new_id() -> str:
    return str(uuid_utils.uuid7())


def event_of(id_: str, subject: str, time: datetime, data: Frozen) -> AnyEvent:
    return enveloped(id_, SOURCE, subject, time, data)
