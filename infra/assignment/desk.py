"""The desk: reads the log, hands out leases, and ends them. Of all desks on one log the last that was opened counts."""

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from agents.clients import Consumer, new_consumer, new_producer
from agents.keys import KeyStore, Unreadable
from infra import times
from infra.assignment.ledger import Ledger, NotReady, event_of, new_id
from infra.assignment.texts import Texts
from infra.errors import AssayError, Exit
from schemas import events as e
from schemas.identity import unix_milliseconds
from schemas.topics import ANNOTATORS, ASSIGNMENTS, EVENTS, VERDICTS, Topic
from schemas.wire import TooNew, Undecodable
from schemas.words import MAX_VERSION
from streams.assignable import Lease
from streams.assigning import apply, lease_of
from streams.assignment import Ask, Assignment, Choice, Nothing, drawn
from streams.projection import Record, record_of
from streams.sealed import revision_of, speaker

FACTS, LEASES = (EVENTS, VERDICTS, ANNOTATORS), (ASSIGNMENTS,)
#: Records taken in between two turns of everything else.
AT_ONCE = 50
#: Votes and verdicts are fetched together: one fetch for each of them would take the time of those who wait for an answer.
GATHERED: dict[str, int] = {"fetch_min_bytes": 1 << 20, "fetch_max_wait_ms": 50}
#: A vote that was cast in time is read before its lease expires.
GRACE_MS = 2_000
EXPIRY_SECONDS = 0.25
#: Open leases of one person, whose work may be on its way for all but twenty.
MOST_HELD = 40

Clock = Callable[[], datetime]


class Fenced(AssayError):
    """Another desk was opened on the same log."""

    def __init__(self, generation: int) -> None:
        hint = "one desk serves a log: stop this one, or the other and then start this again"
        super().__init__("another desk took over", got=f"generation {generation}", hint=hint, exit_code=Exit.FENCED)


class Handed(NamedTuple):
    """The leases that somebody has now, and why they are not as many as were asked for."""

    leases: list[Lease]
    why: Nothing | None


