"""A rolling upgrade on Apache Kafka: old and new versions of one event, written and read by old and new programs."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from agents.analysis import wanted
from agents.quarantine import WrittenByLater
from infra.bench.load import Line
from infra.kafka.reading import ends, live_state
from schemas.topics import EVENTS, QUARANTINE, TOPICS
from streams.review import REVIEW
from tests.agents.workers import FAUST, PARTITIONS, begun, load, settle, verified, wait_until, worker, write

OLD_WORKER = tuple(part.replace("agents.app", "tests.agents.old_worker") for part in FAUST)
QUARANTINED = {"ASSAY_WORKER__TOO_NEW": "quarantine", "ASSAY_WORKER__QUARANTINE_SHARE": "1"}


def as_v1(lines: list[Line]) -> Iterator[Line]:
    """What an old producer writes."""
    for subject, type_, id_, value in lines:
        event = orjson.loads(value)
        if type_ == "assay.SubmissionReceived.v3":
            del event["data"]["provenance"]
            event["type"] = "assay.SubmissionReceived.v1"
        yield subject, event["type"], id_, orjson.dumps(event)


def of_others(lines: list[Line]) -> Iterator[Line]:
    """The same about other submissions."""
    for subject, type_, id_, value in lines:
        other = subject.replace("s-", "t-")
        yield other, type_, id_, value.replace(subject.encode(), other.encode())


OLD = list(as_v1(load(1_300, 100)))
NEW = list(of_others(load(600, 60, seed=99)))
SUBJECTS = {line[0] for line in NEW}


def received(brokers: str) -> set[str]:
    """Submissions that the live state has as received."""

    async def read() -> set[str]:
        states = [await live_state(brokers, REVIEW, number) for number in range(PARTITIONS)]
        return {key for state, _ in states for key, row in state.rows.items() if row.revision}

    return asyncio.run(read())


def topics(brokers: str) -> set[str]:
    async def listed() -> set[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        try:
            return set(await admin.list_topics())
        finally:
            await admin.close()

    return asyncio.run(listed())


def in_quarantine(brokers: str) -> int:
    return sum(asyncio.run(ends(brokers, QUARANTINE.name)).values())


def test_a_new_producer_before_the_old_worker_and_then_the_upgrade(brokers: str, tmp_path: Path) -> None:
    """The old worker stops and leaves all of it in the log; the new one goes on from there; old producers go on too."""
    write(brokers, OLD[:1_000])
    with worker(brokers, tmp_path, "old", OLD_WORKER) as old:
        wait_until(brokers, begun, old)
        write(brokers, NEW)
        assert old.wait() == 70
        said = old.log.read_text()
    assert f"{EVENTS.name}/" in said
    assert "SubmissionReceived v3 is newer than v1" in said
    assert "upgrade this worker" in said
    assert in_quarantine(brokers) == 0
    write(brokers, OLD[1_000:])
    with worker(brokers, tmp_path, "new") as new:
        new.wait_ready()
        settle(brokers, new)
        assert new.stop() == 0, new.log.read_text()
    found = verified(brokers)
    assert found.holds, [*found.compared, *found.derived]
    assert all(compared.behind == 0 for compared in found.compared)
    assert received(brokers) >= SUBJECTS
    assert in_quarantine(brokers) == 0
    assert topics(brokers) == {topic.name for topic in TOPICS} | {"__consumer_offsets", "__transaction_state"}


def test_setting_aside_what_is_too_new_makes_a_state_that_no_replay_gives(brokers: str, tmp_path: Path) -> None:
    """The guard taken out: why the old worker has to stop."""
    write(brokers, [*OLD[:500], *NEW])
    with worker(brokers, tmp_path, "old", OLD_WORKER, **QUARANTINED) as old:
        settle(brokers, old)
        assert old.stop() == 0, old.log.read_text()
    assert in_quarantine(brokers) >= len(SUBJECTS)
    assert not received(brokers) & SUBJECTS
    with worker(brokers, tmp_path, "new") as new:
        new.wait_ready()
        settle(brokers, new)
        assert new.stop() == 0, new.log.read_text()
    assert not verified(brokers).holds


class Consumed(NamedTuple):
    value: bytes | None
    topic: str = EVENTS.name
    partition: int = 0
    offset: int = 7


def test_the_analysis_agent_neither_skips_a_later_text() -> None:
    """A text that it skipped would be acknowledged, and never be analysed."""
    known = next(value for _, type_, _, value in NEW if type_.endswith("Received.v3"))
    assert [want.subject for want in wanted([Consumed(known)])] == [orjson.loads(known)["subject"]]
    later: list[Any] = [Consumed(known.replace(b"Received.v3", b"Received.v4"))]
    with pytest.raises(WrittenByLater, match=r"analysis: assay\.events\.v1/0@7: SubmissionReceived v4 is newer than v3"):
        wanted(later)
    assert wanted(later, too_new="quarantine") == []


def test_the_analysis_agent_finds_a_text_wherever_its_type_stands_and_passes_over_what_is_none() -> None:
    event = orjson.loads(next(value for _, type_, _, value in NEW if type_.endswith("Received.v3")))
    data_first = orjson.dumps({"data": event.pop("data") | {"text": "x" * 5_000}} | event)
    assert [want.text for want in wanted([Consumed(None), Consumed(b"no json"), Consumed(data_first)])] == ["x" * 5_000]
