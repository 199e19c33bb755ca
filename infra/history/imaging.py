"""Folds the archive on from its last images, and writes new ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.code import code_version
from infra.history import images
from infra.history.archive import ArchiveHistory
from infra.history.archiving import alone
from infra.history.images import Chain, ChainRows, Change, Counts, counts_at, counts_file, folder_of
from infra.history.source import History, Watch, decoded
from streams.catalogue import PROJECTIONS
from streams.census import Cell, Cells, add, cells_at
from streams.projection import CONTROL_KEY, AnyProjection, AnyState, Record, row_bytes

EVERY = 250_000


class Counting:
    """A fold that knows what its state comes to: the numbers after each record, from those before it."""

    def __init__(self, projection: AnyProjection, state: AnyState, cells: dict[str, Cells], counts: dict[Cell, int]) -> None:
        self.projection, self.state, self.counts = projection, state, counts
        #: What each touched row adds.
        self._cells = cells
        state.touched = {}

    def feed(self, record: Record) -> list[Change]:
        """Fold it; which numbers it changed. The keys that it touched are in `state.touched` until the next one."""
        self.state.touched = {}
        self.state = self.projection.apply(self.state, record).state
        return [change for key in self.state.touched for change in self._changes(record.offset, key)]

    def _changes(self, offset: int, key: str) -> Iterator[Change]:
        before, after = self._cells.get(key, ()), cells_at(self.state, key)
        self._cells[key] = after
        if before is after or before == after:
            return
        changes: dict[Cell, int] = {}
        add(changes, before, -1)
        add(changes, after, 1)
        add(self.counts, tuple(changes.items()), 1)
        yield from (Change(offset, cell, change) for cell, change in changes.items())


def counting_from(projection: AnyProjection, folder: Path, chain: Chain | None) -> Counting:
    """On from the last image of this chain, or from nothing."""
    cells: dict[str, Cells] = {}
    rows = ChainRows(folder, () if chain is None else chain.images)
    state = images.state_from(projection, rows, cells)
    counts = {} if chain is None or not chain.images else counts_at(folder, chain, chain.end)
    return Counting(projection, state, cells, counts)


class Imager:
    """One partition, folded on from its last image. An image of less than a quarter is made again with what comes next."""

    def __init__(self, folder: Path, projection: AnyProjection, chain: Chain, every: int) -> None:
        self.folder, self.chain, self.every = folder, chain, every
        self.fold = counting_from(projection, folder, chain)
        self._dirty: dict[str, None] = {}
        #: Keys of rows that were changed by what was fed.
        self.touched: dict[str, None] = {}
        self._first = self.start = chain.end
        self._counts = Counts(self.fold.counts)
        short = chain.images[-1] if chain.images else None
        if short is not None and short.end - short.first < every // 4:
            self._take_back(short)
        self._next = self._first + every

    def _take_back(self, short: images.Image) -> None:
        rows = ChainRows(self.folder, [short])
        self._dirty = dict.fromkeys(key for key in rows if key != CONTROL_KEY)
        earlier, before = counts_file(self.folder, short)
        self._counts = Counts(before)
        self._counts.earlier = earlier
        self._first = short.first
        self.chain = self.chain.model_copy(update={"images": self.chain.images[:-1]})

    def feed(self, record: Record) -> None:
        if record.offset >= self._next:
            # Not up to `_next`: where offsets lack records, this one may lie further on.
            self.write(record.offset)
        self._counts.changes += self.fold.feed(record)
        self._dirty.update(self.fold.state.touched)
        self.touched.update(self.fold.state.touched)

    def write(self, end: int) -> None:
        """The image of everything before this offset, if it is any further than the last."""
        if end <= self.chain.end:
            return
        fold, state = self.fold, self.fold.state
        keys = sorted([*self._dirty, CONTROL_KEY])
        rows = ((key, row_bytes(fold.projection, state, key)) for key in keys)
        self.chain = images.write(self.folder, self.chain, self._first, end, state.position, rows, self._counts)
        self._dirty, self._counts = {}, Counts(fold.counts)
        self._first, self._next = end, end + self.every


async def image(
    history: History, archive: Path, log: str, projection: AnyProjection, partition: int, end: int, code: str, every: int = EVERY
) -> Chain:
    """Bring the images of one partition up to this offset of its log."""
    folder = folder_of(archive, projection, code, partition)
    about = {"log": log, "projection": projection.name, "version": projection.version, "code": code, "partition": partition}
    chain = images.load(folder) or Chain(format=1, **about)  # type: ignore[arg-type]
    if chain.log != log:
        raise images.damaged(folder, f"it is of archive {chain.log}, not {log}")
    if chain.end >= end:
        return chain
    tidy(folder, chain)
    imager = Imager(folder, projection, chain, every)
    place = (projection.source.name, partition)
    async for stretch in history.stretches(*place, end, imager.start):
        for record in decoded(place, stretch):
            imager.feed(record)
    imager.write(end)
    return imager.chain


def tidy(folder: Path, chain: Chain) -> None:
    """Remove files of images that were made again, or never finished."""
    kept = {one.stem for one in chain.images}
    for path in (*folder.glob("*.parquet"), *folder.glob("*.part")):
        if path.name.split(".")[0] not in kept:
            path.unlink()


async def image_all(archive: Path, every: int = EVERY, watch: Watch = lambda done, total: None) -> list[dict[str, Any]]:
    """Bring the images of every projection up to the archive's end. Raises AssayError where somebody else writes there: each
    would remove what the other has written and not named yet."""
    with alone(archive):
        return await _image_all(archive, every, watch)


async def _image_all(archive: Path, every: int, watch: Watch) -> list[dict[str, Any]]:
    history, code = ArchiveHistory(archive), code_version()
    places = [
        (projection, number, end)
        for projection in PROJECTIONS
        for (_, number), end in sorted((await history.ends(projection.source.name)).items())
    ]
    found: list[dict[str, Any]] = []
    for done, (projection, partition, end) in enumerate(places):
        manifest = history.manifest((projection.source.name, partition))
        assert manifest is not None
        chain = await image(history, archive, manifest.log, projection, partition, end, code, every)
        about = {"projection": projection.name, "version": projection.version, "code": code, "partition": partition}
        found.append({**about, "images": len(chain.images), "end": chain.end})
        watch(done + 1, len(places))
    return found
