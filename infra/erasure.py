"""Erasing an author: what there is of their words, the end of the keys, the event, and the files that hold plain copies.

Every step may be done again. The tombstone in the key store comes first and is durable before any other; whoever finds it
without its end completes what is missing.
"""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import uuid_utils

from agents.keys import Erasure, TextReader, Unreadable
from agents.log_reading import read_range
from agents.publishing import Place
from infra.datasets import snapshots
from infra.datasets.lineage import Holding
from infra.errors import AssayError
from infra.history.source import Watch
from infra.importing.publish import message, publishing, put
from infra.kafka.reading import ends
from infra.settings import Settings
from infra.times import now
from infra.wiring import bootstrap, key_store
from schemas import events as e
from schemas.catalogue import enveloped
from schemas.events import AnyEvent
from schemas.topics import EVENTS, QUARANTINE
from schemas.wire import Undecodable, decode
from streams.sealed import is_sealed, revision_of, speaker, words_in

SOURCE = "assay/erase"
#: Places of plain words that are named; all are counted.
MAX_PLACES = 20


@dataclass
class Survey:
    """What the log holds of one author's words."""

    author: str
    #: Fields that hold their words, sealed and plain: "text" and "reason".
    sealed: Counter[str] = field(default_factory=Counter)
    plain: Counter[str] = field(default_factory=Counter)
    plain_places: list[str] = field(default_factory=list)
    #: Submissions that they wrote, and of others that they edited.
    written: set[str] = field(default_factory=set)
    edited: set[str] = field(default_factory=set)
    #: Records of the quarantine that hold their words plain, or are no event and name them.
    quarantined: list[str] = field(default_factory=list)
    #: Partitions in which their AuthorErased stands.
    told_in: set[int] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.sealed or self.plain or self.quarantined)

    def note_plain(self, name: str, raw: Any) -> None:
        self.plain[name] += 1
        if len(self.plain_places) < MAX_PLACES:
            self.plain_places.append(f"{raw.topic}/{raw.partition}@{raw.offset}")


class Surveyor:
    """Fills a survey record by record. With a reader it also opens the texts, as long as somebody can."""

    def __init__(self, author: str, texts: TextReader | None = None) -> None:
        self.found = Survey(author)
        self._name = author.encode()
        self._texts = texts

    def feed(self, raw: Any) -> None:
        """One record of the events."""
        value, subject = raw.value or b"", (raw.key or b"").decode("utf-8", "replace")
        if self._name not in value and subject not in self.found.written and subject not in self.found.edited:
            return
        try:
            event = decode(value)
        except Undecodable:
            return
        if isinstance(event.data, e.AuthorErased):
            if event.data.author == self.found.author:
                self.found.told_in.add(raw.partition)
            return
        self._note_subject(event)
        for name, kept in self._words(event):
            if is_sealed(kept):
                self.found.sealed[name] += 1
            else:
                self.found.note_plain(name, raw)
            if name == "text":
                self._keep(event, kept)

    def _note_subject(self, event: AnyEvent) -> None:
        data, found = event.data, self.found
        if isinstance(data, e.SubmissionReceived) and data.writer == found.author:
            found.written.add(event.subject)
        if isinstance(data, e.SubmissionEdited) and data.editor == found.author:
            found.edited.add(event.subject)

    def _words(self, event: AnyEvent) -> list[tuple[str, str]]:
        """What the event holds of this author: their own words, and every edit of what they wrote or had a hand in."""
        theirs = event.subject in self.found.written or event.subject in self.found.edited
        return [
            (words.field, getattr(event.data, words.field))
            for words in words_in(event.subject, event.data)
            if words.by == self.found.author or (words.owner.kind == "edits" and theirs)
        ]

    def _keep(self, event: AnyEvent, kept: str) -> None:
        if self._texts is not None:
            by, text = str(speaker(event.data)), None
            with contextlib.suppress(Unreadable):  # nobody has read it, so that no file has its words
                text = self._texts.read(event.subject, revision_of(event.data), kept, by)
            if text is not None:
                self.found.texts.append(text)

    def feed_quarantined(self, raw: Any) -> None:
        value = raw.value or b""
        if self._name not in value:
            return
        try:
            event = decode(value)
        except Undecodable:
            # Whether its words are sealed is nobody's to say: what is no event is looked at by a person.
            self.found.quarantined.append(f"{raw.topic}/{raw.partition}@{raw.offset}")
            return
        if any(not is_sealed(kept) for _, kept in self._words(event)):
            self.found.quarantined.append(f"{raw.topic}/{raw.partition}@{raw.offset}")


async def survey(brokers: str, author: str, texts: TextReader | None, watch: Watch = lambda done, total: None) -> Survey:
    """Read the events and the quarantine once."""
    surveyor = Surveyor(author, texts)
    events, quarantine = await ends(brokers, EVENTS.name), await ends(brokers, QUARANTINE.name)
    total, done = sum(events.values()) + sum(quarantine.values()), 0
    for places, feed in ((events, surveyor.feed), (quarantine, surveyor.feed_quarantined)):
        for place, end in sorted(places.items()):
            async for batch in read_range(brokers, place, 0, end):
                for raw in batch:
                    feed(raw)
                done += len(batch)
                watch(done, total)
    return surveyor.found


