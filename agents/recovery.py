"""From an assignment to a live state: the rows of the state topic, and the log where they end.

State rows are disposable, the log is not: rows that cannot be read are thrown away and folded again without asking,
and a log that lacks what the rows stand for stops the worker.
"""

import asyncio
from itertools import islice

import orjson
import structlog

from agents.log_reading import Extent, extents
from agents.partition import Partition
from agents.state_log import Row
from streams.projection import CONTROL_KEY, SHARED, AnyProjection, AnyState, Json, restore_row

log = structlog.get_logger(__name__)

#: Rows between two looks of the event loop at everything else.
CHUNK_ROWS = 2_000
#: Tombstones in one transaction.
TOMBSTONES = 100_000
_CONTROL, _SHARED = CONTROL_KEY.encode(), SHARED.encode()


class DamagedRows(Exception):
    """State rows that this version cannot read."""


class LogLost(Exception):
    """The log does not hold what the state rows were folded from, or what has to be folded next."""


async def restore(brokers: str, group: str, partition: Partition) -> int:
    """Open the state log, read its rows into the partition's state, and hold them against the log; returns the offset
    where the group goes on, up to which the log has to be folded where the rows end earlier.

    Raises LogLost, and ProducerFenced where another worker opens the same log at the same time.
    """
    found = await partition.rows.open(lambda have, need: _reading(partition, have, need))
    try:
        partition.state = await _restored(partition.projection, found)
    except DamagedRows as error:
        await _throw_away(partition, found, error)
    partition.read = partition.durable = partition.state.position
    place = (partition.projection.source.name, partition.number)
    extent = (await extents(brokers, group, [place]))[place]
    _hold_against_log(f"{place[0]}, partition {place[1]}", extent, partition.read + 1)
    return extent.committed


def _reading(partition: Partition, have: int, need: int) -> None:
    if partition.stage == "opening":
        partition.stage = "reading rows"
        partition.reading.began(have, need)
    partition.reading.have = have


async def _restored(projection: AnyProjection, found: dict[bytes, bytes]) -> AnyState:
    """The state that these rows were written from. Raises DamagedRows."""
    state = projection.empty()
    if found and _CONTROL not in found:
        raise DamagedRows(f"{len(found)} rows, and none with their position")
    rows, fields = iter(found.items()), 0
    while chunk := list(islice(rows, CHUNK_ROWS)):
        fields = _restore_rows(projection, state, chunk, fields)
        await asyncio.sleep(0)
    return state


def _restore_rows(projection: AnyProjection, state: AnyState, chunk: list[tuple[bytes, bytes]], fields: int) -> int:
    """Take these rows in. `fields`: how many one has, 0 before that is known; a row of another version has others."""
    unpack, rows, loads, key = projection.unpack, state.rows, orjson.loads, b""
    try:
        for key, value in chunk:
            packed = loads(value)
            if key.startswith(_SHARED):
                _restore_shared(projection, state, key, packed)
                continue
            row = rows[key.decode()] = unpack(packed)
            fields = fields or len(projection.pack(row))
            if len(packed) != fields:
                raise ValueError(f"{len(packed)} fields, not {fields}")
    except Exception as error:  # whatever unpacking stumbles over
        raise DamagedRows(f"row {key!r}: {error!r}") from error
    return fields


def _restore_shared(projection: AnyProjection, state: AnyState, key: bytes, packed: Json) -> None:
    restore_row(projection, state, key.decode(), packed)
    if key == _CONTROL and type(state.position) is not int:
        raise TypeError("its position is no integer")


async def _throw_away(partition: Partition, found: dict[bytes, bytes], error: DamagedRows) -> None:
    """Delete all rows. A crash in between leaves rows without a position, which is damage again."""
    log.warning(
        "state rows are damaged: thrown away, and folded again from the log",
        agent=partition.projection.name,
        partition=partition.number,
        rows=len(found),
        found=str(error),
    )
    keys = iter(sorted(found, key=lambda key: (key != _CONTROL, key)))
    while some := list(islice(keys, TOMBSTONES)):
        rows: list[Row] = [(key, None) for key in some]
        await partition.rows.write(rows)
    partition.state = partition.projection.empty()


def _hold_against_log(where: str, extent: Extent, following: int) -> None:
    first, end, goes_on = extent
    if max(following, goes_on) > end:
        known = "the state rows" if following > end else "the group's commits"
        raise LogLost(
            f"{known} are ahead of the log: {where} ends at offset {end}, and was folded up to {max(following, goes_on)}. "
            f"Name the brokers that hold this log, or restore it; for a new log, begin with a new broker"
        )
    if first > following:
        raise LogLost(
            f"the log begins too late: {where} begins at offset {first}, and offset {following} has to be folded next. "
            f"Event topics must keep everything; restore what was deleted"
        )
