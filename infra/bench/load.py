"""A load shaped like real work: submissions are received, voted on until that is enough, sometimes edited, and done.

Each event goes to one of the open subjects, drawn at random. A subject is received, then gets votes (70 % of texts are
good, and a voter sees that with 85 %) until they are two ahead of the others or five: what the default policy waits for.
2 % of what comes after the first vote is an edit, which asks for all votes anew. A subject that has enough leaves, and
the next one takes its place; 2 % get one vote more just then, and 1 % of all events are sent a second time a little
later. So of all events some 27 % are received, 70 % votes, 1 % edits, 1 % duplicates.

`uniform` is the same with a fixed set of subjects that are never done: votes go on as long as events do.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from agents.clients import new_producer
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from schemas.catalogue import TYPE_OF
from schemas.identity import event_id
from schemas.topics import EVENTS

START = datetime(2026, 1, 1, tzinfo=UTC)
VOTERS = 2_000
WRITERS = 500
TEXT = "The quick answer is that it depends on what the reader already knows about it."
#: How many events later the same event comes again, when it does.
AGAIN_AFTER = 1_000

_TYPES = {model.__name__: type_ for model, type_ in TYPE_OF.items()}
#: (subject, event type, id, JSON bytes)
Line = tuple[str, str, str, bytes]


@dataclass(slots=True)
class Subject:
    """One open subject, as whoever serves tasks knows it."""

    name: str
    is_good: bool
    revision: int = 0
    good: int = 0
    votes: int = 0

    @property
    def enough(self) -> bool:
        return abs(2 * self.good - self.votes) >= 2 or self.votes >= 5


def lines(events: int, subjects: int, seed: int, uniform: bool = False) -> Iterator[Line]:
    """`events` events with `subjects` subjects open at a time (`uniform`: in all). The same seed gives the same bytes,
    and a shorter load is the beginning of a longer one."""
    chance = random.Random(seed)
    again: dict[int, Line] = {}
    tasks = _tasks(subjects, chance, uniform)
    for number in range(events):
        line = again.pop(number, None)
        if line is None:
            line = _line(START + timedelta(milliseconds=100 * number), seed, number, *next(tasks))
            if chance.random() < 0.01:
                again[number + 1 + chance.randrange(AGAIN_AFTER)] = line
        yield line


Task = tuple[str, str, dict[str, object]]


def _tasks(subjects: int, chance: random.Random, uniform: bool) -> Iterator[Task]:
    """Subject, event and data of each next thing that somebody does, for ever."""
    open_: list[Subject | None] = [None] * subjects
    received = 0
    while True:
        slot = chance.randrange(subjects)
        subject = open_[slot]
        if subject is None:
            subject = open_[slot] = Subject(f"s-{received:07d}", chance.random() < 0.7)
            received += 1
        yield _next_of(subject, chance)
        if not uniform and subject.enough:
            open_[slot] = None
            if chance.random() < 0.02:
                yield subject.name, "VoteCast", _vote(subject, chance)


def _next_of(subject: Subject, chance: random.Random) -> Task:
    if not subject.revision:
        subject.revision = 1
        return subject.name, "SubmissionReceived", _submission(chance)
    if subject.votes and chance.random() < 0.02:
        subject.revision, subject.good, subject.votes = subject.revision + 1, 0, 0
        return subject.name, "SubmissionEdited", _edit(subject, chance)
    return subject.name, "VoteCast", _vote(subject, chance)


def _submission(chance: random.Random) -> dict[str, object]:
    skill = ("writing", "extraction", "coding")[chance.randrange(3)]
    writer = f"w-{chance.randrange(WRITERS)}"
    about = {"project": "bench", "kind": "completion", "writer": writer, "slice": f"en/general/{skill}"}
    return {**about, "text": TEXT, "provenance": "human"}


def _edit(subject: Subject, chance: random.Random) -> dict[str, object]:
    return {"revision": subject.revision, "editor": f"e-{chance.randrange(50)}", "text": TEXT}


def _vote(subject: Subject, chance: random.Random) -> dict[str, object]:
    good = subject.is_good == (chance.random() < 0.85)
    subject.votes += 1
    subject.good += good
    voter = f"v-{chance.randrange(VOTERS)}"
    label, milliseconds = "good" if good else "bad", chance.randrange(60_000)
    return {"revision": subject.revision, "voter": voter, "label": label, "duration_milliseconds": milliseconds}


def _line(time: datetime, seed: int, number: int, subject: str, name: str, data: dict[str, object]) -> Line:
    type_, id_ = _TYPES[name], event_id(time, "bench", seed, number)
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "type": type_,
        "source": "assay/bench",
        "subject": subject,
        "time": time,
        "data": data,
    }
    return subject, type_, id_, orjson.dumps(envelope, option=orjson.OPT_UTC_Z)


Between = Callable[[Publisher, int], None]


async def publish(
    brokers: str, partitions: int, load: Iterator[Line], topic: str = EVENTS.name, between: Between | None = None
) -> int:
    """Write the load to a topic; returns the number of bytes. Before each event `between` may add others, by its number."""
    producer = new_producer(brokers)
    await producer.start()
    try:
        publisher, total = Publisher(producer), 0
        for number, (subject, type_, id_, value) in enumerate(load):
            if between is not None:
                between(publisher, number)
            place = (topic, partition_of(subject, partitions))
            publisher.add(place, subject.encode(), value, 1, fact_headers(id_, type_))
            total += len(value)
            if number % 5_000 == 0:
                await publisher.send()
        await delivered(await publisher.send_all())
        return total
    finally:
        await producer.stop()