@dataclass
class Outcome:
    """What an erasure did, or would do; `state`: erased, completed, erased_before, or would_be_erased."""

    author: str
    state: str
    #: None where nothing was done yet.
    event: str | None
    time: str | None
    submissions: int
    edited_submissions: int
    sealed_texts: int
    sealed_reasons: int
    keys_destroyed: int
    #: Fields with plain words, which no key makes unreadable, and where the first of them stand.
    plain_left: int
    plain_places: list[str]
    quarantined_left: list[str]

    @property
    def holds(self) -> bool:
        return not self.plain_left and not self.quarantined_left


async def erased_in_log(brokers: str) -> set[str]:
    """Everybody of whom the log says that they were erased. Reads headers and keys alone."""
    found = set[str]()
    for place, end in (await ends(brokers, EVENTS.name)).items():
        async for batch in read_range(brokers, place, 0, end):
            for raw in batch:
                if any(value and value.startswith(b"assay.AuthorErased.") for name, value in raw.headers if name == "ce_type"):
                    found.add((raw.key or b"").decode("utf-8", "replace"))
    return found


def look(settings: Settings, author: str, open_texts: bool = False, watch: Watch = lambda done, total: None) -> Survey:
    """What there is to erase. Raises AssayError for a person of whom nothing is known."""
    keys = key_store(settings)
    found = asyncio.run(survey(bootstrap(settings), author, TextReader(keys) if open_texts else None, watch))
    if found.is_empty and not keys.keys_of(author) and keys.erasure(author) is None:
        raise AssayError("nobody of this name said anything", got=author, hint="`assay annotators list` has the people")
    return found


def would_erase(settings: Settings, found: Survey) -> Outcome:
    keys = key_store(settings)
    before = keys.erasure(found.author)
    state = "erased_before" if before is not None and before.done else "would_be_erased"
    count = len(keys.keys_of(found.author, found.written)) if before is None else 0
    return _told(found, state, before, count)


def erase(settings: Settings, found: Survey, reason: str | None) -> Outcome:
    """Destroy the keys, and say so in every partition. Raises AssayError for a reason that no event can hold. What else
    holds plain copies is for the caller to end, who then calls `complete`."""
    keys = key_store(settings)
    before = keys.erasure(found.author)
    erasure = before or _new(found, reason)
    event = _event(erasure)
    count = keys.destroy(_with_subjects(erasure, found))
    asyncio.run(_tell(bootstrap(settings), event, found.told_in))
    fresh = "erased" if before is None else "completed" if not before.done or count else "erased_before"
    return _told(found, fresh, erasure, count)


def purge(settings: Settings, author: str, held: Holding) -> None:
    """Mark a snapshot as one that held the author's texts, and remove its data files; manifest and mark stay. Interrupted, it
    is found again by its mark."""
    snapshots.taint(settings, held.snapshot, author, held.rows)
    manifest = snapshots.load(settings, held.snapshot)
    for file in manifest.files:
        (held.path / file.path).unlink(missing_ok=True)


def complete(settings: Settings, author: str) -> None:
    keys = key_store(settings)
    known = keys.erasure(author)
    if known is not None and not known.done:
        keys.done(author)


def _new(found: Survey, reason: str | None) -> Erasure:
    return Erasure(found.author, str(uuid_utils.uuid7()), now().isoformat(), reason, tuple(sorted(found.written)))


def _with_subjects(erasure: Erasure, found: Survey) -> Erasure:
    subjects = tuple(sorted({*erasure.subjects, *found.written}))
    return Erasure(erasure.author, erasure.event, erasure.time, erasure.reason, subjects)


def _event(erasure: Erasure) -> AnyEvent:
    from pydantic import ValidationError

    try:
        data = e.AuthorErased(author=erasure.author, reason=erasure.reason)
        return enveloped(erasure.event, SOURCE, erasure.author, datetime.fromisoformat(erasure.time), data)
    except ValidationError as error:
        first = error.errors()[0]
        raise AssayError("no event can say this", where=first["loc"][-1], got=first["msg"]) from error


async def _tell(brokers: str, event: AnyEvent, told_in: set[int]) -> None:
    """One copy in each partition that has none."""
    places: list[Place] = [place for place in await ends(brokers, EVENTS.name) if place[1] not in told_in]
    made = message(event)
    async with publishing(brokers) as publisher:
        for place in places:
            put(publisher, place, made)


def _told(found: Survey, state: str, erasure: Erasure | None, count: int) -> Outcome:
    return Outcome(
        author=found.author,
        state=state,
        event=erasure.event if erasure else None,
        time=erasure.time if erasure else None,
        submissions=len(found.written),
        edited_submissions=len(found.edited),
        sealed_texts=found.sealed["text"],
        sealed_reasons=found.sealed["reason"],
        keys_destroyed=count,
        plain_left=sum(found.plain.values()),
        plain_places=found.plain_places,
        quarantined_left=found.quarantined,
    )
