"""The skills loop on Apache Kafka: votes -> judgements -> counts -> skills -> weights of votes."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agents.log_reading import read_range
from agents.skills import Skills
from infra.history.kafka import KafkaHistory
from infra.importing.publish import message, publish
from infra.kafka.reading import ends, live_state
from schemas.catalogue import TYPE_OF
from schemas.events import EVENT, AnyEvent, GoldenAnswerSet, SubmissionReceived, VerdictReached, VoteCast
from schemas.identity import event_id
from schemas.topics import ANNOTATORS, EVENTS, VERDICTS
from schemas.words import Frozen
from streams.review import REVIEW
from tests.agents.workers import PARTITIONS, settle, verified, worker

START = datetime(2026, 5, 1, tzinfo=UTC)
VOTERS = ("ann", "ben", "cleo", "dan", "spam")


def event(number: int, subject: str, data: Frozen) -> AnyEvent:
    time, type_ = START + timedelta(seconds=number), TYPE_OF[type(data)]
    about = {"id": event_id(time, "test", number), "type": type_, "source": "test", "subject": subject, "time": time}
    return EVENT.validate_python({**about, "data": data})


def crowd(first: int, subjects: range, voters: int, golden: int) -> list[AnyEvent]:
    """Four voters who are right nine times of ten, and one who always says good; the first subjects are golden tasks."""
    chance, told = random.Random(1), list[tuple[str, Frozen]]()
    for number in subjects:
        subject, right = f"s-{number}", ("good", "bad")[number % 2]
        about = {"project": "loop", "kind": "prompt", "writer": "writer", "slice": "en/general/writing"}
        told.append((subject, SubmissionReceived(**about, text="?", provenance="human")))
        if number < golden:
            told.append((subject, GoldenAnswerSet(revision=1, label=right, set_by="lead")))
        for voter in VOTERS[-voters:]:
            said = right if chance.random() < 0.9 else ("bad", "good")[number % 2]
            told.append((subject, VoteCast(revision=1, voter=voter, label="good" if voter == "spam" else said)))
    return [event(first + number, *one) for number, one in enumerate(told)]


def send(brokers: str, events: list[AnyEvent]) -> None:
    asyncio.run(publish(brokers, PARTITIONS, map(message, events)))


def estimated(brokers: str) -> int:
    """How many control records each partition gets from an estimator that starts now."""

    async def once() -> int:
        skills = Skills(brokers, 1.0)
        try:
            await skills.start()
            told = await skills.estimate()
            assert await skills.estimate() == 0, "nothing has changed since"
            return told
        finally:
            await skills.close()

    return asyncio.run(once())


def copies(brokers: str) -> dict[tuple[str, int], list[str]]:
    """Ids of skills by partition, in order."""

    async def read() -> dict[tuple[str, int], list[str]]:
        found: dict[tuple[str, int], list[str]] = {}
        for place, end in (await ends(brokers, EVENTS.name, ANNOTATORS.name)).items():
            found[place] = []
            async for batch in read_range(brokers, place, 0, end):
                told = [dict(record.headers) for record in batch]
                found[place] += [one["ce_id"].decode() for one in told if b"SkillsEstimated" in one["ce_type"]]
        return found

    return asyncio.run(read())


def weights(brokers: str) -> tuple[int, dict[str, list[int]]]:
    """Version and weights of the champion, as review has them."""
    state, _ = asyncio.run(live_state(brokers, REVIEW, 0))
    champion = next(row for key, row in state.shared.items() if key.startswith("~skills/loop/review/") and row["champion"])
    return champion["version"], champion["weights"]


def verdicts(brokers: str) -> list[VerdictReached]:
    async def read() -> list[VerdictReached]:
        found = [
            record.event.data
            for place, end in (await ends(brokers, VERDICTS.name)).items()
            async for record in KafkaHistory(brokers).records(*place, end)
        ]
        return [data for data in found if isinstance(data, VerdictReached)]

    return asyncio.run(read())


def test_the_loop_closes(brokers: str, tmp_path: Path) -> None:
    votes = crowd(0, range(80), voters=5, golden=60)
    send(brokers, votes)
    with worker(brokers, tmp_path, "worker") as running:
        settle(brokers, running)
        assert {data.model for data in verdicts(brokers)} == {"majority"}
        assert (told := estimated(brokers)) >= 5, "a record of each model"
        settle(brokers, running)
        found = copies(brokers)
        assert sorted(map(len, found.values())) == [0] * (PARTITIONS - 1) + [told] * (PARTITIONS + 1)
        assert len({tuple(ids) for ids in found.values() if ids}) == 1, "every copy has the id of its source"
        version, known = weights(brokers)
        ann, spam = known["ann"], known["spam"]
        assert version == 1
        assert ann[0] - ann[2] > 1_000, "whoever is right nine times of ten is believed"
        assert abs(spam[0] - spam[2]) < 600, "who says always the same says nothing"
        send(brokers, crowd(len(votes), range(100, 130), voters=4, golden=0))
        settle(brokers, running)
        assert "blend" in {data.model for data in verdicts(brokers)}
        estimated(brokers)
        settle(brokers, running)
        assert weights(brokers)[0] == 2, "a new estimator goes on with the versions"
        assert running.stop() == 0
    assert verified(brokers).holds
