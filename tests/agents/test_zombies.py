"""A worker that is stopped, loses its partitions and wakes up: it changes nothing and acknowledges nothing."""

import asyncio
import gc
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from agents.clients import new_producer
from agents.publishing import Publisher, delivered
from agents.runner import Fenced, Runner
from agents.settings import WorkerOptions, WorkerSettings
from agents.state_log import Row, StateLog
from infra.settling import lags
from infra.verification import Compared, Verification, verify
from streams.projection import AnyProjection, topic_of
from streams.review import REVIEW
from tests.agents.test_runner import log_of
from tests.agents.workers import load, wait_until, worker, write
from tests.agents.worlds import Batch

#: Longer than a worker's session.
SLEEP_SECONDS = 12.0
#: One agent, so that nothing else opens anything while it falls asleep.
ALONE = {"ASSAY_WORKER__AGENTS": "review"}


def test_a_zombie_leaves_no_trace_and_the_owner_goes_on(brokers: str, tmp_path: Path) -> None:
    """It sleeps with state that it has folded and not yet written, and another folds it all. When it wakes, its flush is
    fenced off: it ends with exit 70 if that comes before it hears of the rebalance, else it lets go and joins again."""
    write(brokers, load(20_000, 2_000))
    with worker(brokers, tmp_path, "zombie", **ALONE, ASSAY_WORKER__FLUSH_SECONDS="8") as zombie:
        zombie.wait_ready()
        time.sleep(1)
        os.kill(zombie.pid, signal.SIGSTOP)
        assert not any(committed(brokers).values()), "it was to be stopped before its first flush"
        with worker(brokers, tmp_path, "owner", **ALONE) as owner:
            time.sleep(SLEEP_SECONDS)
            wait_until(brokers, lambda _: committed(brokers) == {"review": 20_000}, owner)
            before = review(brokers)
            os.kill(zombie.pid, signal.SIGCONT)
            time.sleep(3)
            woken = review(brokers)
            assert (committed(brokers), zombie.ended) in (({"review": 20_000}, 70), ({"review": 20_000}, None))
            write(brokers, load(22_000, 2_200)[20_000:])
            wait_until(brokers, lambda _: committed(brokers) == {"review": 22_000}, owner)
            after = review(brokers)
            assert owner.stop() == 0
    assert (woken.holds, woken.hash) == (True, before.hash)
    assert after.holds


def committed(brokers: str) -> dict[str, int]:
    return {lag.agent: lag.committed for lag in asyncio.run(lags(brokers, [WorkerOptions(agents="review")]))}


def review(brokers: str) -> Verification:
    async def collect() -> Verification:
        found = Verification()
        async for result in verify(brokers, (REVIEW,)):
            found.add(result)
        return found

    return asyncio.run(collect())


# --- the fence, and what would be without it ---------------------------------------------------


class Unfenced(StateLog):
    """State rows by a producer that nobody can fence."""

    def __init__(self, brokers: str, projection: AnyProjection, partition: int) -> None:
        self._brokers = brokers
        self._place = (topic_of(projection).name, partition)
        self._producer = new_producer(brokers)

    async def write(self, rows: Any) -> None:
        written: list[Row] = list(rows)
        publisher = Publisher(self._producer)
        for key, value in written:
            publisher.add(self._place, key, value, 0, [])
        await delivered(await publisher.send_all())


class Careless(Runner):
    state_log = Unfenced


@pytest.mark.parametrize("kind", [Runner, Careless])
def test_without_the_fence_a_zombie_would_write_older_rows(brokers: str, tmp_path: Path, kind: type[Runner]) -> None:
    write(brokers, load(4_000, 200))
    fatal: list[BaseException] = []

    def runner() -> Runner:
        settings = WorkerSettings(brokers=brokers, data_dir=tmp_path, flush_seconds=60.0)
        return kind(REVIEW, settings, fatal.append)

    async def scenario() -> tuple[bool, bool]:
        log = await log_of(brokers)
        zombie, owner = runner(), runner()
        old, all_of_it = Batch(log[:300]), Batch(log)
        await zombie.keep({0})
        await zombie.process(old)
        await owner.keep({0})
        await owner.process(all_of_it)
        await owner.close()
        assert all_of_it.acknowledged
        await zombie.flush()
        compared = await live_is_replay(brokers)
        await zombie.keep(set())
        await zombie.close()
        return compared.behind == 0 and compared.equal, old.acknowledged

    held, acknowledged = asyncio.run(scenario())
    # aiokafka leaves futures of a fenced producer behind, and asyncio complains when they are collected: here, and not
    # in the middle of something else.
    gc.collect()
    fenced = kind is Runner
    assert (held, acknowledged) == (fenced, not fenced)
    assert [type(error) for error in fatal] == [Fenced] * fenced


async def live_is_replay(brokers: str) -> Compared:
    found = [result async for result in verify(brokers, (REVIEW,))]
    return next(one for one in found if isinstance(one, Compared) and one.partition == 0)
