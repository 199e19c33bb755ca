"""Looks for texts in every file of a data directory, as bytes and as what the bytes unpack to.

Packed forms that are understood: gzip, zstd, Parquet, Kafka's log segments batch by batch, and the tables of ClickHouse by
asking the engine. Texts never leave this process: a server keeps the queries that it was sent.
"""

import contextlib
import errno
import gzip
import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cramjam
import orjson

from infra.clickhouse.engine import reach
from infra.errors import AssayError
from infra.settings import Settings
from schemas.tables import SINK_TABLES

#: Texts with fewer bytes stand anywhere by chance.
SHORTEST_BYTES = 12
#: What is looked for of a longer text: pieces of this length, so that a text that was cut is found too.
PIECE_BYTES = 64
CHUNK_BYTES = 16 << 20
#: Offsets of each partition that are asked for at once.
OFFSETS = 25_000
Watch = Callable[[int, int], None]


@dataclass
class Scan:
    """What was looked at, and where a text was found; a text is named by its number."""

    texts: int
    too_short: int
    files: int = 0
    bytes: int = 0
    #: Place -> numbers of the texts found there.
    found: dict[str, list[int]] = field(default_factory=dict)
    not_looked_at: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.found and not self.not_looked_at


class Needles:
    """Texts as pieces of bytes: plain, and in both spellings of JSON."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = list(dict.fromkeys(texts))
        self._pieces: dict[bytes, int] = {}
        self.too_short = 0
        for number, text in enumerate(self.texts):
            if len(text.encode("utf-8", "surrogatepass")) < SHORTEST_BYTES:
                self.too_short += 1
                continue
            for spelt in _spellings(text):
                middle = max(0, len(spelt) // 2 - PIECE_BYTES // 2)
                for piece in (spelt[:PIECE_BYTES], spelt[middle : middle + PIECE_BYTES], spelt[-PIECE_BYTES:]):
                    self._pieces.setdefault(piece, number)

    def within(self, content: bytes) -> set[int]:
        """Numbers of the texts that stand in these bytes."""
        return {number for piece, number in self._pieces.items() if content.find(piece) >= 0}


def _spellings(text: str) -> set[bytes]:
    plain = text.encode("utf-8", "surrogatepass")
    with contextlib.suppress(orjson.JSONEncodeError):
        return {plain, orjson.dumps(text)[1:-1], json.dumps(text)[1:-1].encode()}
    return {plain, json.dumps(text)[1:-1].encode()}


def scan(settings: Settings, texts: Iterable[str], watch: Watch = lambda done, total: None) -> Scan:
    """Every file under the data directory, and every row of the analytics store."""
    needles = Needles(texts)
    result = Scan(len(needles.texts), needles.too_short)
    files = sorted(path for path in settings.data_dir.rglob("*") if path.is_file() and not path.is_symlink())
    for done, path in enumerate(files):
        watch(done, len(files))
        _scan_file(settings.data_dir, path, needles, result)
    _scan_store(settings, needles, result)
    return result


def _scan_file(home: Path, path: Path, needles: Needles, result: Scan) -> None:
    place, numbers = str(path.relative_to(home)), set[int]()
    try:
        for content in _contents(path):
            result.bytes += len(content)
            numbers |= needles.within(content)
        result.files += 1
    except FileNotFoundError:
        return  # it went while others were looked at: a part that was merged, a segment that was rolled
    except (OSError, ValueError, EOFError, zlib.error, cramjam.DecompressionError) as error:
        result.not_looked_at[place] = f"{type(error).__name__}: {error}"[:200]
    if numbers:
        result.found[place] = sorted(numbers)


def _contents(path: Path) -> Iterator[bytes]:
    """The file as it is, then unpacked."""
    with path.open("rb") as file:
        for start, end in _extents(file.fileno()):
            file.seek(start)
            yield from _overlapping(lambda size, end=end: file.read(min(size, end - file.tell())))  # type: ignore[misc]
    if path.suffix == ".log" and path.with_suffix(".index").exists() and path.stat().st_size:
        with path.open("rb") as file, contextlib.closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as mapped:
            yield from _segment(mapped)
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".gz":
        with gzip.open(path) as packed:
            yield from _overlapping(packed.read)
    elif path.suffix == ".zst":
        yield bytes(cramjam.zstd.decompress(path.read_bytes()))


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file has bytes: Kafka makes its indices 10 MiB long, nearly all of it holes."""
    end, size = 0, os.fstat(descriptor).st_size
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no file system that knows of holes
                yield end, size
            return
        yield start, end


def _overlapping(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Chunks, each with the end of the one before: a piece stands whole in one of them."""
    before = b""
    while chunk := read(CHUNK_BYTES):
        yield before + chunk
        before = chunk[-PIECE_BYTES:]


def _parquet(path: Path) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(batch_size=10_000):
        sink = pa.BufferOutputStream()
        # Uncompressed: the columns' buffers as they are.
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield sink.getvalue().to_pybytes()


def _segment(mapped: mmap.mmap) -> Iterator[bytes]:
    """The values, keys and headers of one segment of a Kafka log, a batch at a time."""
    from aiokafka.record import MemoryRecords

    start = 0
    while start + 12 <= len(mapped):
        length = int.from_bytes(mapped[start + 8 : start + 12], "big")
        if not length or start + 12 + length > len(mapped):
            return
        records = MemoryRecords(bytes(mapped[start : start + 12 + length]))
        while records.has_next():
            batch: Any = records.next_batch()
            parts = (part for record in batch for part in (record.key, record.value, *(value for _, value in record.headers)))
            yield b"\0".join(part for part in parts if part)
        start += 12 + length


def _scan_store(settings: Settings, needles: Needles, result: Scan) -> None:
    """All rows, as the engine unpacks them; it is not told what is looked for."""
    if not settings.clickhouse.url and not (settings.data_dir / "clickhouse").exists():
        return
    try:
        with contextlib.closing(reach(settings)) as store:
            client = store.client(store.database)
            for table in SINK_TABLES:
                numbers = set[int]()
                for content in _rows(client, table.name):
                    result.bytes += len(content)
                    numbers |= needles.within(content)
                if numbers:
                    result.found[f"ClickHouse, table {table.name}"] = sorted(numbers)
    except AssayError as error:
        result.not_looked_at["ClickHouse"] = str(error)


def _rows(client: Any, table: str) -> Iterator[bytes]:
    ((end,),) = client.query(f"SELECT max(`offset`) + 1 FROM {table}").result_rows
    for first in range(0, end, OFFSETS):
        asked = f"SELECT * FROM {table} WHERE `offset` >= {first} AND `offset` < {first + OFFSETS}"
        with client.raw_stream(asked, fmt="TabSeparatedRaw") as rows:
            yield from _overlapping(rows.read)
