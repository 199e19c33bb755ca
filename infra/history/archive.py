"""History as an archive holds it."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import AssayError, Exit
from infra.history import segments
from infra.history.segments import GROUP_ROWS, MANIFEST, Manifest, Segment, folder_of
from infra.history.source import Headers, Place, Raw, Stretch, decoded_all
from streams.projection import Record

_FOLDED = ("offset", "value")


class ArchivedRecord(NamedTuple):
    """A record as a segment holds it; see `infra.history.source.Raw`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class ArchiveHistory:
    """The log in the Parquet files of this folder. Each file is checked against its manifest before anything of it is used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifests: dict[Place, Manifest | None] = {}
        if not any(folder.glob(f"*/*/{MANIFEST}")):
            raise AssayError("no archive here", where=folder, hint="`assay archive` makes one, --to names its folder")

    def manifest(self, place: Place) -> Manifest | None:
        """None where this partition was not archived."""
        if place not in self._manifests:
            folder = folder_of(self.folder, place)
            self._manifests[place] = segments.load(folder) if (folder / MANIFEST).exists() else None
        return self._manifests[place]

    def places(self) -> list[Place]:
        found = [path.parent for path in self.folder.glob(f"*/*/{MANIFEST}")]
        return sorted((folder.parent.name, int(folder.name)) for folder in found if folder.name.isdecimal())

    async def ends(self, *topics: str) -> dict[Place, int]:
        found = {place: self.manifest(place) for place in self.places() if place[0] in topics}
        return {place: manifest.end for place, manifest in found.items() if manifest is not None}

    async def records(
        self, topic: str, partition: int, end: int, start: int = 0, too_new: str = "quarantine"
    ) -> AsyncIterator[Record]:
        async for record in decoded_all((topic, partition), self.stretches(topic, partition, end, start), too_new):
            yield record

    async def stretches(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Stretch]:
        async with aclosing(self.tables((topic, partition), end, start, _FOLDED)) as tables:
            async for table in tables:
                for batch in table.to_batches(GROUP_ROWS):
                    yield Stretch(*(column.to_pylist() for column in batch.columns))

    async def raw(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Sequence[Raw]]:
        async with aclosing(self.tables((topic, partition), end, start, None)) as tables:
            async for table in tables:
                for batch in table.to_batches(GROUP_ROWS):
                    yield list(rows_of(batch))

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        manifest = self._manifest((topic, partition))
        for segment in manifest.segments:
            if segment.newest_ms >= time_ms:
                folder = folder_of(self.folder, (topic, partition))
                table = await asyncio.to_thread(segments.read, folder, manifest, segment, ("offset", "timestamp_ms"))
                at = int(np.argmax(integers(table["timestamp_ms"]) >= time_ms))
                return int(table["offset"][at].as_py())
        return manifest.end

    async def tables(self, place: Place, end: int, start: int, columns: Sequence[str] | None) -> AsyncGenerator[pa.Table, None]:
        """The segments cut to these offsets. The next one is read and checked in a thread while one is worked on."""
        manifest = self._manifest(place)
        self._holds(manifest, start, end)
        wanted = _between(manifest.segments, start, end)
        read = partial(segments.read, folder_of(self.folder, place), manifest)
        following = asyncio.ensure_future(asyncio.to_thread(read, wanted[0], columns)) if wanted else None
        try:
            for number, segment in enumerate(wanted):
                assert following is not None
                table = await following
                following = None
                if number + 1 < len(wanted):
                    following = asyncio.ensure_future(asyncio.to_thread(read, wanted[number + 1], columns))
                yield _cut(table, segment, start, end)
        finally:
            if following is not None:
                following.cancel()

    def _manifest(self, place: Place) -> Manifest:
        manifest = self.manifest(place)
        if manifest is None:
            raise AssayError("the archive lacks a partition", folder_of(self.folder, place), hint="`assay archive` adds it")
        return manifest

    def _holds(self, manifest: Manifest, start: int, end: int) -> None:
        where = f"{manifest.topic}/{manifest.partition} in {self.folder}"
        if start < min(end, manifest.first):
            got = f"it begins at offset {manifest.first}, and {start} is asked for"
            raise AssayError("the archive begins too late", where, got, exit_code=Exit.FAILED)
        if start < end and end > manifest.end:
            hint = "`assay archive` adds what came since; --source kafka reads the log itself"
            got = f"it ends at offset {manifest.end}, and {end} is asked for"
            raise AssayError("the archive does not reach that far", where, got, hint, Exit.FAILED)


def _between(all_: Sequence[Segment], start: int, end: int) -> Sequence[Segment]:
    first = bisect_right(all_, start, key=lambda segment: segment.end)
    return [segment for segment in all_[first:] if segment.first < end] if start < end else []


def _cut(table: pa.Table, segment: Segment, start: int, end: int) -> pa.Table:
    if start <= segment.first and segment.end <= end:
        return table
    first, behind = np.searchsorted(integers(table["offset"]), (start, end))
    return table.slice(int(first), int(behind - first))


def integers(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A column without nulls. Not by Arrow's `to_numpy` or functions, which bring in pandas: that takes half a second."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return np.concatenate([np.from_dlpack(chunk) for chunk in chunks]) if chunks else np.zeros(0, dtype=np.int64)


def rows_of(batch: pa.RecordBatch) -> Iterator[ArchivedRecord]:
    offsets, timestamps, keys, values, headers = (batch.column(name) for name in segments.SCHEMA.names)
    named = (tuple((header["name"], header["value"]) for header in row) for row in headers.to_pylist())
    for row in zip(*(column.to_pylist() for column in (offsets, timestamps, keys, values)), named, strict=True):
        yield ArchivedRecord(*row)
