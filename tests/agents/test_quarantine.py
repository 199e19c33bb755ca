"""Limits of the quarantine on Apache Kafka: over one the worker stops, acknowledges nothing, and says what helps."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agents.clients import MAX_MESSAGE_BYTES, new_producer
from agents.log_reading import read_range
from agents.publishing import Publisher, delivered
from agents.quarantine import ATTEMPTS_HEADER
from agents.runner import Runner
from agents.settings import WorkerSettings
from infra.errors import AssayError
from infra.importing.publish import known_events
from infra.kafka.reading import ends, live_state
from infra.quarantine import discard_records, held, replay_records
from schemas.topics import EVENTS, QUARANTINE
from streams.review import REVIEW
from tests.agents.counting import append
from tests.agents.test_runner import PLACE, verified
from tests.agents.workers import load
from tests.agents.worlds import Batch

GARBAGE = [b'{"no": %d' % number for number in range(40)]


async def batch_of(brokers: str, start: int = 0) -> Batch:
    end = (await ends(brokers, EVENTS.name))[PLACE]
    return Batch([record async for records in read_range(brokers, PLACE, start, end) for record in records])


async def handled(brokers: str, home: Path, batch: Batch, kind: type[Runner] = Runner, **told: Any) -> list[str]:
    """Hand a worker one batch, as Faust does; what it found fatal."""
    fatal: list[str] = []
    settings = WorkerSettings(brokers=brokers, data_dir=home, flush_seconds=60, **told)
    runner = kind(REVIEW, settings, lambda error: fatal.append(str(error)))
    await runner.keep({0})
    await runner.run(_stream(batch))
    await runner.close()  # which flushes, as the clock may before the process is gone
    return fatal


async def _stream(batch: Batch) -> AsyncIterator[Batch]:
    yield batch


async def test_over_the_limit_a_run_stops_each_time_and_nothing_is_lost(brokers: str, tmp_path: Path) -> None:
    good = [value for *_, value in load(20, 5)]
    await append(brokers, EVENTS.name, [*good[:10], *GARBAGE, *good[10:]])
    for _ in range(2):
        batch = await batch_of(brokers)
        (said,) = await handled(brokers, tmp_path, batch, quarantine_limit=5)
        assert "review: 40 of 60 records refused in this run (limit 5," in said
        assert "`assay quarantine list`" in said
        assert "ASSAY_WORKER__QUARANTINE_LIMIT" in said
        assert not batch.acknowledged
        assert (await live_state(brokers, REVIEW, 0))[0].position == -1
    batch = await batch_of(brokers)
    assert await handled(brokers, tmp_path, batch) == []
    assert batch.acknowledged
    assert (await verified(brokers))[0].equal
    waiting = await held(brokers)
    assert sorted(record.value for record in waiting) == sorted(GARBAGE)
    assert {(record.error, record.code, record.projection, record.attempt) for record in waiting} == {
        ("Undecodable", "not_json", "review", 1)
    }


class Careless(Runner):
    """The guard taken out: a flush that comes before the end writes and acknowledges what was broken off."""

    _broken: Any = property(lambda self: False, lambda self, broken: None)


@pytest.mark.parametrize(("kind", "acknowledged"), [(Runner, False), (Careless, True)])
async def test_no_flush_acknowledges_what_passed_the_limit(
    brokers: str, tmp_path: Path, kind: type[Runner], acknowledged: bool
) -> None:
    await append(brokers, EVENTS.name, GARBAGE)
    batch = await batch_of(brokers)
    assert len(await handled(brokers, tmp_path, batch, kind, quarantine_limit=5)) == 1
    assert batch.acknowledged == acknowledged


async def test_the_share_is_a_setting(brokers: str, tmp_path: Path) -> None:
    await append(brokers, EVENTS.name, [*(value for *_, value in load(700, 70)), *(b"{%d" % n for n in range(300))])
    (said,) = await handled(brokers, tmp_path, await batch_of(brokers))
    assert "300 of 1000 records refused in this run (limit 10000, or 20% of at least 1000)" in said
    assert await handled(brokers, tmp_path, await batch_of(brokers), quarantine_share=0.3) == []


async def test_attempts_count_across_replays(brokers: str, tmp_path: Path) -> None:
    await append(brokers, EVENTS.name, GARBAGE[:1])
    for attempt in (1, 2, 3):
        assert await handled(brokers, tmp_path, await batch_of(brokers, attempt - 1)) == []
        (waiting,) = [record for record in await held(brokers) if record.settled is None]
        assert (waiting.attempt, waiting.offset, waiting.value) == (attempt, attempt - 1, GARBAGE[0])
        await replay_records(brokers, [waiting])


@pytest.mark.parametrize("said", [None, b"9" * 5_000, b"-1", b"\xff"])
async def test_headers_that_anybody_wrote_stop_nobody(brokers: str, tmp_path: Path, said: bytes | None) -> None:
    headers: Any = [(ATTEMPTS_HEADER, said), ("ce_id", None)]
    await _put(brokers, (EVENTS.name, 0), GARBAGE[0], headers)
    assert await handled(brokers, tmp_path, await batch_of(brokers)) == []
    for strange in ([("topic", None), ("partition", said)], [("state", b"replayed")], [("state", b"discarded"), ("ref", said)]):
        await _put(brokers, (QUARANTINE.name, 0), b"", strange)
    ours, theirs = await held(brokers)
    assert (ours.attempt, ours.value, ours.settled) == (1, GARBAGE[0], None)
    assert theirs.partition == -1
    with pytest.raises(AssayError, match="not there any more"):
        await replay_records(brokers, [theirs])
    await discard_records(brokers, [theirs], "not ours")
    assert [record.settled for record in await held(brokers)] == [None, "discarded"]
    assert await known_events(brokers) == {}


async def _put(brokers: str, place: tuple[str, int], value: bytes | None, headers: Any) -> None:
    producer = new_producer(brokers, compression_type=None)
    await producer.start()
    publisher = Publisher(producer)
    publisher.add(place, b"key", value, 1, headers)
    await delivered(await publisher.send_all())
    await producer.stop()


async def test_the_largest_record_that_the_log_takes_can_be_set_aside(brokers: str, tmp_path: Path) -> None:
    largest = random.Random(1).randbytes(MAX_MESSAGE_BYTES - 90)
    await _put(brokers, (EVENTS.name, 0), largest, [])
    assert await handled(brokers, tmp_path, await batch_of(brokers)) == []
    assert [record.value == largest for record in await held(brokers)] == [True]
