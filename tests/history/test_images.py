"""Images and what stands behind them are the whole, for every projection, wherever it is cut."""

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import AssayError
from infra.history import images, segments
from infra.history.archiving import alone
from infra.history.asof import Images, counted, hash_at, row_at
from infra.history.images import folder_of
from infra.history.imaging import image, image_all
from infra.history.source import Place, Stretch, decoded_all
from schemas.wire import encode
from streams.catalogue import PROJECTIONS
from streams.census import census
from streams.projection import AnyProjection, Record, replay, state_hash
from tests.streams.histories import HISTORIES, Action, source_log

every_projection = pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
some = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Written:
    """A history of one partition, in memory."""

    def __init__(self, log: Sequence[Record]) -> None:
        self.values = [encode(record.event) for record in log]

    async def ends(self, *topics: str) -> dict[Place, int]:
        return {(topic, 0): len(self.values) for topic in topics}

    async def stretches(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Stretch]:
        for at in range(start, min(end, len(self.values)), 7):
            behind = min(at + 7, end)
            yield Stretch(range(at, behind), self.values[at:behind])

    async def records(
        self, topic: str, partition: int, end: int, start: int = 0, too_new: str = "quarantine"
    ) -> AsyncIterator[Record]:
        async for record in decoded_all((topic, partition), self.stretches(topic, partition, end, start), too_new):
            yield record


async def imaged(log: Sequence[Record], projection: AnyProjection, archive: Path, cuts: Sequence[int], every: int) -> Written:
    """A history with images up to the last of these cuts, made in that many runs."""
    history = Written(log)
    for cut in sorted(min(cut, len(log)) for cut in cuts):
        await image(history, archive, "log", projection, 0, cut, "code", every)
    return history


@every_projection
@some
@given(history=HISTORIES, cuts=st.lists(st.integers(0, 60), max_size=4), every=st.integers(1, 40), end=st.integers(0, 60))
async def test_images_and_the_rest_are_the_whole(
    projection: AnyProjection, tmp_path: Path, history: list[Action], cuts: list[int], every: int, end: int
) -> None:
    log, archive = source_log(projection, history), tmp_path / uuid.uuid4().hex
    end = min(end, len(log))
    there, whole = await imaged(log, projection, archive, cuts, every), replay(projection, log[:end])
    kept = Images(archive, "code")
    assert await hash_at(there, kept, projection, 0, end) == state_hash(projection, whole)
    assert (await counted(there, kept, projection, 0, end)).counts == census(whole)
    for key in whole.rows:
        told = await row_at(there, kept, projection, key, {0: end})
        assert told == await row_at(there, Images(None, "code"), projection, key, {0: end})
        assert told is not None


HISTORY: list[Action] = [
    *(("receive", f"s-{number}", "en/reviews/sentiment") for number in (1, 2, 3)),
    *(("vote", f"s-{number}", voter, "good", 1) for number in (1, 2) for voter in ("anna", "ben", "chloe")),
]


async def test_images_of_other_code_are_not_used(tmp_path: Path) -> None:
    projection = PROJECTIONS[0]
    there = await imaged(source_log(projection, HISTORY), projection, tmp_path, [9], 3)
    assert (await counted(there, Images(tmp_path, "code"), projection, 0, 9)).folded == 0
    assert (await counted(there, Images(tmp_path, "other"), projection, 0, 9)).folded == 9


@pytest.mark.parametrize("kind", ["rows", "counts"])
@pytest.mark.parametrize("damage", ["flipped", "cut off", "gone"])
async def test_damage_is_found(tmp_path: Path, kind: str, damage: str) -> None:
    projection = PROJECTIONS[0]
    there = await imaged(source_log(projection, HISTORY), projection, tmp_path, [9], 100)
    (path,) = folder_of(tmp_path, projection, "code", 0).glob(f"*.{kind}.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content if damage == "flipped" else content[:-9])
    if damage == "gone":
        path.unlink()
    with pytest.raises(AssayError, match="a state image is damaged"):
        await _all_of_it(there, Images(tmp_path, "code"), projection)


async def _all_of_it(there: Written, kept: Images, projection: AnyProjection) -> None:
    await counted(there, kept, projection, 0, 9)
    await hash_at(there, kept, projection, 0, 9)


async def test_a_chain_with_a_gap_is_refused(tmp_path: Path) -> None:
    projection = PROJECTIONS[0]
    there = await imaged(source_log(projection, HISTORY), projection, tmp_path, [9], 3)
    folder = folder_of(tmp_path, projection, "code", 0)
    chain = images.load(folder)
    assert chain is not None
    assert [(one.first, one.end) for one in chain.images] == [(0, 3), (3, 6), (6, 9)]
    (folder / images.MANIFEST).write_text(chain.model_copy(update={"images": chain.images[::2]}).model_dump_json())
    with pytest.raises(AssayError, match="offset 3 follows, and the next image begins at 6"):
        await counted(there, Images(tmp_path, "code"), projection, 0, 9)


async def test_images_of_another_partition_or_archive_are_refused(tmp_path: Path) -> None:
    """They are whole and say so, and every number that they give is another log's."""
    projection = PROJECTIONS[0]
    there = await imaged(source_log(projection, HISTORY), projection, tmp_path, [9], 3)
    folder = folder_of(tmp_path, projection, "code", 0)
    folder.rename(folder.with_name("1"))
    with pytest.raises(AssayError, match="a state image is damaged"):
        await counted(there, Images(tmp_path, "code"), projection, 1, 9)
    folder.with_name("1").rename(folder)
    beside = segments.folder_of(tmp_path, (projection.source.name, 0))
    segments.save(beside, segments.Manifest(format=1, log="another", topic=projection.source.name, partition=0))
    with pytest.raises(AssayError, match="a state image is damaged"):
        await counted(there, Images(tmp_path, "code"), projection, 0, 9)


async def test_two_write_no_images_at_once(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(AssayError, match="another process writes to this archive"):
        await image_all(tmp_path)
