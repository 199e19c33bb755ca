"""A broker in memory, desks on it, and facts told to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from agents.clients import new_producer
from agents.keys import KeyStore
from agents.log_reading import read_range
from agents.publishing import Publisher, delivered, partition_of
from infra.assignment.desk import Desk
from infra.assignment.quick import answered_quickly
from infra.assignment.routes import queue_routes, taken
from infra.http.application import application
from infra.kafka.reading import ends
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from schemas import events as e
from schemas.catalogue import EVENT_TYPES, TYPE_OF
from schemas.events import EVENT, AnyEvent
from schemas.identity import event_id, unix_milliseconds
from schemas.policy import Policy
from schemas.topics import ASSIGNMENTS, FACT_TOPICS
from schemas.wire import decode, encode
from schemas.words import Frozen, Origin

PARTITIONS = 2
START = datetime(2026, 1, 1, tzinfo=UTC)
SLICE = "en/general/writing"
_numbers = count(1)


def event(subject: str, data: Frozen, seconds: float = 0.0, id_: str | None = None) -> AnyEvent:
    """This data as an event some seconds after the start, with an id of its own."""
    time, type_ = START + timedelta(seconds=seconds), TYPE_OF[type(data)]
    id_ = id_ or event_id(time, "tests", next(_numbers))
    # Origins count by who derived a fact.
    source = "assay/annotators" if isinstance(data, e.AnnotatorFlagged | e.AnnotatorCleared) else "assay/tests"
    about = {"id": id_, "type": type_, "source": source, "subject": subject, "time": time}
    return EVENT.validate_python({**about, "data": data})


def received(writer: str = "wendy", slice_: str = SLICE, prompt: str | None = None, text: str = "A text.") -> Frozen:
    kind = "prompt" if prompt is None else "completion"
    about: dict[str, Any] = {"kind": kind, "writer": writer, "slice": slice_, "text": text, "prompt": prompt}
    return e.SubmissionReceived(project="p", provenance="human", **about)


def vote(voter: str, revision: int = 1, label: str = "good", reason: str | None = None) -> Frozen:
    return e.VoteCast(revision=revision, voter=voter, label=label, reason=reason)


_offsets = count(1)


def origin() -> Origin:
    """Each later than the one before."""
    return Origin(partition=0, offset=next(_offsets), index=0)


def reached(verdict: str, revision: int = 1) -> Frozen:
    decided: dict[str, Any] = {"label": "good", "confidence_permille": 950, "because": "confidence", "policy_version": 0}
    weighed: dict[str, Any] = {"model": "majority", "skills_version": 0, "log_odds_milli_nats": 0}
    about: dict[str, Any] = {"project": "p", "revision": revision, "verdict": verdict, "decided_by": (), **decided, **weighed}
    return e.VerdictReached(origin=origin(), good_votes=2, bad_votes=0, **about)


def requested(votes_live: int, confidence: int = 700, because: str = "unsure", revision: int = 1) -> Frozen:
    about: dict[str, Any] = {"project": "p", "revision": revision, "because": because, "label": "good", "log_odds_milli_nats": 0}
    sure = {"confidence_permille": confidence, "confidence_needed_permille": 900}
    return e.OverlapRequested(origin=origin(), votes_needed=1, votes_live=votes_live, **about, **sure)


def applied(version: int = 1, **thresholds: Any) -> Frozen:
    return e.PolicyApplied(project="p", version=version, policy=Policy(**thresholds), applied_by="ops", reason="a test")


_ABOUT: dict[str, Any] = {"project": "p", "against": 5, "total": 5, "limit_permille": 300, "policy_version": 0}


def flagged(action: Any, rule: Any = "golden", task: Any = "review") -> Frozen:
    return e.AnnotatorFlagged(origin=origin(), rule=rule, task=task, action=action, **_ABOUT)


def cleared(rule: Any, task: Any) -> Frozen:
    return e.AnnotatorCleared(origin=origin(), rule=rule, task=task, reason="recovered", **_ABOUT)


def enrolled(edits: bool = False, **named: Any) -> Frozen:
    return e.AnnotatorEnrolled(project="p", edits=edits, enrolled_by="ops", **named)


def golden(revision: int = 1) -> Frozen:
    return e.GoldenAnswerSet(revision=revision, label="bad", set_by="ops")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START + timedelta(days=1)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class World:
    """One log."""

    address: str
    clock: Clock = field(default_factory=Clock)
    #: Of nobody: nothing is sealed here.
    keys: KeyStore = field(default_factory=lambda: KeyStore(Path("/nonexistent/keys")))
    _desks: Iterator[int] = field(default_factory=lambda: count(1))

    async def tell(self, *facts: tuple[str, Frozen]) -> None:
        """Write these facts, one after the other, each on its topic."""
        producer = new_producer(f"{self.address}/teller")
        await producer.start()
        publisher = Publisher(producer)
        for subject, data in facts:
            (topic, *_) = EVENT_TYPES[TYPE_OF[type(data)]].topics
            topic = next((one for one in EVENT_TYPES[TYPE_OF[type(data)]].topics if one.name == "assay.events.v1"), topic)
            said = event(subject, data, next(_numbers) / 1_000)
            place = (topic.name, partition_of(subject, PARTITIONS))
            publisher.add(place, subject.encode(), encode(said), unix_milliseconds(said.time), [])
        await delivered(await publisher.send_all())
        await producer.stop()

    @contextlib.asynccontextmanager
    async def desk(self, patience_ms: int = 600_000, operator_token: str = "") -> AsyncIterator["Served"]:
        """A desk that serves, killed at the end of the block as a process is."""
        desk = Desk(f"{self.address}/desk-{next(self._desks)}", self.keys, patience_ms, self.clock)
        running = asyncio.create_task(desk.run())
        app = application([queue_routes(desk, {}, operator_token)], desk.report)
        answered_quickly(app, partial(taken, desk, {}))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as client:
            waiting = asyncio.create_task(desk.ready.wait())
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=30)
            yield Served(desk, running, client)
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        desk.texts.close()

    async def assignments(self) -> list[AnyEvent]:
        """All that stands on the leases' topic, partition by partition."""
        found: list[AnyEvent] = []
        for place, end in (await ends(f"{self.address}/reader", ASSIGNMENTS.name)).items():
            async for batch in read_range(f"{self.address}/reader", place, 0, end):
                found += [decode(raw.value) for raw in batch]
        return found


@dataclass
class Served:
    """A running desk and its HTTP interface."""

    desk: Desk
    running: asyncio.Task[None]
    client: httpx.AsyncClient

    async def next(self, annotator: str, **wish: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/queue/next", json={"annotator": annotator, **wish})
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def one(self, annotator: str, **wish: Any) -> str:
        """The subject that this person gets; else why not."""
        said = await self.next(annotator, **wish)
        return str(said["leases"][0]["subject"] if said["leases"] else said["nothing"]["code"])

    async def until(self, is_so: Any) -> None:
        """Wait until the desk has read something."""
        async with asyncio.timeout(20):
            while not is_so(self.desk.state):  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@contextlib.contextmanager
def world() -> Iterator[World]:
    broker = MemoryBroker()
    for topic in FACT_TOPICS:
        broker.create_topic(topic.name, PARTITIONS)
    with serving("assignment", broker) as address:
        yield World(address)
