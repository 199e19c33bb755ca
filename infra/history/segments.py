"""An archive on disk: `<folder>/<topic>/<partition>/<first>-<end>.parquet`, and beside them a manifest that says which belong.

A segment appears whole or not at all, and counts from when the manifest names it. What a crash leaves behind is named by
no manifest, begins where the manifest ends, and is written again.
"""

import os
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from agents.durable import sync
from infra.errors import AssayError, Exit
from infra.history.source import Place, Raw
from schemas.words import Frozen

MANIFEST = "manifest.json"
LOCK = "lock"
SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
#: Rows of one group, which is what a bounded read has to decode beyond what it wants.
GROUP_ROWS = 16_384
_NUMBERS = {"offset": "DELTA_BINARY_PACKED", "timestamp_ms": "DELTA_BINARY_PACKED"}
_NAME = re.compile(r"^(\d{20})-(\d{20})\.parquet$")
_WRITE_AGAIN = "restore the file from a copy, or archive again into an empty folder"


class Segment(Frozen):
    """One file: first <= offset < end. `last` is a digest of its last record, `newest_ms` the highest time in it."""

    first: int
    end: int
    records: int
    bytes: int
    sha256: str
    last: str
    newest_ms: int

    @property
    def name(self) -> str:
        return name_of(self.first, self.end)


class Manifest(Frozen):
    """All segments of one partition, in order. `log` is the archive's own id, the same in all of its files."""

    format: Literal[1]
    log: str
    topic: str
    partition: int
    segments: tuple[Segment, ...] = ()

    @property
    def first(self) -> int:
        return self.segments[0].first if self.segments else 0

    @property
    def end(self) -> int:
        return self.segments[-1].end if self.segments else 0


class Columns(NamedTuple):
    """Records to be written, column by column."""

    offsets: list[int]
    timestamps: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[list[tuple[str, bytes | None]]]


def columns_of(batch: Sequence[Raw]) -> Columns:
    return Columns(
        [raw.offset for raw in batch],
        [raw.timestamp for raw in batch],
        [raw.key for raw in batch],
        [raw.value for raw in batch],
        [list(raw.headers) for raw in batch],
    )


def name_of(first: int, end: int) -> str:
    return f"{first:020d}-{end:020d}.parquet"


def folder_of(archive: Path, place: Place) -> Path:
    return archive / place[0] / str(place[1])


def place_of(manifest: Manifest) -> Place:
    return manifest.topic, manifest.partition


def digest_of(raw: Raw) -> str:
    """What tells a record from any other that may stand at its offset in another log."""
    digest = sha256(f"{raw.timestamp}\0".encode())
    for part in (raw.key, raw.value):
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return digest.hexdigest()


# --- writing -----------------------------------------------------------------------------------


def table_of(columns: Columns) -> pa.Table:
    headers = [[{"name": name, "value": value} for name, value in row] for row in columns.headers]
    arrays: list[Any] = [*columns[:4], headers]
    return pa.table([pa.array(values, field.type) for values, field in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA)


def write(folder: Path, manifest: Manifest, table: pa.Table, last: Raw, end: int, first: int) -> Manifest:
    """Add these records as a segment; the new manifest, which is on disk as well. Never half of it."""
    about = {"log": manifest.log, "topic": manifest.topic, "partition": str(manifest.partition), "first": str(first)}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(about | {"end": str(end)}),
        sink,
        compression="zstd",
        row_group_size=GROUP_ROWS,
        use_dictionary=["key", "headers.list.element.name"],
        column_encoding=_NUMBERS,
    )
    content = sink.getvalue()
    segment = Segment(
        first=first,
        end=end,
        records=table.num_rows,
        bytes=content.size,
        sha256=sha256(content).hexdigest(),
        last=digest_of(last),
        newest_ms=pc.max(table["timestamp_ms"]).as_py(),
    )
    write_durably(folder / segment.name, content)
    added = manifest.model_copy(update={"segments": (*manifest.segments, segment)})
    save(folder, added)
    return added


