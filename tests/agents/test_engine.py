"""Workers on Apache Kafka: whatever dies when, live state is the replay of the log, and every fact is there once."""

import asyncio
from pathlib import Path

import orjson

from agents.log_reading import read_range
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from schemas.topics import QUARANTINE, STATE_TOPICS
from streams.projection import AnyProjection
from streams.review import REVIEW
from tests.agents.workers import (
    FAUST,
    PARTITIONS,
    begun,
    load,
    settle,
    verified,
    wait_until,
    worker,
    write,
)


def quarantined(brokers: str) -> list[tuple[str, bytes]]:
    """Code and bytes of all quarantined records, each position once."""

    async def read() -> dict[tuple[str, str], tuple[str, bytes]]:
        found: dict[tuple[str, str], tuple[str, bytes]] = {}
        for place, end in (await ends(brokers, QUARANTINE.name)).items():
            async for batch in read_range(brokers, place, 0, end):
                for record in batch:
                    about = {name: value.decode() for name, value in record.headers}
                    found[about["partition"], about["offset"]] = about["code"], record.value
        return found

    return sorted(asyncio.run(read()).values())


def test_kills_stops_and_rebalances_leave_live_equal_to_replay(brokers: str, tmp_path: Path) -> None:
    events = load(60_000, 6_000)
    write(brokers, events[:30_000])
    with worker(brokers, tmp_path, "first") as first:
        wait_until(brokers, begun, first)
        first.kill()
    poison = [("s-0000001", "", "", b"{no json"), ("s-0000002", "", "", b'{"type":"assay.VoteCounted.v1"}')]
    changed = events[5][3].replace(b"The quick answer", b"Another answer")
    reused = [(events[5][0], "", "", changed)] if changed != events[5][3] else []
    write(brokers, [*events[30_000:45_000], *poison, *reused, *events[100:200]])
    with worker(brokers, tmp_path, "second") as second:
        second.wait_ready()
        with worker(brokers, tmp_path, "third") as third:
            write(brokers, events[45_000:])
            third.wait_ready()
            assert second.stop() == 0, second.log.read_text()
            settle(brokers, third)
            assert third.stop() == 0, third.log.read_text()
    found = verified(brokers)
    assert found.holds, [*found.compared, *found.derived]
    assert all(compared.behind == 0 for compared in found.compared)
    codes = [code for code, _ in quarantined(brokers)]
    assert codes == sorted(["not_json", "unknown_type", *["id_reused"] * len(reused)])


def test_a_lost_state_topic_is_rebuilt_from_the_log(brokers: str, tmp_path: Path) -> None:
    """By a worker that Faust itself starts."""
    write(brokers, load(5_000, 500))
    with worker(brokers, tmp_path, "before") as before:
        settle(brokers, before)
        assert before.stop() == 0
    was = verified(brokers)
    asyncio.run(_lose(brokers, REVIEW, tmp_path))
    write(brokers, load(5_200, 500)[5_000:])
    with worker(brokers, tmp_path, "after", FAUST) as after:
        settle(brokers, after)
        assert after.stop() == 0
    found = verified(brokers)
    assert found.holds
    assert sum(c.position for c in found.compared) > sum(c.position for c in was.compared)


async def _lose(brokers: str, projection: AnyProjection, home: Path) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    (topic,) = (topic for topic in STATE_TOPICS if f".{projection.name}." in topic.name)
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.delete_topics([topic.name])
    await admin.close()
    await asyncio.sleep(1)
    await ensure_topics(brokers, Settings(data_dir=home, kafka=Kafka(partitions=PARTITIONS)))


def test_a_worker_that_refuses_too_much_stops_and_says_why(brokers: str, tmp_path: Path) -> None:
    write(brokers, [(f"s-{number}", "", "", b"garbage") for number in range(40)])
    with worker(brokers, tmp_path, "strict", ASSAY_WORKER__QUARANTINE_LIMIT="5") as strict:
        assert strict.wait() == 70
        said = strict.log.read_text()
    assert "limit 5" in said
    assert {code for code, _ in quarantined(brokers)} == {"not_json"}
    assert "assay quarantine list" in said


def test_verify_catches_a_planted_loss(brokers: str, tmp_path: Path) -> None:
    """The same log under a fold that skips one kind of event: hashes must differ, or verify checks nothing."""
    write(brokers, load(2_000, 200))
    with worker(brokers, tmp_path, "honest") as honest:
        settle(brokers, honest)
        assert honest.stop() == 0
    assert verified(brokers).holds
    write(brokers, [("s-0000003", "", "", load(1, 1, seed=99)[0][3].replace(b"s-0000000", b"s-0000003"))])
    asyncio.run(_forge(brokers))
    found = verified(brokers)
    assert not found.holds
    assert [compared.projection for compared in found.compared if not compared.equal] == ["review"]


async def _forge(brokers: str) -> None:
    """Write a state row that no fold made."""
    from agents.state_log import StateLog

    log = StateLog(brokers, REVIEW, 0)
    rows = await log.open()
    key = min(key for key in rows if not key.startswith(b"~"))
    row = REVIEW.unpack(orjson.loads(rows[key]))
    row.live += 1
    await log.write([(key, orjson.dumps(REVIEW.pack(row)))])
    await log.close()
