"""A load shaped like real work: submissions arrive, a moving window of them is voted on, some are edited."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson

from agents.clients import new_producer
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from schemas.identity import event_id
from schemas.topics import EVENTS

START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW_SUBJECTS = 5_000
VOTERS = 2_000
WRITERS = 500
TEXT = "The quick answer is that it depends on what the reader already knows about it."

#: (subject, event type, id, JSON bytes)
Line = tuple[str, str, str, bytes]


def lines(events: int, subjects: int, seed: int) -> Iterator[Line]:
    """`events` events on `subjects` subjects, each received once; the same seed gives the same bytes."""
    chance = random.Random(seed)
    revisions: dict[str, int] = {}
    window: list[str] = []
    received = 0
    for number in range(events):
        time = START + timedelta(milliseconds=100 * number)
        if received < subjects and received * events <= number * subjects:
            subject = f"s-{received:07d}"
            received += 1
            _remember(window, subject, chance)
            revisions[subject] = 1
            yield _line(time, seed, number, subject, "SubmissionReceived", _submission(chance))
        elif chance.random() < 0.01:
            subject = chance.choice(window)
            revisions[subject] += 1
            data = {"revision": revisions[subject], "editor": f"e-{chance.randrange(50)}", "text": TEXT}
            yield _line(time, seed, number, subject, "SubmissionEdited", data)
        else:
            subject = chance.choice(window)
            yield _line(time, seed, number, subject, "VoteCast", _vote(chance, revisions[subject]))


def _remember(window: list[str], subject: str, chance: random.Random) -> None:
    if len(window) < WINDOW_SUBJECTS:
        window.append(subject)
    else:
        window[chance.randrange(WINDOW_SUBJECTS)] = subject


def _submission(chance: random.Random) -> dict[str, object]:
    skill = ("writing", "extraction", "coding")[chance.randrange(3)]
    writer = f"w-{chance.randrange(WRITERS)}"
    return {"project": "bench", "kind": "completion", "writer": writer, "slice": f"en/general/{skill}", "text": TEXT}


def _vote(chance: random.Random, revision: int) -> dict[str, object]:
    label = "good" if chance.random() < 0.7 else "bad"
    voter = f"v-{chance.randrange(VOTERS)}"
    return {"revision": revision, "voter": voter, "label": label, "duration_milliseconds": chance.randrange(60_000)}


def _line(time: datetime, seed: int, number: int, subject: str, name: str, data: dict[str, object]) -> Line:
    type_, id_ = f"assay.{name}.v1", event_id(time, "bench", seed, number)
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


async def publish(brokers: str, partitions: int, load: Iterator[Line]) -> int:
    """Write the load to the events topic; returns the number of bytes."""
    producer = new_producer(brokers)
    await producer.start()
    try:
        publisher, total = Publisher(producer), 0
        for number, (subject, type_, id_, value) in enumerate(load):
            place = (EVENTS.name, partition_of(subject, partitions))
            publisher.add(place, subject.encode(), value, 1, fact_headers(id_, type_))
            total += len(value)
            if number % 5_000 == 0:
                await publisher.send()
        await delivered(await publisher.send_all())
        return total
    finally:
        await producer.stop()
