"""Writes a load so that every record is in the log at least once, whatever becomes of the broker meanwhile."""

import asyncio
import contextlib
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from agents.clients import Producer, new_producer
from agents.publishing import Publisher
from infra.torture.load import Sent

STOP_SECONDS = 2.0
PAUSE_SECONDS = 0.2


class Writer:
    """Where it is in doubt whether records were stored, it writes them again: the same bytes are one event."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._producer: Producer | None = None
        self.written = 0
        self.rewritten = 0

    async def write(self, records: Sequence[Sent]) -> None:
        """Return once all of these are durable; tries for as long as it takes."""
        while True:
            try:
                await self._attempt(records)
            except (KafkaError, OSError, TimeoutError):
                self.rewritten += len(records)
                await self.close()
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.written += len(records)
                return

    async def _attempt(self, records: Sequence[Sent]) -> None:
        if self._producer is None:
            self._producer = new_producer(self._brokers, request_timeout_ms=10_000)
            await self._producer.start()
        publisher = Publisher(self._producer)
        for sent in records:
            publisher.add((sent.topic, sent.partition), sent.key, sent.value, sent.time_ms, [])
        deliveries = await publisher.send_all()
        # All of them, so that none fails with nobody looking.
        for result in await asyncio.gather(*deliveries, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), STOP_SECONDS)