class Desk:
    """One desk, from `run` to its end."""

    def __init__(self, brokers: str, keys: KeyStore, patience_ms: int = 600_000, clock: Clock = times.now) -> None:
        self.id = new_id()
        self.generation = 0
        self.state = Assignment(patience_ms)
        self.texts = Texts(keys)
        #: Authors of whom the log says that they were erased.
        self._erased: set[str] = set()
        self.ready = asyncio.Event()
        self.have = self.need = 0
        self._brokers = brokers
        self._clock = clock
        self._expiries: list[tuple[int, str]] = []
        self._ledger: Ledger | None = None

    @property
    def now_ms(self) -> int:
        return unix_milliseconds(self._clock())

    def report(self) -> dict[str, Any]:
        """For anybody, and so without its id: with that and a lease's, anybody could tell which tasks are controls."""
        state = "ready" if self.ready.is_set() else "catching up"
        about = {"generation": self.generation, "subjects": len(self.state.subjects)}
        return {"state": state, "have": self.have, "need": self.need, "leases": len(self.state.leases), **about}

    # --- what is asked of it -------------------------------------------------------------------

    async def next(self, ask: Ask, count: int = 1, done: Collection[str] = ()) -> Handed:
        """`count` leases for this person: those that they have, and new ones. `done` names leases whose work is on its
        way: they are not given again. Asking twice gives the same; returns once all of it stands in the log."""
        ledger = self._serving()
        held = [lease for lease in self.state.held_by(ask) if lease.id not in done][:count]
        why: Nothing | None = None
        waiting = []
        while len(held) < count and why is None:
            found = self._grant(ask)
            if isinstance(found, str):
                why = found
            else:
                lease, event = found
                held.append(lease)
                waiting.append(ledger.add(event))
        await asyncio.gather(*waiting, *(ledger.settled(lease.id, lease.subject) for lease in held))
        return Handed(held, why)

    def _grant(self, ask: Ask) -> tuple[Lease, e.AnyEvent] | Nothing:
        """A new lease, which counts here from now on, as the event that will say so."""
        if self.state.open_leases(ask.annotator) >= MOST_HELD:
            return "too_many"
        id_, now = new_id(), self._clock()
        choice = self.state.choose(ask, drawn(self.id, id_), unix_milliseconds(now))
        if not isinstance(choice, Choice):
            return choice
        data = e.LeaseGranted(
            desk=self.id,
            project=choice.project,
            annotator=ask.annotator,
            revision=choice.revision,
            serves=choice.serves,
            until=now + timedelta(milliseconds=choice.lease_ms),
        )
        lease = lease_of(id_, choice.subject, data)
        self._took(lease)
        return lease, event_of(id_, choice.subject, now, data)

    async def release(self, lease_id: str) -> bool:
        """Give a lease back; False where there is no such open lease."""
        self._serving()
        lease = self.state.leases.get(lease_id)
        if lease is None:
            return False
        await self._end(lease, "released")
        return True

    def _serving(self) -> Ledger:
        if self._ledger is None or not self.ready.is_set():
            raise NotReady
        return self._ledger

    def _took(self, lease: Lease) -> None:
        self.state.grant(lease)
        heapq.heappush(self._expiries, (lease.until_ms, lease.id))

    def _end(self, lease: Lease, reason: str) -> "asyncio.Future[None]":
        now = self._clock()
        self.state.end(lease.id, reason, unix_milliseconds(now))
        about: dict[str, Any] = {"project": lease.project, "annotator": lease.annotator, "lease": lease.id, "reason": reason}
        return self._serving().add(event_of(new_id(), lease.subject, now, e.LeaseEnded(desk=self.id, **about)))

    # --- the log -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is cancelled, or fenced, or the log fails it: then raises why."""
        # A lease is small, and compressing one takes longer than it saves.
        producer = new_producer(self._brokers, compression_type=None)
        # Its own leases come back at once, through a consumer that has nothing else to fetch.
        facts, leases = new_consumer(self._brokers, **GATHERED), new_consumer(self._brokers)
        tasks: list[asyncio.Task[None]] = []
        try:
            await asyncio.gather(producer.start(), facts.start(), leases.start())
            await self._catch_up({facts: await _assigned(facts, FACTS), leases: await _assigned(leases, LEASES)})
            self._ledger = Ledger(producer, len(await producer.partitions_for(ASSIGNMENTS.name)))
            works = (self._ledger.run(), self._tail(leases), self._tail(facts), self._open(self._ledger), self._expire())
            tasks = [asyncio.create_task(work) for work in works]
            await _until_one_fails(tasks)
        finally:
            self.ready.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._ledger is not None:
                self._ledger.abandon()
            await asyncio.gather(facts.stop(), leases.stop(), producer.stop())

    async def _catch_up(self, consumers: dict[Consumer, dict[TopicPartition, int]]) -> None:
        self.need = sum(sum(ends.values()) for ends in consumers.values())
        for consumer, ends in consumers.items():
            before = self.have
            behind = {place for place, end in ends.items() if end}
            while behind:
                await self._take(consumer)
                at = {place: await consumer.position(place) for place in ends}
                self.have = before + sum(min(at[place], end) for place, end in ends.items())
                behind = {place for place in behind if at[place] < ends[place]}

    async def _open(self, ledger: Ledger) -> None:
        """Make this the desk that counts, in every partition; then serve."""
        # After the last generation that there is, the later desk counts by its id.
        newest = max((generation for generation, _ in self.state.desks.values()), default=0)
        self.generation = min(newest + 1, MAX_VERSION)
        opened = event_of(self.id, "desk", self._clock(), e.DeskOpened(generation=self.generation))
        await asyncio.gather(*(ledger.add(opened, partition) for partition in range(ledger.partitions)))
        # What earlier desks granted up to here counts, and nothing that they grant from now on.
        self._expiries = [(lease.until_ms, lease.id) for lease in self.state.leases.values()]
        heapq.heapify(self._expiries)
        self.ready.set()
        self._close_what_is_over()

    async def _tail(self, consumer: Consumer) -> None:
        while True:
            await self._take(consumer)
            if self.ready.is_set():
                self._close_what_is_over()

    async def _take(self, consumer: Consumer) -> None:
        """Everything that was fetched, or a part where it is much: only then is all of it fetched at once again."""
        for place, raws in (await consumer.getmany(timeout_ms=500)).items():
            for number, raw in enumerate(raws):
                self._read(place.topic, raw)
                if number % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)

    def _read(self, topic: str, raw: Any) -> None:
        try:
            record = record_of(raw.partition, raw.offset, raw.value or b"")
        except TooNew as error:
            where, hint = f"{topic}/{raw.partition}@{raw.offset}", "upgrade Assay"
            raise AssayError("a later version of Assay wrote this", where, error, hint, Exit.FAILED) from None
        except Undecodable:
            return
        if topic == ASSIGNMENTS.name:
            self._read_assignment(record)
            return
        apply(self.state, record)
        if isinstance(record.event.data, e.SubmissionReceived | e.SubmissionEdited):
            self._keep_text(record.event.subject, record.event.data)
        elif isinstance(record.event.data, e.AuthorErased):
            self._erase(record.event.data.author)

    def _read_assignment(self, record: Record) -> None:
        if isinstance(record.event.data, e.DeskOpened):
            apply(self.state, record)
            if self.generation and self.state.desks[record.partition] > (self.generation, self.id):
                raise Fenced(record.event.data.generation)
        if self._ledger is None or not self._ledger.read(record.event.id, record.partition):
            apply(self.state, record)

    def _keep_text(self, subject: str, data: e.SubmissionReceived | e.SubmissionEdited) -> None:
        revision = revision_of(data)
        if self.state.subjects[subject].revision == revision:
            self.texts.put(subject, revision, data.text, str(speaker(data)))
            self.state.erase(subject, self._is_erased(subject))

    def _erase(self, author: str) -> None:
        self._erased.add(author)
        self.texts.look()
        for name in self.texts:
            if self._is_erased(name):
                self.state.erase(name)

    def _is_erased(self, subject: str) -> bool:
        """By the key store, or by the log alone: an old key store that was brought back opens what the log says is erased."""
        row = self.state.subjects[subject]
        return self.texts.is_erased(subject) or row.writer in self._erased or row.editor in self._erased

    def text(self, subject: str) -> str | None:
        """What people are shown: "" for a submission that never came, None for one that was erased."""
        row = self.state.subjects.get(subject)
        if row is not None and row.erased:
            return None
        try:
            return self.texts.get(subject)
        except Unreadable:
            # Somebody wrote it to the log who has no key of ours. Whoever holds it sees nothing; it goes to nobody else.
            self.state.erase(subject)
            return None

    def _close_what_is_over(self) -> None:
        for lease, reason in self.state.endings():
            self._end(lease, reason)

    async def _expire(self) -> None:
        await self.ready.wait()
        while True:
            late = self.now_ms - GRACE_MS
            while self._expiries and self._expiries[0][0] < late:
                lease = self.state.leases.get(heapq.heappop(self._expiries)[1])
                if lease is not None:
                    self._end(lease, "expired")
            await asyncio.sleep(EXPIRY_SECONDS)


async def _assigned(consumer: Consumer, topics: Iterable[Topic]) -> dict[TopicPartition, int]:
    """Give it every partition of these, from the beginning; where each ends now."""
    places = [
        TopicPartition(topic.name, number) for topic in topics for number in sorted(await consumer.partitions_for(topic.name))
    ]
    consumer.assign(places)
    return await consumer.end_offsets(places)


async def _until_one_fails(tasks: Iterable[asyncio.Task[None]]) -> None:
    finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in finished:
        task.result()
