"""The analysis agent: what a model sees in each text, recorded once as `SubmissionAnalysed`.

It runs in a group of its own, since embedding is a thousand times slower than folding. A crash may analyse a text
twice; the fold counts the first analysis of a revision, so nothing depends on two runs of a model being equal.
"""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Any, NamedTuple

import orjson
import uuid_utils

from agents.clients import Producer, new_producer
from agents.embedding import Analysis, Embedder, load_embedder
from agents.keys import TextReader, Unreadable
from agents.partition import Status
from agents.publishing import Publisher, delivered, fact_headers
from agents.quarantine import Quarantine, TooManyRefused, written_by_later
from agents.settings import WorkerSettings
from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.topics import EVENTS
from schemas.wire import TooNew, Undecodable, decode
from streams.projection import Refusal
from streams.sealed import revision_of, speaker

_ANALYSED = TYPE_OF[e.SubmissionAnalysed]
_TEXT_TYPES = (b"assay.SubmissionReceived.", b"assay.SubmissionEdited.")

#: Texts embedded and recorded at once: a batch may hold thousands, and each takes milliseconds.
CHUNK_TEXTS = 256
#: Analyses kept in memory for texts that come again.
KNOWN_TEXTS = 10_000


class Wanted(NamedTuple):
    """A revision to be analysed, and where its analysis belongs."""

    subject: str
    revision: int
    text: str
    time: Any
    #: Who wrote the text.
    by: str
    #: The record that it came in.
    raw: Any

    @property
    def partition(self) -> int:
        return int(self.raw.partition)


def wanted(records: list[Any], too_new: str = "stop") -> list[Wanted]:
    """The texts among these records, as the log has them. Others are skipped by their bytes, undecodable ones are the fold's
    to report.

    Raises WrittenByLater, unless the fold sets such records aside: a text of a later version waits for a worker that reads it.
    """
    found: list[Wanted] = []
    for raw in records:
        # Anywhere in it: others may write the data before the type.
        value = raw.value or b""
        if not any(type_ in value for type_ in _TEXT_TYPES):
            continue
        try:
            event = decode(value)
        except TooNew as error:
            if too_new == "stop":
                raise written_by_later("analysis", raw, error) from None
            continue
        except Undecodable:
            continue
        if isinstance(event.data, e.SubmissionReceived | e.SubmissionEdited):
            revision, by = revision_of(event.data), str(speaker(event.data))
            found.append(Wanted(event.subject, revision, event.data.text, event.time, by, raw))
    return found


def event_bytes(want: Wanted, analysis: Analysis, id_: str) -> bytes:
    data = {"revision": want.revision, **analysis._asdict()}
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "type": _ANALYSED,
        "source": "assay/analysis",
        "subject": want.subject,
        "time": want.time,
        "datacontenttype": "application/json",
        "data": data,
    }
    return orjson.dumps(envelope, option=orjson.OPT_UTC_Z)


class AnalysisRunner:
    """Embeds each new text and writes what it found into the partition that the text came from."""

    def __init__(self, settings: WorkerSettings, fatal: Callable[[BaseException], None]) -> None:
        self._settings = settings
        self._fatal = fatal
        self._producer: Producer | None = None
        self._publisher: Publisher
        self._quarantine: Quarantine
        self._embedder: Embedder | None = None
        self._texts = TextReader(settings.keys)
        #: Texts come again: placeholders of imported sets, boilerplate, edits that were undone.
        self._known: dict[str, Analysis] = {}

    async def run(self, stream: AsyncIterable[Any]) -> None:
        """Handle a stream of Faust events whose values are batches, until it ends."""
        try:
            async for event in stream:
                await self._batch(event.value)
                event.ack()
        except Exception as error:
            self._fatal(error)

    async def _batch(self, records: list[Any]) -> None:
        await self._connect()
        readable, refused = self._opened(wanted(records, self._settings.too_new))
        for want, refusal in refused:
            self._quarantine.put(want.raw, refusal)
        try:
            self._quarantine.check(records)
        except TooManyRefused:
            await delivered(await self._publisher.send_all())
            raise
        await self._analyse(readable)
        await delivered(await self._publisher.send_all())

    async def keep(self, partitions: set[int]) -> None:
        """Nothing is held between batches."""

    async def revoke(self) -> None:
        """A batch is acknowledged once it is done."""

    def status(self) -> list[Status]:
        """There is no state to recover."""
        return []

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    def _opened(self, texts: list[Wanted]) -> tuple[list[Wanted], list[tuple[Wanted, Refusal]]]:
        """The texts as people wrote them, without those that were erased before their turn came; and those that nobody sealed
        here, which one record of anybody's is enough for. Raises KeyTrouble where no text can be read."""
        found, refused = list[Wanted](), list[tuple[Wanted, Refusal]]()
        for want in texts:
            try:
                text = self._texts.read(want.subject, want.revision, want.text, want.by)
            except Unreadable as error:
                refused.append((want, Refusal("unreadable", f"{error.what}: bring its key, then `assay quarantine replay`")))
                continue
            if text is not None:
                found.append(want._replace(text=text))
        return found, refused

    async def _analyse(self, texts: list[Wanted]) -> None:
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = texts[start : start + CHUNK_TEXTS]
            found = await asyncio.to_thread(self._embed, [want.text for want in chunk])
            await self._record(chunk, found)

    async def _connect(self) -> None:
        if self._producer is None:
            producer = new_producer(self._settings.brokers)
            await producer.start()
            self._producer, self._publisher = producer, Publisher(producer)
            self._quarantine = Quarantine(self._publisher, "analysis", self._settings)

    def _embed(self, texts: list[str]) -> list[Analysis]:
        if self._embedder is None:
            self._embedder = load_embedder(self._settings.embedder)
        if len(self._known) > KNOWN_TEXTS:
            self._known.clear()
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(fresh, self._embedder.analyse(fresh), strict=True)
        return [self._known[text] for text in texts]

    async def _record(self, chunk: list[Wanted], found: list[Analysis]) -> None:
        for want, analysis in zip(chunk, found, strict=True):
            id_ = str(uuid_utils.uuid7())
            time = max(0, int(want.time.timestamp() * 1000))
            value = event_bytes(want, analysis, id_)
            place = (EVENTS.name, want.partition)
            self._publisher.add(place, want.subject.encode(), value, time, fact_headers(id_, _ANALYSED))
        await delivered(await self._publisher.send_all())
