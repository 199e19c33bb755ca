"""A campaign end to end, and that its checks can fail: what is planted in a settled log, state or store is found."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from agents.clients import new_producer
from agents.publishing import Publisher, delivered
from agents.state_log import StateLog
from infra.clickhouse.engine import asking
from infra.kafka.reading import live_state
from infra.settings import ClickHouse, Kafka, Settings, Worker
from infra.torture.checks import Findings, check_log, check_replay, check_store
from infra.torture.fleet import Fleet
from infra.torture.kill import Campaign, Watch, report, run
from infra.torture.load import Load, Sent, Shape
from infra.torture.schedule import SHARES, Fault, Kind
from schemas.topics import EVENTS, JUDGEMENTS, QUARANTINE
from streams.projection import AnyProjection, AnyState, Record, Step, row_bytes
from streams.review import REVIEW, Review
from tests.beside import Done

SHAPE = Shape(events=3_000, keys=150, partitions=4, seed=2)


@pytest.mark.beside("torture", "kill", "--kills", "20", "--events", "25000", "--keys", "1500", "--json")
def test_twenty_faults_and_nothing_shows(beside: Done) -> None:
    assert beside.returncode == 0, beside.stdout + beside.stderr
    found = json.loads(beside.stdout)
    right = {"lost": 0, "doubled": 0, "hashes_equal": True, "sink_equal": True, "quarantine_exact": True, "holds": True}
    assert {name: found[name] for name in right} == right
    assert (found["kills"], found["missed"]) == (SHARES, {})
    assert (found["broker_kills"], found["stalls"]) == (2, 7)
    assert found["endings"]["worker: SIGKILL"] >= SHARES["kill_worker"]
    assert min(*found["facts"].values(), *found["state_rows"].values(), *found["quarantined"].values()) > 0


def test_a_campaign_holds_only_if_every_fault_struck(tmp_path: Path) -> None:
    campaign, fleet = Campaign(20, SHAPE, 3), Fleet(Settings(data_dir=tmp_path), tmp_path / "log")
    fleet.struck.update(SHARES)
    assert report(campaign, Findings(), fleet, {})["holds"]
    fleet.struck["kill_broker"] -= 1
    found = report(campaign, Findings(), fleet, {})
    assert (found["holds"], found["broker_kills"], found["missed"]) == (False, 1, {"kill_broker": 1})


def gone() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["true"])
    process.wait()
    return process


class Haunted(Fleet):
    """Whoever is to be struck has just gone."""

    async def _working(self, name: str) -> subprocess.Popen[bytes]:
        return gone()

    def _say(self, name: str, text: str) -> None:
        pass


@pytest.mark.parametrize("kind", ["kill_worker", "stall_worker", "leave_worker"])
def test_a_fault_that_struck_nobody_is_not_counted(tmp_path: Path, kind: Kind) -> None:
    fleet = Haunted(Settings(data_dir=tmp_path), tmp_path / "log", patience_seconds=0.1)
    asyncio.run(fleet.suffer(Fault(0, kind, "worker-1", 0.1)))
    assert fleet.struck == {}


# --- what is planted is found ------------------------------------------------------------------


def meant() -> list[Sent]:
    return list(chain.from_iterable(Load(SHAPE)))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A system that has folded and stored a load, unhurt."""
    home = tmp_path_factory.mktemp("fleet")
    worker = Worker(flush_seconds=0.2, too_new="quarantine")
    settings = Settings(
        data_dir=home, kafka=Kafka(heap_mb=384), clickhouse=ClickHouse(port=0, token=SecretStr("t")), worker=worker
    )
    found = run(settings, Campaign(0, SHAPE, 1), Watch(lambda watch: None))
    assert found["holds"], found
    with Fleet(settings, home / "again.log") as fleet:
        yield fleet


def checked(fleet: Fleet, sent: list[Sent]) -> Findings:
    found = Findings()
    asyncio.run(check_log(fleet.brokers, sent, found))
    return found


def replayed(fleet: Fleet, *projections: AnyProjection) -> Findings:
    found = Findings()
    asyncio.run(check_replay(fleet.brokers, found, projections))
    return found


def test_an_event_that_never_reached_the_log_is_lost(fleet: Fleet) -> None:
    sent = meant()
    never = sent[10]._replace(value=b"{}")
    assert (checked(fleet, sent).lost, checked(fleet, [*sent, never]).lost) == (0, 1)


def test_an_event_that_nobody_meant_is_told(fleet: Fleet) -> None:
    sent = meant()
    values = [one.value for one in sent]
    once = next(one for one in sent if one.topic == EVENTS.name and values.count(one.value) == 1 and not one.poison)
    found = checked(fleet, [one for one in sent if one is not once])
    assert found.doubled == 1
    assert "nobody meant to write it" in found.details[0]


