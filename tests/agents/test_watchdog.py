"""What is a standstill, look by look."""

import asyncio
from pathlib import Path

import pytest

from agents.log_reading import Extent
from agents.publishing import Place
from agents.settings import WorkerSettings
from agents.watchdog import Standing, Standstill, Watchdog

ONE, TWO = ("assay.events.v1", 0), ("assay.events.v1", 1)


def counts(*looks: dict[Place, tuple[int, int]], recovered: tuple[int, ...] = ()) -> dict[Place, float]:
    """The counts after these looks, each with (committed, end) of every partition."""
    standing, found = Standing(), dict[Place, float]()
    for number, look in enumerate(looks):
        seen = {place: Extent(0, end, committed) for place, (committed, end) in look.items()}
        found = standing.look(seen, recovered[number] if recovered else 0)
    return {place: round(count, 3) for place, count in found.items()}


def test_a_commit_that_stands_before_work_is_counted() -> None:
    assert counts({ONE: (5, 9)}, {ONE: (5, 12)}, {ONE: (5, 12)}) == {ONE: 2}


def test_a_partition_without_work_stands_as_long_as_it_likes() -> None:
    assert counts({ONE: (9, 9)}, {ONE: (9, 9)}, {ONE: (9, 9)}) == {ONE: 0}


def test_whatever_moves_is_counted_anew() -> None:
    assert counts({ONE: (5, 9)}, {ONE: (5, 9)}, {ONE: (6, 9)}) == {ONE: 0}


def test_a_recovery_that_moves_is_no_standstill_and_one_that_hangs_is() -> None:
    look = {ONE: (5, 9)}
    assert counts(look, look, look, recovered=(100, 200, 300)) == {ONE: 0}
    assert counts(look, look, look, recovered=(100, 100, 100)) == {ONE: 2}


def test_a_partition_whose_turn_may_come_has_longer() -> None:
    assert counts({ONE: (0, 9), TWO: (1, 9)}, {ONE: (0, 9), TWO: (2, 9)}, {ONE: (0, 9), TWO: (3, 9)}) == {ONE: 0.2, TWO: 0}


def test_a_partition_that_is_new_here_is_not_counted() -> None:
    assert counts({ONE: (0, 9)}, {ONE: (0, 9), TWO: (0, 9)}) == {ONE: 0.1, TWO: 0}


@pytest.mark.parametrize(("assigned", "ends"), [(None, True), (frozenset(), False)], ids=["still joining", "nothing to do"])
async def test_a_group_that_never_assigns_is_a_standstill(
    kafka: str, tmp_path: Path, assigned: frozenset[Place] | None, ends: bool
) -> None:
    """aiokafka's group routine can die for ever, where a worker meets a broker that is just starting: the worker then waits."""
    settings = WorkerSettings(brokers=kafka, data_dir=tmp_path, standstill_seconds=0.5)
    watching = asyncio.create_task(Watchdog(settings, lambda: assigned, lambda: 0).run())
    done, _ = await asyncio.wait([watching], timeout=30 if ends else 3)
    watching.cancel()
    assert [type(task.exception()) for task in done] == [Standstill] * ends


async def test_a_broker_that_is_away_is_no_standstill(tmp_path: Path) -> None:
    settings = WorkerSettings(brokers="127.0.0.1:1", data_dir=tmp_path, standstill_seconds=0.5)
    watching = asyncio.create_task(Watchdog(settings, lambda: None, lambda: 0).run())
    done, _ = await asyncio.wait([watching], timeout=3)
    watching.cancel()
    assert not done


class Unsure(Watchdog):
    """What aiokafka says where the only broker has told it of none, as one does that was asleep."""

    looks = 0

    async def _look(self) -> dict[Place, Extent]:
        self.looks += 1
        raise AssertionError("Did we not perform bootstrap?")


async def test_a_broker_that_knows_of_none_is_asked_again(tmp_path: Path) -> None:
    unsure = Unsure(WorkerSettings(data_dir=tmp_path, standstill_seconds=0.05), lambda: frozenset({ONE}), lambda: 0)
    watching = asyncio.create_task(unsure.run())
    while unsure.looks < 3:
        assert not watching.done()
        await asyncio.sleep(0.01)
    watching.cancel()
