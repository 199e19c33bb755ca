"""`assay.runs.v1` from outside: what was sealed, trained and evaluated is said there, and read from there."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from agents.publishing import partition_of
from infra.history.kafka import KafkaHistory
from infra.importing.publish import message, publishing, put
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.wiring import bootstrap
from schemas.catalogue import TYPE_OF
from schemas.events import EVENT, AnyEvent
from schemas.identity import event_id
from schemas.topics import RUNS

SOURCE = "assay/jobs"


def run_event(run: str, data: BaseModel, time: datetime) -> AnyEvent:
    """What a run did, as an event; the same run, time and kind give the same id."""
    type_ = TYPE_OF[type(data)]  # type: ignore[index]
    return EVENT.validate_python(
        {"id": event_id(time, type_, run), "type": type_, "source": SOURCE, "subject": run, "time": time, "data": data}
    )


def said(settings: Settings) -> list[AnyEvent]:
    """All that the log says about runs, oldest first, each event once."""
    return asyncio.run(_said(bootstrap(settings)))


async def _said(brokers: str) -> list[AnyEvent]:
    found: dict[str, Any] = {}
    for (topic, partition), end in (await ends(brokers, RUNS.name)).items():
        async for record in KafkaHistory(brokers).records(topic, partition, end):
            found.setdefault(record.event.id, record.event)
    return sorted(found.values(), key=lambda event: (event.time, event.id))


def announce(settings: Settings, events: Sequence[AnyEvent]) -> int:
    """Say on the log what it does not say yet; returns how many events that were."""
    return asyncio.run(_announce(bootstrap(settings), settings, events)) if events else 0


async def _announce(brokers: str, settings: Settings, events: Sequence[AnyEvent]) -> int:
    await ensure_topics(brokers, settings, (RUNS,))
    known = {event.id for event in await _said(brokers)}
    new = [message(event) for event in events if event.id not in known]
    async with publishing(brokers) as publisher:
        for one in new:
            place = (RUNS.name, partition_of(one.subject, settings.kafka.partitions))
            put(publisher, place, one)
    return len(new)
