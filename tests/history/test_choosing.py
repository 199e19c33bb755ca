"""What `--source`, `--from`, `--to` and `--as-of` mean."""

import asyncio
from pathlib import Path

import pytest

from infra.cli.replaying import _counts, _hashes, _replayed, _row
from infra.errors import AssayError
from infra.history.archiving import archive, plan
from infra.history.choosing import At, Source, bound, source
from infra.history.imaging import image_all
from infra.history.kafka import KafkaHistory
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.settings import Settings
from streams.catalogue import PROJECTIONS
from tests.history.logs import create, fill

START_MS = 1_767_225_600_000


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0", At(offset=0)),
        ("1000", At(offset=1_000)),
        ("@1767225600000", At(time_ms=START_MS)),
        ("2026-01-01", At(time_ms=START_MS)),
        ("2026-01-01T00:00Z", At(time_ms=START_MS)),
        ("@2026-01-01T01:00:00.5+01:00", At(time_ms=START_MS + 500)),
    ],
)
def test_bounds(said: str, meant: At) -> None:
    assert bound(said) == meant


@pytest.mark.parametrize("said", ["", "-1", "yesterday", "@", "1e3", "2026-13-01", "99999999999999999999"])
def test_what_is_no_bound_is_refused(said: str) -> None:
    with pytest.raises(AssayError, match="no offset and no time"):
        bound(said)


def test_sources(tmp_path: Path) -> None:
    own = Settings(data_dir=tmp_path)
    assert source(own, "archive") == Source(None, tmp_path / "archive")
    assert source(own, str(tmp_path / "x")) == Source(None, tmp_path / "x")
    with pytest.raises(AssayError, match="no broker runs"):
        source(own, "kafka")


async def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    broker = MemoryBroker()
    create(broker)
    with serving("choosing", broker) as address:
        await fill(f"{address}/tests", 50)
        assert sum(one.records for one in await plan(KafkaHistory(f"{address}/tests"), tmp_path / "new")) > 50
    assert not (tmp_path / "new").exists()


@pytest.fixture
async def archived(tmp_path: Path) -> Source:
    broker = MemoryBroker()
    create(broker)
    with serving("choosing", broker) as address:
        await fill(f"{address}/tests", 400)
        await archive(KafkaHistory(f"{address}/tests"), tmp_path)
    await image_all(tmp_path, every=60)
    return Source(None, tmp_path)


async def test_as_of_a_time_is_the_replay_up_to_it(archived: Source) -> None:
    """An event comes every 100 ms."""
    time = f"@{START_MS + 20_000}"
    found = await _hashes(archived, PROJECTIONS, time)
    counts = await _counts(archived, PROJECTIONS, time)
    again = await asyncio.to_thread(_replayed, archived, PROJECTIONS, "0", time, 1, True)
    assert found == again
    submissions = [one for one in counts["counts"] if one["counted"] == "submissions"]
    assert sum(one["count"] for one in submissions) == sum(one["rows"] for one in found if one["projection"] == "review")
    assert {one["state"] for one in submissions} > {"approved", "waiting"}
    assert all(one["folded"] == 0 for one in counts["partitions"])


async def test_one_row_as_of_a_time(archived: Source) -> None:
    early, late = [await _row(archived, PROJECTIONS[0], "s-0000003", at) for at in ("15", "400")]
    assert 0 < early["row"]["events"] < late["row"]["events"]
    assert len(late["row"]["votes"]) >= 1
    assert "seen" not in late["row"]
    with pytest.raises(AssayError, match=r"nothing was known of it then; where: s-9; got: as of 400"):
        await _row(archived, PROJECTIONS[0], "s-9", "400")


async def test_from_folds_what_stands_behind_onto_nothing(archived: Source) -> None:
    found = await asyncio.to_thread(_replayed, archived, PROJECTIONS[:1], "100", "150", 1, True)
    whole = await asyncio.to_thread(_replayed, archived, PROJECTIONS[:1], "0", "150", 1, True)
    assert [one["position"] for one in found] == [149, 149]
    assert all(one["rows"] < other["rows"] for one, other in zip(found, whole, strict=True))
