"""Real workers on Apache Kafka: when they are ready, how they stop, and that they end where nothing moves."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from aiokafka.admin import AIOKafkaAdminClient

from agents.log_reading import extents
from agents.publishing import CROWD
from agents.settings import WorkerOptions
from infra.kafka.broker import Broker
from infra.kafka.reading import live_state
from infra.kafka.topics import ensure_topics
from infra.ports import choose
from infra.settings import Settings
from infra.verification import Compared, verify
from schemas.topics import EVENTS
from streams.projection import topic_of
from streams.review import REVIEW
from tests.agents.workers import PARTITIONS, Worker, load, worker, write

REVIEW_ONLY = WorkerOptions(agents="review")
PLACES = [(EVENTS.name, number) for number in range(PARTITIONS)]
#: Many small batches, and a flush after each: what takes moments otherwise can be met halfway.
HALTING = {"ASSAY_WORKER__BATCH_RECORDS": "50", "ASSAY_WORKER__UNFLUSHED_ROWS": "1"}


def odd(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.agents.odd_worker", name)


def until(true: Callable[[], object], *watched: Worker) -> None:
    """Wait for this, as long as the watched live."""
    deadline = time.monotonic() + 120
    while not true():
        for one in watched:
            one.check()
        assert time.monotonic() < deadline, "\n".join(one.log.read_text() for one in watched)
        time.sleep(0.05)


class Asked:
    """A worker's /livez and /readyz."""

    def __init__(self, home: Path) -> None:
        self._port = choose(home, "health")

    @property
    def told(self) -> dict[str, str]:
        return {"ASSAY_WORKER__AGENTS": "review", "ASSAY_WORKER__HEALTH_PORT": str(self._port)}

    def __call__(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode().strip()
        except HTTPError as error:
            return error.code, error.read().decode().strip()
        except (URLError, ConnectionError):
            return 0, ""

    def partitions(self) -> list[dict[str, Any]]:
        _, said = self("/readyz?verbose")
        return json.loads(said)["partitions"] if said else []


def committed(brokers: str) -> dict[int, int]:
    found = asyncio.run(extents(brokers, REVIEW_ONLY.group, PLACES))
    return {place[1]: extent.committed for place, extent in found.items()}


def durable(brokers: str) -> dict[int, int]:
    async def read() -> dict[int, int]:
        return {number: (await live_state(brokers, REVIEW, number))[0].position + 1 for _, number in PLACES}

    return asyncio.run(read())


def lag(brokers: str, *partitions: int) -> int:
    """Events not committed yet, of these partitions or of all."""
    found = asyncio.run(extents(brokers, REVIEW_ONLY.group, PLACES))
    return sum(one.end - one.committed for place, one in found.items() if not partitions or place[1] in partitions)


def compared(brokers: str) -> list[Compared]:
    async def read() -> list[Compared]:
        return [one async for one in verify(brokers, (REVIEW,)) if isinstance(one, Compared)]

    return asyncio.run(read())


async def lose_state(brokers: str, settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.delete_topics([topic_of(REVIEW).name])
    await admin.close()
    await asyncio.sleep(1)
    await ensure_topics(brokers, settings)


def test_a_worker_is_ready_once_it_recovered_and_stops_wherever_it_is(brokers: str, settings: Settings, tmp_path: Path) -> None:
    ask = Asked(tmp_path)
    write(brokers, load(24_000, 2_000))
    with worker(brokers, tmp_path, "backlog", **ask.told, **HALTING) as backlog:
        backlog.wait_ready()
        until(lambda: sum(committed(brokers).values()), backlog)
        assert backlog.stop() == 0
        assert lag(brokers)  # it did not wait for the end of the backlog
    assert committed(brokers) == durable(brokers)

    with worker(brokers, tmp_path, "rest", **ask.told) as rest:
        until(lambda: not lag(brokers), rest)
        assert ask("/livez") == (200, "alive")
        assert ask("/readyz") == (200, "ready")
        assert {one["state"] for one in ask.partitions()} == {"live"}
        assert rest.stop() == 0
    asyncio.run(lose_state(brokers, settings))

    with worker(brokers, tmp_path, "catching-up", **ask.told, **HALTING) as half:
        until(lambda: any(one["state"] == "catching up" and one["durable"] for one in ask.partitions()), half)
        assert ask("/readyz") == (503, "recovering")
        one = next(one for one in ask.partitions() if one["state"] == "catching up" and one["durable"])
        assert 0 < one["log_have"] < one["log_need"]
        assert one["eta_seconds"] > 0
        assert half.stop() == 0
    assert 0 < sum(durable(brokers).values()) < sum(committed(brokers).values()) == 24_000
    assert all(one.equal for one in compared(brokers))

    with worker(brokers, tmp_path, "again", **ask.told) as again:
        again.wait_ready()
        assert ask("/readyz") == (200, "ready")
        assert again.stop() == 0
    assert sum(durable(brokers).values()) == 24_000
    assert all(one.equal for one in compared(brokers))
    assert "could not finish" not in "".join(log.read_text() for log in tmp_path.glob("*.log"))


def test_a_partition_in_recovery_holds_up_no_other(brokers: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    told = {"ASSAY_WORKER__AGENTS": "review", "ASSAY_TEST_GATE": str(gate)}
    write(brokers, load(6_000, 500))
    with worker(brokers, tmp_path, "late", odd("recovers-late"), **told) as late:
        until(lambda: lag(brokers, 1, 2, 3) == 0, late)
        assert committed(brokers)[0] == 0
        gate.touch()
        until(lambda: lag(brokers) == 0, late)
        assert late.stop() == 0
    assert all(one.equal for one in compared(brokers))


def test_before_a_rebalance_what_is_folded_is_made_durable_and_committed(brokers: str, tmp_path: Path) -> None:
    """Otherwise nothing here is flushed within the test."""
    ask = Asked(tmp_path)
    write(brokers, load(2_000, 200))
    with worker(brokers, tmp_path, "first", **ask.told, ASSAY_WORKER__FLUSH_SECONDS="60") as first:
        until(lambda: sum(one["log_have"] for one in ask.partitions()) == 2_000, first)
        assert sum(committed(brokers).values()) == 0
        with worker(brokers, tmp_path, "second", ASSAY_WORKER__AGENTS="review") as second:
            second.wait_ready()
            assert sum(committed(brokers).values()) == 2_000
            assert committed(brokers) == durable(brokers)


def test_a_stop_while_the_broker_stalls_acknowledges_nothing_and_ends(brokers: str, settings: Settings, tmp_path: Path) -> None:
    record = Broker(settings).record()
    assert record is not None
    write(brokers, load(12_000, 1_000))
    with worker(brokers, tmp_path, "stalled", ASSAY_WORKER__AGENTS="review", **HALTING) as stalled:
        until(lambda: sum(committed(brokers).values()), stalled)
        os.kill(record.pid, signal.SIGSTOP)
        try:
            assert stalled.stop() == 70
        finally:
            os.kill(record.pid, signal.SIGCONT)
        assert "could not finish in time" in stalled.log.read_text()
    assert all(committed(brokers)[number] <= position for number, position in durable(brokers).items())
    with worker(brokers, tmp_path, "after", ASSAY_WORKER__AGENTS="review") as after:
        until(lambda: not lag(brokers), after)
        assert after.stop() == 0
    assert committed(brokers) == durable(brokers)
    assert all(one.equal for one in compared(brokers))


def test_while_a_flush_stalls_every_queue_fills_to_its_bound_and_no_further(brokers: str, tmp_path: Path) -> None:
    gate, held, batch = tmp_path / "gate", tmp_path / "held.json", 200
    files = {"ASSAY_TEST_GATE": str(gate), "ASSAY_TEST_HELD": str(held)}
    bounds = {"ASSAY_WORKER__BATCH_RECORDS": str(batch), "ASSAY_WORKER__UNFLUSHED_BYTES": "2000000"}
    told = {"ASSAY_WORKER__AGENTS": "review", **bounds, **files}
    events = load(30_000, 2_000)
    most = max(len(value) for _, _, _, value in events)
    write(brokers, events)
    with worker(brokers, tmp_path, "stalled", odd("stalled"), **told) as stalled:
        seen = list[dict[str, int]]()
        until(lambda: _unchanged(held, seen), stalled)
        found = seen[-1]
        assert 2_000_000 <= found["unflushed_bytes"] < 2_000_000 + batch * most
        assert found["handed_over"] == 4
        assert 0 < found["fetched_bytes"] <= 4 << 20
        assert found["full_batches"] <= CROWD
        assert sum(committed(brokers).values()) == 0
        gate.touch()
        until(lambda: not lag(brokers), stalled)
        assert stalled.stop() == 0
    assert all(one.equal for one in compared(brokers))


def _unchanged(held: Path, seen: list[dict[str, int]]) -> bool:
    """Whether a worker has told the same ten times in a row, and that it holds something."""
    try:
        seen.append(json.loads(held.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    time.sleep(0.2)
    return len(seen) > 10 and seen[-1]["unflushed_bytes"] > 0 and all(one == seen[-1] for one in seen[-10:])


def test_what_stands_still_ends_and_what_is_slow_does_not(brokers: str, tmp_path: Path) -> None:
    seconds = 6
    told = {"ASSAY_WORKER__AGENTS": "review", "ASSAY_WORKER__STANDSTILL_SECONDS": str(seconds)}
    write(brokers, load(2_000, 500))
    with (
        worker(brokers, tmp_path, "deaf", odd("deaf"), **told) as deaf,
        worker(brokers, tmp_path, "mute", odd("never-acknowledges"), **told) as mute,
    ):
        for still in (deaf, mute):
            assert still.wait() == 70
            said = still.log.read_text()
            assert "Standstill" in said
            assert "the commit has stood at offset 0" in said
    assert sum(committed(brokers).values()) == 0
    # The two that ended are members of the group for another 10 s, in which it assigns nothing.
    seconds = 15
    told["ASSAY_WORKER__STANDSTILL_SECONDS"] = str(seconds)
    small = {"ASSAY_WORKER__BATCH_RECORDS": "40", "ASSAY_WORKER__FLUSH_SECONDS": "0.2"}
    with worker(brokers, tmp_path, "slow", odd("slow"), **told, **small) as slow:
        slow.wait_ready()
        began, moved = time.monotonic(), set[int]()
        while time.monotonic() < began + 1.3 * seconds:
            moved.add(sum(committed(brokers).values()))
            slow.check()
            time.sleep(0.2)
        assert len(moved) > 3
        assert lag(brokers)
        assert slow.stop() == 0
