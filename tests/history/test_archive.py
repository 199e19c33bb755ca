"""An archive grows by what came since, says so when it is damaged, and is the log."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.code import code_version
from infra.errors import AssayError
from infra.history.archive import ArchiveHistory
from infra.history.archiving import ARCHIVED, Limits, archive, plan
from infra.history.asof import Images, hash_at
from infra.history.imaging import image_all
from infra.history.joined import JoinedHistory
from infra.history.kafka import KafkaHistory
from infra.history.segments import MANIFEST, load
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.verification import replayed
from schemas.topics import EVENTS
from streams.catalogue import PROJECTIONS
from streams.projection import state_hash
from tests.history.logs import PARTITIONS, create, fill

LIMITS = Limits(records=100)


@pytest.fixture
async def kafka() -> Iterator[KafkaHistory]:  # type: ignore[misc]
    broker = MemoryBroker()
    create(broker)
    with serving("archive", broker) as address:
        await fill(f"{address}/tests", 500)
        yield KafkaHistory(f"{address}/tests")


async def test_state_hashes_are_equal_from_kafka_the_archive_and_images(kafka: KafkaHistory, tmp_path: Path) -> None:
    await archive(kafka, tmp_path, limits=LIMITS)
    await image_all(tmp_path, every=70)
    await fill(kafka.brokers, 150, seed=2)  # behind the archive
    sources = kafka, ArchiveHistory(tmp_path), JoinedHistory(ArchiveHistory(tmp_path), kafka)
    kept = Images(tmp_path, code_version())
    for projection in PROJECTIONS:
        for (_, partition), end in (await sources[1].ends(projection.source.name)).items():
            for at in (0, end // 3, end):
                expected = state_hash(projection, await replayed(kafka.brokers, projection, partition, at))
                found = [await hash_at(one, images, projection, partition, at) for one in sources for images in (kept, NONE)]
                assert set(found) == {expected}
        for (_, partition), end in (await kafka.ends(projection.source.name)).items():
            expected = state_hash(projection, await replayed(kafka.brokers, projection, partition, end))
            assert await hash_at(sources[2], kept, projection, partition, end) == expected


NONE = Images(None, "")


async def test_it_goes_on_where_it_ended_and_adds_nothing_twice(kafka: KafkaHistory, tmp_path: Path) -> None:
    first = await archive(kafka, tmp_path, limits=LIMITS)
    assert {one.topic for one in first} == set(ARCHIVED)
    assert sum(one.records for one in await archive(kafka, tmp_path, limits=LIMITS)) == 0
    await fill(kafka.brokers, 30, seed=2)
    planned, ends = await plan(kafka, tmp_path), await kafka.ends(*ARCHIVED)
    second = await archive(kafka, tmp_path, limits=LIMITS)
    assert [one.records for one in planned] == [one.records for one in second]
    assert sum(one.records for one in second) > 30
    assert await ArchiveHistory(tmp_path).ends(*ARCHIVED) == ends
    assert len(ends) == PARTITIONS * len(ARCHIVED)


async def test_what_an_interruption_left_is_written_again(kafka: KafkaHistory, tmp_path: Path) -> None:
    """As if it was killed between a segment and its name in the manifest."""
    await archive(kafka, tmp_path, limits=LIMITS)
    folder = tmp_path / EVENTS.name / "0"
    whole, before = load(folder), sorted(path.name for path in folder.glob("*.parquet"))
    (folder / MANIFEST).write_text(whole.model_copy(update={"segments": whole.segments[:1]}).model_dump_json())
    (folder / f"{whole.segments[-1].name}.1.part").write_bytes(b"half")
    await archive(kafka, tmp_path, limits=LIMITS)
    assert [segment.end for segment in load(folder).segments] == [segment.end for segment in whole.segments]
    assert [segment.sha256 for segment in load(folder).segments] == [segment.sha256 for segment in whole.segments]
    assert sorted(path.name for path in folder.glob("*")) == [*before, MANIFEST]


def _first(folder: Path) -> Path:
    return sorted(folder.glob("*.parquet"))[0]


def _cut_off(folder: Path) -> None:
    _first(folder).write_bytes(_first(folder).read_bytes()[:-50])


def _flip(folder: Path) -> None:
    content = bytearray(_first(folder).read_bytes())
    content[100] ^= 4
    _first(folder).write_bytes(content)


def _swap(folder: Path) -> None:
    size, other = _first(folder).stat().st_size, _first(folder.with_name("1")).read_bytes()
    _first(folder).write_bytes(other.ljust(size)[:size])


def _overlap(folder: Path) -> None:
    shutil.copy(_first(folder), folder / f"{50:020d}-{120:020d}.parquet")


def _gap(folder: Path) -> None:
    manifest = load(folder)
    kept = manifest.segments[:1] + manifest.segments[2:]
    (folder / manifest.segments[1].name).unlink()
    (folder / MANIFEST).write_text(manifest.model_copy(update={"segments": kept}).model_dump_json())


def _moved(folder: Path) -> None:
    shutil.copy(folder.with_name("1") / MANIFEST, folder / MANIFEST)


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (_cut_off, "a segment is cut off or was written to; .*bytes, not"),
    (_flip, "a segment is damaged; .*its checksum is not that of the manifest"),
    (_swap, "a segment is "),
    (_overlap, "a file is no part of this archive: it overlaps, or is of another log"),
    (lambda folder: _first(folder).unlink(), "the archive has a gap: a segment is missing"),
    (_gap, r"the archive has a gap; .*are in no segment"),
    (_moved, "a manifest stands in another partition's folder"),
    (lambda folder: (folder / MANIFEST).write_text("{}"), "a manifest of the archive is damaged"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES, ids=[said for _, said in DAMAGES])
async def test_damage_is_told(kafka: KafkaHistory, tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    await archive(kafka, tmp_path, limits=LIMITS)
    damage(tmp_path / EVENTS.name / "0")
    history = ArchiveHistory(tmp_path)
    with pytest.raises(AssayError, match=said):
        [record async for record in history.records(EVENTS.name, 0, 230)]


async def test_another_log_is_refused(kafka: KafkaHistory, tmp_path: Path) -> None:
    await archive(kafka, tmp_path, limits=LIMITS)
    other = MemoryBroker()
    create(other)
    with serving("other", other) as address:
        another = KafkaHistory(f"{address}/tests")
        with pytest.raises(AssayError, match=r"two logs; .*Kafka ends at offset 0, and the archive at"):
            await archive(another, tmp_path)
        await fill(another.brokers, 700, seed=9)
        with pytest.raises(AssayError, match=r"two logs; where: assay.*another record stands there"):
            await archive(another, tmp_path)
        joined = JoinedHistory(ArchiveHistory(tmp_path), another)
        end = (await joined.ends(EVENTS.name))[EVENTS.name, 0]
        with pytest.raises(AssayError, match="another record stands there"):
            [record async for record in joined.records(EVENTS.name, 0, end)]


async def test_a_segment_of_another_archive_is_told(kafka: KafkaHistory, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await archive(kafka, tmp_path / name, limits=LIMITS)
    one, two = (tmp_path / name / EVENTS.name / "0" for name in ("one", "two"))
    shutil.copy(_first(two), _first(one))
    with pytest.raises(AssayError, match="a segment is of another log"):
        [record async for record in ArchiveHistory(tmp_path / "one").records(EVENTS.name, 0, 10)]
    shutil.rmtree(one)
    shutil.copytree(two, one)
    with pytest.raises(AssayError, match="the folder holds parts of two archives"):
        await archive(kafka, tmp_path / "one")


def test_no_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=f"no archive here; where: {tmp_path}"):
        ArchiveHistory(tmp_path)
