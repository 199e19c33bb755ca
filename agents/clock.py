"""The clock: says every full hour in every partition where deadlines and expiries wait for it, since a fold has none of its own.

One is enough. The event of an hour is the same whoever says it, and folds pass over an hour that they know.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

from agents.clients import Producer, new_producer
from agents.publishing import Publisher, delivered, fact_headers
from schemas.catalogue import TYPE_OF
from schemas.events import EVENT, ClockTicked
from schemas.identity import event_id, unix_milliseconds
from schemas.topics import EVENTS, JUDGEMENTS
from schemas.wire import encode

SOURCE = "assay/clock"
KEY = "clock"
#: Where a tick stands in every partition.
TICKED = (EVENTS, JUDGEMENTS)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Ticks at once, and then with every full hour of `now`."""

    def __init__(self, brokers: str, now: Callable[[], datetime] = utc_now) -> None:
        self._producer: Producer = new_producer(brokers)
        self._now = now

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises what the broker refuses."""
        while not stop.is_set():
            hour = await self.tick()
            left = hour + timedelta(hours=1) - self._now()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, left.total_seconds()))

    async def tick(self) -> datetime:
        """Say the last full hour everywhere; returns it, once it is durable."""
        hour = self._now().replace(minute=0, second=0, microsecond=0)
        id_, type_, time_ms = event_id(hour, SOURCE), TYPE_OF[ClockTicked], unix_milliseconds(hour)
        about = {"id": id_, "type": type_, "source": SOURCE, "subject": KEY, "time": hour, "data": ClockTicked(until=hour)}
        value = encode(EVENT.validate_python(about))
        publisher = Publisher(self._producer)
        for topic in TICKED:
            for partition in await self._producer.partitions_for(topic.name):
                publisher.add((topic.name, partition), KEY.encode(), value, time_ms, fact_headers(id_, type_))
        await delivered(await publisher.send_all())
        return hour
