"""Images of a projection's partition, beside the archive: a chain of files, each with the rows that changed since the one before.

`images/<projection>.v<version>/<code version>/<partition>/<first>-<end>.rows.parquet`, in order of keys, and `.counts.parquet`
with every change of a number at its offset. They are disposable: without them the log is folded from its beginning. Those of
other code are never used, for other code may come to other states.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from infra.errors import AssayError, Exit
from infra.history.archive import integers
from infra.history.rows import LazyRows, Packed
from infra.history.segments import MANIFEST, write_durably
from schemas.words import Frozen
from streams.census import Cell, Cells, cells_of
from streams.projection import CONTROL_KEY, SHARED, AnyProjection, AnyState, restore_row

ROWS = pa.schema([("key", pa.string()), ("row", pa.binary())])
CHANGES = pa.schema([("offset", pa.int64()), ("cell", pa.dictionary(pa.int32(), pa.string())), ("change", pa.int64())])
#: Rows that have to be decoded to get at one.
GROUP_ROWS = 2_048
#: Decoded groups of a file that are kept.
GROUPS = 64


class Image(Frozen):
    """What changed at first <= offset < end. Pages of rows have checksums of their own, so that one can be read without all."""

    first: int
    end: int
    position: int
    rows: int
    rows_bytes: int
    #: Of the end of the file, which says where everything is.
    rows_footer_sha256: str
    counts_sha256: str

    @property
    def stem(self) -> str:
        return f"{self.first:020d}-{self.end:020d}"


class Chain(Frozen):
    """All images of one partition, in order. `log` is the archive's."""

    format: Literal[1]
    log: str
    projection: str
    version: int
    code: str
    partition: int
    images: tuple[Image, ...] = ()

    @property
    def end(self) -> int:
        return self.images[-1].end if self.images else 0


class Change(NamedTuple):
    """A number that changed with the record at this offset."""

    offset: int
    cell: Cell
    change: int


def folder_of(archive: Path, projection: AnyProjection, code: str, partition: int) -> Path:
    return archive / "images" / f"{projection.name}.v{projection.version}" / code / str(partition)


# --- writing -----------------------------------------------------------------------------------


def write(
    folder: Path, chain: Chain, first: int, end: int, position: int, rows: Iterable[tuple[str, bytes]], counts: "Counts"
) -> Chain:
    """Add an image: rows in order of their keys, the control row among them. It counts once the manifest names it."""
    keys, packed = zip(*rows, strict=True)
    table = pa.table([pa.array(keys, pa.string()), pa.array(packed, pa.binary())], schema=ROWS)
    content = _parquet(table, row_group_size=GROUP_ROWS)
    counted = _parquet(counts.table())
    image = Image(
        first=first,
        end=end,
        position=position,
        rows=len(keys),
        rows_bytes=content.size,
        rows_footer_sha256=sha256(_footer(content)).hexdigest(),
        counts_sha256=sha256(counted).hexdigest(),
    )
    write_durably(folder / f"{image.stem}.rows.parquet", content)
    write_durably(folder / f"{image.stem}.counts.parquet", counted)
    added = chain.model_copy(update={"images": (*chain.images, image)})
    write_durably(folder / MANIFEST, added.model_dump_json(indent=1).encode() + b"\n")
    return added


def _parquet(table: pa.Table, **options: Any) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=["cell"], write_page_checksum=True, **options)
    return sink.getvalue()


def _footer(content: Any) -> bytes:
    tail = bytes(content[-8:])
    return bytes(content[-8 - int.from_bytes(tail[:4], "little") :])


class Counts:
    """Numbers before an image, and how they change in it."""

    def __init__(self, before: Mapping[Cell, int]) -> None:
        self.before = dict(before)
        self.changes: list[Change] = []
        self.earlier: pa.Table | None = None

    def table(self) -> pa.Table:
        names = {cell: orjson.dumps(cell).decode() for cell in {change.cell for change in self.changes}}
        columns = [
            pa.array([change.offset for change in self.changes], pa.int64()),
            pa.array([names[change.cell] for change in self.changes], pa.string()).dictionary_encode(),
            pa.array([change.change for change in self.changes], pa.int64()),
        ]
        table = pa.table(columns, schema=CHANGES)
        if self.earlier is not None:
            table = pa.concat_tables([self.earlier, table]).unify_dictionaries()
        before = orjson.dumps([[*cell, count] for cell, count in sorted(self.before.items())])
        return table.replace_schema_metadata({"before": before})


# --- reading -----------------------------------------------------------------------------------


def load(folder: Path) -> Chain | None:
    """The chain in this folder, if there is one. Raises AssayError where it is damaged."""
    path = folder / MANIFEST
    try:
        chain = Chain.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise damaged(path, str(error.errors()[0]["msg"])) from None
    own = folder.parent.parent.name, folder.parent.name, folder.name
    if (f"{chain.projection}.v{chain.version}", chain.code, str(chain.partition)) != own:
        raise damaged(path, f"it is of {chain.projection}.v{chain.version}/{chain.code}/{chain.partition}")
    end = 0
    for image in chain.images:
        if image.first != end:
            raise damaged(path, f"offset {end} follows, and the next image begins at {image.first}")
        end = image.end
    return chain


def damaged(path: Path, got: object) -> AssayError:
    hint = "delete the folder `images`: `assay archive` makes all of it again from the log"
    return AssayError("a state image is damaged", path, got, hint, Exit.FAILED)