class Chatty(Review):
    """Has one fact more to say than the worker said."""

    more = 1

    def apply(self, state: AnyState, record: Record) -> Step[Any, Any]:
        step = super().apply(state, record)
        if step.effects and self.more:
            self.more -= 1
            step.effects.append(step.effects[-1])
        return step


def test_a_fact_that_is_not_in_the_log_is_lost(fleet: Fleet) -> None:
    said, unsaid = replayed(fleet, REVIEW), replayed(fleet, Chatty())
    assert (said.lost, said.hashes_equal) == (0, True)
    assert (unsaid.lost, unsaid.hashes_equal) == (1, False)
    assert any(line.startswith("facts missing: ") for line in unsaid.details)


def test_a_store_that_lacks_a_row_is_not_the_log(fleet: Fleet) -> None:
    whole, short = Findings(), Findings()
    with asking(fleet.settings) as client:
        asyncio.run(check_store(fleet.brokers, client, whole))
        client.command("DELETE FROM events WHERE partition = 0 AND offset = 3")
        asyncio.run(check_store(fleet.brokers, client, short, wait_seconds=0))
    assert (whole.sink_equal, short.sink_equal) == (True, False)
    (line,) = short.details
    assert line.startswith(f"ClickHouse is not the log: {EVENTS.name}/0: ")
    assert not short.holds


def test_poison_that_was_taken_for_an_event_is_told(fleet: Fleet) -> None:
    sent = [one._replace(poison="invalid") if number == 10 else one for number, one in enumerate(meant())]
    found = checked(fleet, sent)
    assert not found.quarantine_exact
    assert any("nothing, not invalid" in line for line in found.details)


def test_a_strange_record_in_quarantine_is_told(fleet: Fleet) -> None:
    about = {"topic": EVENTS.name, "partition": "0", "offset": "3", "code": "invalid"}
    plant(fleet, (QUARANTINE.name, 0), b"harmless", [(name, text.encode()) for name, text in about.items()])
    found = checked(fleet, meant())
    assert not found.quarantine_exact
    assert any(f"{EVENTS.name}/0@3: invalid, not nothing" in line for line in found.details)


def test_a_wrong_row_is_told_by_the_recount_and_by_the_replay(fleet: Fleet) -> None:
    asyncio.run(forge(fleet.brokers))
    counted, again = checked(fleet, meant()), replayed(fleet, REVIEW)
    assert counted.doubled > 0
    assert any(line.startswith("review's live above the log") for line in counted.details)
    assert not again.hashes_equal
    assert any(line.startswith("live is not replay: review/0") for line in again.details)


def test_a_fact_under_another_id_is_doubled(fleet: Fleet) -> None:
    before = replayed(fleet, REVIEW)
    plant(fleet, (JUDGEMENTS.name, 0), FACT, [])
    after = replayed(fleet, REVIEW)
    assert after.doubled == before.doubled + 1
    assert f"facts unexpected: {JUDGEMENTS.name}: 1" in after.details


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (EVENTS.name, b"{broken"),
        (EVENTS.name, b"[]"),
        (JUDGEMENTS.name, b'{"type": "assay.JudgementScored.v1", "subject": "w-1", "data": {}}'),
    ],
    ids=["broken", "a list", "without its data"],
)
def test_a_record_that_nobody_can_read_is_told_and_not_counted(fleet: Fleet, topic: str, value: bytes) -> None:
    before = checked(fleet, meant())
    plant(fleet, (topic, 0), value, [])
    after = checked(fleet, meant())
    assert after.doubled == before.doubled + 1
    assert any(line.startswith(f"a strange record: {topic}/0@") for line in after.details)


FACT = orjson.dumps(
    {
        "specversion": "1.0",
        "id": "019b76da-a800-7000-8000-000000000000",
        "type": "assay.JudgementScored.v1",
        "source": "assay/review",
        "subject": "w-1",
        "time": "2026-01-01T00:00:00.000Z",
        "data": {
            "origin": {"partition": 0, "offset": 0, "index": 9},
            "project": "alpha",
            "role": "writer",
            "outcome": "submitted",
            "change": 1,
            "submission": "s",
            "revision": 1,
            "hour": 0,
        },
    }
)


def plant(fleet: Fleet, place: tuple[str, int], value: bytes, headers: list[tuple[str, bytes]]) -> None:
    async def write() -> None:
        producer = new_producer(fleet.brokers)
        await producer.start()
        publisher = Publisher(producer)
        publisher.add(place, b"planted", value, 1, headers)
        await delivered(await publisher.send_all())
        await producer.stop()

    asyncio.run(write())


async def forge(brokers: str) -> None:
    """Write a state row that no fold made."""
    state, _ = await live_state(brokers, REVIEW, 0)
    key = min(key for key, row in state.rows.items() if row.live)
    state.rows[key].live += 1
    log = StateLog(brokers, REVIEW, 0)
    await log.open()
    await log.write([(key.encode(), row_bytes(REVIEW, state, key))])
    await log.close()