def save(folder: Path, manifest: Manifest) -> None:
    write_durably(folder / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")


def write_durably(path: Path, content: Any) -> None:
    """Write a file that is there whole after a crash, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(path)
    sync(path.parent)


# --- reading -----------------------------------------------------------------------------------


def load(folder: Path) -> Manifest:
    """The manifest of one partition, held against itself and against the names and sizes of its files."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{'/'.join(map(str, first['loc']))}: {first['msg']}"
        raise damaged("a manifest of the archive is damaged", folder / MANIFEST, got) from None
    if folder_of(folder.parents[1], place_of(manifest)) != folder:
        raise damaged("a manifest stands in another partition's folder", folder, f"{manifest.topic}/{manifest.partition}")
    _in_a_row(folder, manifest)
    _as_on_disk(folder, manifest)
    return manifest


def damaged(what: str, where: object, got: object) -> AssayError:
    return AssayError(what, where, got, _WRITE_AGAIN, Exit.FAILED)


def _in_a_row(folder: Path, manifest: Manifest) -> None:
    for one, following in zip(manifest.segments, manifest.segments[1:], strict=False):
        if following.first > one.end:
            raise damaged("the archive has a gap", folder, f"offsets {one.end} to {following.first - 1} are in no segment")
        if following.first < one.end:
            raise damaged("segments of the archive overlap", folder, f"{one.name} and {following.name}")


def _as_on_disk(folder: Path, manifest: Manifest) -> None:
    there = {path.name: path.stat().st_size for path in folder.glob("*.parquet")}
    for segment in manifest.segments:
        size = there.pop(segment.name, None)
        if size is None:
            raise damaged("the archive has a gap: a segment is missing", folder / segment.name, "no such file")
        if size != segment.bytes:
            raise damaged("a segment is cut off or was written to", folder / segment.name, f"{size} bytes, not {segment.bytes}")
    for name in there:
        _left_behind(folder, manifest, name)


def _left_behind(folder: Path, manifest: Manifest, name: str) -> None:
    """A crash leaves a segment that begins where the manifest ends; a segment written again leaves its shorter one."""
    found = _NAME.match(name)
    shorter = found is not None and any(one.first == int(found[1]) and int(found[2]) < one.end for one in manifest.segments)
    if found is None or (int(found[1]) < manifest.end and not shorter):
        raise damaged(
            "a file is no part of this archive: it overlaps, or is of another log", folder / name, "not in the manifest"
        )


def read(folder: Path, manifest: Manifest, segment: Segment, columns: Sequence[str] | None = None) -> pa.Table:
    """The records of a segment, which is checked first. Blocks."""
    path = folder / segment.name
    content = _content(path)
    if sha256(content).hexdigest() != segment.sha256:
        raise damaged(*_why(path, content, manifest, segment))
    # Not `read_table`, which brings in pandas.
    return pq.ParquetFile(pa.BufferReader(content)).read(columns=None if columns is None else list(columns))


def _content(path: Path) -> Any:
    try:
        with pa.OSFile(str(path)) as opened:
            return opened.read_buffer()
    except FileNotFoundError as error:
        raise damaged("the archive has a gap: a segment is missing", path, "no such file") from error


def _why(path: Path, content: Any, manifest: Manifest, segment: Segment) -> tuple[str, Path, str]:
    try:
        about = pq.read_schema(pa.BufferReader(content)).metadata or {}
    except pa.ArrowInvalid:
        return "a segment is damaged", path, "its checksum is not that of the manifest"
    log, topic, first = (about.get(name, b"?").decode() for name in (b"log", b"topic", b"first"))
    if log != manifest.log:
        return "a segment is of another log", path, f"of archive {log}, not {manifest.log}"
    if (topic, first) != (manifest.topic, str(segment.first)):
        return "a segment is of another place", path, f"{topic} from {first}"
    return "a segment is damaged", path, "its checksum is not that of the manifest"