class ImageFile:
    """The rows of one image. Blocks when it is looked into."""

    def __init__(self, folder: Path, image: Image) -> None:
        self.image, self.path = image, folder / f"{image.stem}.rows.parquet"
        self._groups: dict[int, tuple[list[str], pa.Array]] = {}

    @cached_property
    def _file(self) -> pq.ParquetFile:
        try:
            source = pa.memory_map(str(self.path))
        except FileNotFoundError as error:
            raise damaged(self.path, "no such file") from error
        content = source.read_buffer()
        if content.size != self.image.rows_bytes:
            raise damaged(self.path, f"{content.size} bytes, not {self.image.rows_bytes}")
        if sha256(_footer(content)).hexdigest() != self.image.rows_footer_sha256:
            raise damaged(self.path, "its end is not what was written")
        return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)

    @cached_property
    def _firsts(self) -> list[str]:
        """The first key of each group."""
        about = self._file.metadata
        return [about.row_group(number).column(0).statistics.min for number in range(about.num_row_groups)]

    def keys(self) -> list[str]:
        try:
            found: list[str] = self._file.read(columns=["key"])["key"].to_pylist()
        except OSError as error:
            raise damaged(self.path, error) from error
        return found

    def at(self, number: int) -> Packed:
        """The row of the n-th key."""
        _, rows = self._group(number // GROUP_ROWS)
        packed: bytes = rows[number % GROUP_ROWS].as_py()
        return packed

    def packed(self, key: str) -> Packed | None:
        """The row of this key, by looking into one group."""
        group = bisect_right(self._firsts, key) - 1
        if group < 0:
            return None
        keys, rows = self._group(group)
        at = bisect_left(keys, key)
        return rows[at].as_py() if at < len(keys) and keys[at] == key else None

    def _group(self, number: int) -> tuple[list[str], pa.Array]:
        if number not in self._groups:
            try:
                table = self._file.read_row_group(number)
            except OSError as error:
                raise damaged(self.path, error) from error
            if len(self._groups) == GROUPS:
                del self._groups[next(iter(self._groups))]
            self._groups[number] = table["key"].to_pylist(), table["row"].combine_chunks()
        return self._groups[number]


class ChainRows:
    """The newest row of every key over a chain. `indexed`: with one look at all keys, for whoever looks up many."""

    def __init__(self, folder: Path, images: Iterable[Image]) -> None:
        self.files = [ImageFile(folder, image) for image in images]

    @cached_property
    def _places(self) -> dict[str, tuple[ImageFile, int]]:
        found: dict[str, tuple[ImageFile, int]] = {}
        for file in self.files:
            for number, key in enumerate(file.keys()):
                found[key] = (file, number)
        return found

    def packed(self, key: str) -> Packed | None:
        place = self._places.get(key)
        return None if place is None else place[0].at(place[1])

    def one(self, key: str) -> Packed | None:
        """The same for whoever wants a few only."""
        for file in reversed(self.files):
            if (packed := file.packed(key)) is not None:
                return packed
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)


class _Part:
    """The rows of a chain that are shared, or that are not."""

    def __init__(self, chain: ChainRows, shared: bool) -> None:
        self._chain, self._shared = chain, shared
        self.packed = chain.packed

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._chain if key.startswith(SHARED) == self._shared and key != CONTROL_KEY)


def state_from(projection: AnyProjection, chain: ChainRows, cells: dict[str, Cells] | None = None) -> AnyState:
    """The state of the chain's last image, whose rows are unpacked when they are touched; `cells` gets what each then adds."""
    state = projection.empty()
    if not chain.files:
        return state
    control = chain.one(CONTROL_KEY)
    if control is None:
        raise damaged(chain.files[-1].path, "no control row")
    restore_row(projection, state, CONTROL_KEY, orjson.loads(control))

    def loaded(key: str, row: Any) -> None:
        if cells is not None:
            cells[key] = cells_of(key, row)

    state.rows = LazyRows(_Part(chain, shared=False), lambda packed: projection.unpack(orjson.loads(packed)), loaded)
    state.shared = LazyRows(_Part(chain, shared=True), orjson.loads, loaded)
    return state


def counts_at(folder: Path, chain: Chain, end: int) -> dict[Cell, int]:
    """The numbers after all records before this offset, which the chain must reach; nothing is folded."""
    image = next((one for one in chain.images if one.end >= end), None)
    if image is None:
        raise AssertionError("whoever asks has looked at the chain's end")
    table, counts = counts_file(folder, image)
    for cell, change in _sums(table, end):
        counts[cell] = counts.get(cell, 0) + change
    return {cell: count for cell, count in counts.items() if count}


def counts_file(folder: Path, image: Image) -> tuple[pa.Table, dict[Cell, int]]:
    """The changes of an image, and the numbers before it."""
    path = folder / f"{image.stem}.counts.parquet"
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise damaged(path, "no such file") from error
    if sha256(content).hexdigest() != image.counts_sha256:
        raise damaged(path, "its checksum is not that of the manifest")
    table = pq.ParquetFile(pa.BufferReader(content), read_dictionary=["cell"]).read()
    before = orjson.loads(table.schema.metadata[b"before"])
    return table.replace_schema_metadata(None).cast(CHANGES), {(a, b, c, d): count for a, b, c, d, count in before}


def _sums(table: pa.Table, end: int) -> Iterator[tuple[Cell, int]]:
    """The changes before this offset by cell."""
    for batch in table.to_batches():
        offsets, cells, changes = batch.columns
        stop = int(np.searchsorted(integers(offsets), end))
        sums = np.zeros(len(cells.dictionary), dtype=np.int64)
        np.add.at(sums, integers(cells.indices)[:stop], integers(changes)[:stop])
        yield from ((tuple(orjson.loads(cell.as_py())), int(count)) for cell, count in zip(cells.dictionary, sums, strict=True))
