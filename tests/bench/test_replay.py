"""The replay's bench, small: what it says of itself holds, and its archive is the load."""

from pathlib import Path

from infra.bench import replay
from infra.bench.load import lines
from infra.history.archive import ArchiveHistory
from schemas.topics import EVENTS


async def test_its_archive_is_the_load(tmp_path: Path) -> None:
    replay.fill(tmp_path, replay.Load(300, 20, 2, 1))
    history = ArchiveHistory(tmp_path)
    ends = await history.ends(EVENTS.name)
    raws = [raw for (topic, at), end in ends.items() async for batch in history.raw(topic, at, end) for raw in batch]
    assert sorted(raw.value or b"" for raw in raws) == sorted(line[3] for line in lines(300, 20, 1))


def test_hashes_are_equal_and_small_loads_judge_no_large_bar() -> None:
    found = replay.measure(replay.Load(3_000, 100, 2, 1, runs=1), 500, lambda text: None)
    assert found["holds"]["hash_equal"]
    assert found["holds"]["10_million_in_60_seconds"] is None
    assert found["as_of_folded"] == 0
    assert found["decode_events_per_cpu_second"] > found["events_per_cpu_second"]
