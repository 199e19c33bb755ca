"""From records of the log to rows of the store, and one checksum that the log and the store compute alike.

Nothing here validates: whatever stands in the log gets its row, so that rows can be counted against records.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from schemas.catalogue import split_type
from schemas.tables import QUARANTINE_TABLE, Table

#: What DateTime64(3) can hold.
EARLIEST_MS = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp() * 1000)
LATEST_MS = int(datetime(2299, 12, 31, tzinfo=UTC).timestamp() * 1000)

Record = Any  # aiokafka's ConsumerRecord has no types


class Facts(NamedTuple):
    """Columns of one partition's records, in the order of the log; times in milliseconds since 1970."""

    offset: list[int]
    event_id: list[str]
    type: list[str]
    version: list[int]
    subject: list[str]
    time: npt.NDArray[np.int64]
    source: list[str]
    data: list[bytes]


class Quarantined(NamedTuple):
    """The same for records of the quarantine."""

    offset: list[int]
    key: list[bytes]
    time: npt.NDArray[np.int64]
    headers: list[str]
    value: list[bytes]


Rows = Facts | Quarantined


def rows_of(table: Table, records: Sequence[Record]) -> Rows:
    return _quarantined(records) if table.name == QUARANTINE_TABLE.name else _facts(records)


def _facts(records: Sequence[Record]) -> Facts:
    events = [_fact(record.value or b"") for record in records]
    types = [event.type for event in events]
    named = {type_: _name(type_) for type_ in set(types)}
    return Facts(
        [record.offset for record in records],
        [event.id for event in events],
        [named[type_][0] for type_ in types],
        [named[type_][1] for type_ in types],
        [event.subject for event in events],
        _times([event.time for event in events], records),
        [event.source for event in events],
        [bytes(event.data) for event in events],
    )


class _Fact(msgspec.Struct, gc=False):
    """An event's envelope, and its data as they were sent: only looked through, which takes a third of reading them."""

    id: str
    type: str
    subject: str
    time: str
    source: str
    data: msgspec.Raw


_decode = msgspec.json.Decoder(_Fact).decode
_FIELDS = ("id", "type", "subject", "time", "source")
#: How deep msgspec reads depends on how deep its caller stands; far fewer levels than this it always reads.
_MANY_LEVELS = 200


def _fact(value: bytes) -> _Fact:
    if value.count(b"[") + value.count(b"{") < _MANY_LEVELS:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return _decode(value)
    return _odd_fact(value)


def _odd_fact(value: bytes) -> _Fact:
    """'' for a field that is no string; the whole value where there are no data, or deeper ones than JSON is written."""
    event: Any = {}
    with contextlib.suppress(orjson.JSONDecodeError):
        event = orjson.loads(value)
    if not isinstance(event, dict):
        event = {}
    data = value
    with contextlib.suppress(KeyError, orjson.JSONEncodeError):
        data = orjson.dumps(event["data"])
    texts = {name: field if isinstance(field := event.get(name), str) else "" for name in _FIELDS}
    return _Fact(**texts, data=msgspec.Raw(data))


_names: dict[str, tuple[str, int]] = {}


def _name(type_: str) -> tuple[str, int]:
    """`assay.VoteCast.v1` -> ("VoteCast", 1); what is not of that form stays as it is, at version 0."""
    found = _names.get(type_)
    if found is None:
        try:
            found = split_type(type_)
        except ValueError:
            found = (type_, 0)
        if found[1] > 65_535:
            found = (type_, 0)
        if len(_names) < 1_000:
            _names[type_] = found
    return found


def _times(texts: list[str], records: Sequence[Record]) -> npt.NDArray[np.int64]:
    try:
        stamps = pa.array(texts).cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        millis = np.floor_divide(stamps, 1_000)
        if millis.min() >= EARLIEST_MS and millis.max() <= LATEST_MS:
            return np.asarray(millis, np.int64)
    except pa.ArrowInvalid:
        pass
    return np.array([_time(text, record) for text, record in zip(texts, records, strict=True)], np.int64)


def _time(text: str, record: Record) -> int:
    """One time, exactly as the many are read; the record's own where the event has none that can be kept."""
    try:
        stamp = pa.array([text]).cast(pa.timestamp("us", "UTC")).cast(pa.int64())[0].as_py()
        millis = int(stamp) // 1_000
    except pa.ArrowInvalid:
        return _timestamp(record)
    return millis if EARLIEST_MS <= millis <= LATEST_MS else _timestamp(record)


def _timestamp(record: Record) -> int:
    return min(max(int(record.timestamp), 0), LATEST_MS)


def _quarantined(records: Sequence[Record]) -> Quarantined:
    return Quarantined(
        [record.offset for record in records],
        [record.key or b"" for record in records],
        np.array([_timestamp(record) for record in records], np.int64),
        [_headers(record) for record in records],
        [record.value or b"" for record in records],
    )


def _headers(record: Record) -> str:
    texts = {name: bytes(value or b"").decode("utf-8", "backslashreplace") for name, value in record.headers}
    return orjson.dumps(texts).decode()


# --- for the insert ----------------------------------------------------------------------------

_ARROW = {
    "offset": pa.uint64(), "event_id": pa.string(), "type": pa.string(), "version": pa.uint16(), "subject": pa.string(),
    "time": pa.timestamp("ms", "UTC"), "source": pa.string(), "data": pa.binary(), "key": pa.binary(),
    "headers": pa.string(), "value": pa.binary(),
}  # fmt: skip


def arrow(topic: str, partition: int, rows: Rows) -> pa.Table:
    count = len(rows.offset)
    place = {"topic": pa.repeat(pa.scalar(topic), count), "partition": pa.repeat(pa.scalar(partition, pa.uint32()), count)}
    columns = {name: pa.array(values, _ARROW[name]) for name, values in rows._asdict().items()}
    return pa.table({**place, **columns})


def by_month(rows: Rows, table: pa.Table) -> Iterator[pa.Table]:
    """The table in parts of one calendar month each (the unit of a ClickHouse partition), in the order of the log."""
    months = rows.time.astype("datetime64[ms]").astype("datetime64[M]")
    different = np.unique(months)
    if len(different) == 1:
        yield table
        return
    for month in different:
        yield table.filter(pa.array(months == month))


# --- for the comparison ------------------------------------------------------------------------


def checksum(partition: int, rows: Rows) -> int:
    """Xor of a hash of every row. CRCs would not do: they are linear, so swapped contents would cancel out."""
    name = str(partition).encode()
    columns = [_as_bytes(values) for values in rows]
    total = 0
    for cells in zip(*columns, strict=True):
        digest = hashlib.md5(b"\0".join((name, *cells)), usedforsecurity=False).digest()
        total ^= int.from_bytes(digest[:8], "big")
    return total


def _as_bytes(values: Any) -> list[bytes]:
    first = values[0] if len(values) else b""
    if isinstance(first, bytes):
        return list(values)
    if isinstance(first, str):
        return [value.encode() for value in values]
    return [b"%d" % value for value in values]


_AS_TEXT: dict[str, Callable[[str], str]] = {"time": lambda name: f"toUnixTimestamp64Milli({name})"}


def checksum_sql(table: Table) -> str:
    """The same in SQL, over the rows of one partition."""
    fields = Quarantined._fields if table.name == QUARANTINE_TABLE.name else Facts._fields
    columns = [_AS_TEXT.get(name, str)(f"`{name}`") for name in ("partition", *fields)]
    cells = ", ".join(f"toString({column})" for column in columns)
    return f"groupBitXor(halfMD5(concatWithSeparator('\\0', {cells})))"
