"""What every fold has in common: records in, state and effects out, positions beside state.

`apply` is pure in effect, not in memory: it consumes the state that it is given (as a move) and returns the
next one, and callers only ever use what was returned. It has no I/O, clock, randomness or set order.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from zlib import crc32

import orjson

from schemas.events import AnyEvent
from schemas.identity import derived_id, derived_stem, unix_milliseconds
from schemas.topics import Topic, state_topic
from schemas.wire import Undecodable, decode
from schemas.words import Origin

Json = dict[str, Any]
RowT = TypeVar("RowT")
ControlT = TypeVar("ControlT")
MadeT = TypeVar("MadeT", bound=tuple[Any, ...])

#: The key of the state row that holds a partition's position and what its control records said.
CONTROL_KEY = "~control"
#: Keys of shared rows begin with it; no subject's id does.
SHARED = "~"
NOWHERE = -1


def maker(type_: Callable[..., MadeT]) -> Callable[[tuple[Any, ...]], MadeT]:
    """Makes a NamedTuple of a tuple of all its fields. Calling its class does so in Python, at four times the cost."""
    made: Callable[[tuple[Any, ...]], MadeT] = partial(getattr(tuple, "__new__"), type_)  # noqa: B009  # it has no type
    return made


class Record(NamedTuple):
    """One event at its place in the log; `digest` is a checksum of its bytes, to tell apart what shares an id."""

    partition: int
    offset: int
    digest: int
    time_ms: int
    event: AnyEvent


_record = maker(Record)

HOUR_MILLISECONDS = 3_600_000
#: The end of the last hour that `JudgementScored.hour` allows.
LATEST_MS = 10_000_001 * HOUR_MILLISECONDS - 1


def record_of(partition: int, offset: int, value: bytes, decode: Callable[[bytes], AnyEvent] = decode) -> Record:
    """The record of these bytes. Raises schemas.wire.Undecodable."""
    event = decode(value)
    time_ms = unix_milliseconds(event.time)
    if time_ms < 0:
        raise Undecodable("invalid", "/time: before 1970, which no event id can hold")
    if time_ms > LATEST_MS:
        raise Undecodable("invalid", "/time: after the year 3110, which no judgement's `hour` can hold")
    return _record((partition, offset, crc32(value), time_ms, event))


class Effect(NamedTuple):
    """A fact that a fold asks to be published; `data` lacks its origin, which `facts` adds."""

    topic: str
    key: str
    type: str
    data: Json


effect = maker(Effect)


class Refusal(NamedTuple):
    """A well-formed record that must not count: it goes to quarantine under this code."""

    code: str
    reason: str


@dataclass(slots=True)
class State(Generic[RowT, ControlT]):
    """One partition of a projection: rows by key, what the control records said, and the last offset folded."""

    control: ControlT
    rows: dict[str, RowT] = field(default_factory=dict[str, RowT])
    #: Rows about many subjects at once, as JSON: what control records said that is long, and counts over a whole slice.
    shared: dict[str, Json] = field(default_factory=dict[str, Json])
    position: int = NOWHERE
    #: Keys changed since the last flush, in the order of their first change.
    touched: dict[str, None] = field(default_factory=dict[str, None])


class Step(NamedTuple, Generic[RowT, ControlT]):
    """What one record led to."""

    state: State[RowT, ControlT]
    effects: list[Effect]
    refusal: Refusal | None = None


class Projection(Protocol[RowT, ControlT]):
    """A named, versioned pure fold. `pack` gives what JSON can hold, from which `unpack` gives an equal row."""

    name: str
    version: int
    source: Topic

    def empty(self) -> State[RowT, ControlT]: ...
    def apply(self, state: State[RowT, ControlT], record: Record) -> Step[RowT, ControlT]: ...
    def pack(self, row: RowT) -> Any: ...
    def unpack(self, packed: Any) -> RowT: ...
    def pack_control(self, control: ControlT) -> Json: ...
    def unpack_control(self, packed: Json) -> ControlT: ...


AnyProjection = Projection[Any, Any]
AnyState = State[Any, Any]


def topic_of(projection: AnyProjection) -> Topic:
    """The compacted topic where the projection's rows live."""
    return state_topic(projection.name, projection.version)


#: For each source partition, the last origin (offset, index) that was counted.
Origins = dict[int, tuple[int, int]]


def counts_first(origins: Origins, origin: Origin) -> bool:
    """Whether a derived fact is new here, which is then noted: after a crash facts come again, in the same order."""
    place = (origin.offset, origin.index)
    partition = origin.partition
    before = origins.get(partition)
    if before is not None and place <= before:
        return False
    origins[partition] = place
    return True


def pack_origins(origins: Origins) -> Json:
    return {str(partition): place for partition, place in sorted(origins.items())}


def unpack_origins(packed: Json) -> Origins:
    return {int(partition): (offset, index) for partition, (offset, index) in packed.items()}


class Fact(NamedTuple):
    """A derived event, ready for the log: its id and bytes follow from its origin alone."""

    topic: str
    key: str
    id: str
    type: str
    value: bytes


_fact = maker(Fact)


@lru_cache(maxsize=4096)
def _minute(since_1970: int) -> str:
    # Not isoformat, which asks the time zone; and events that come together often share their minute.
    day, rest = divmod(since_1970, 1_440)
    return f"{date(1970, 1, 1) + timedelta(days=day)}T{rest // 60:02}:{rest % 60:02}"


def _utc(time_ms: int) -> str:
    minute, rest = divmod(time_ms, 60_000)
    return f"{_minute(minute)}:{rest // 1_000:02}.{rest % 1_000:03}Z"


def facts(
    projection: AnyProjection, record: Record, effects: Iterable[Effect], only: frozenset[str] | None = None
) -> Iterator[Fact]:
    """The events that these effects of this record are published as; with `only` those of these types. The same record gives
    the same bytes.

    The envelope is put together as text, at a third of what `orjson` takes for all of it: ids, keys and types are
    words of `schemas.words`, in which JSON has nothing to escape.
    """
    stem = derived_stem(record.time_ms, projection.name, record.partition, record.offset)
    after_type = f'","source":"assay/{projection.name}","subject":"'
    after_key = f'","time":"{_utc(record.time_ms)}","data":'
    origin = f',"origin":{{"partition":{record.partition},"offset":{record.offset},"index":'
    for index, (topic, key, type_, data) in enumerate(effects):
        if only is not None and type_ not in only:
            continue
        id_ = derived_id(stem, index)
        body = orjson.dumps(data)[:-1].decode()
        value = f'{{"specversion":"1.0","id":"{id_}","type":"{type_}{after_type}{key}{after_key}{body}{origin}{index}}}}}}}'
        yield _fact((topic, key, id_, type_, value.encode()))


def replay(
    projection: Projection[RowT, ControlT],
    records: Iterable[Record],
    observe: Callable[[Record, Step[RowT, ControlT]], None] | None = None,
) -> State[RowT, ControlT]:
    """Fold one partition's records from nothing. `observe` sees each step, for instance to collect its effects."""
    state = projection.empty()
    for record in records:
        step = projection.apply(state, record)
        state = step.state
        if observe is not None:
            observe(record, step)
    return state


def row_bytes(projection: AnyProjection, state: AnyState, key: str) -> bytes:
    """One state row as it is stored: JSON with the offset that it was folded up to."""
    if key == CONTROL_KEY:
        return orjson.dumps({"position": state.position, "control": projection.pack_control(state.control)})
    return orjson.dumps(state.shared[key] if key.startswith(SHARED) else projection.pack(state.rows[key]))


def restore(projection: AnyProjection, rows: Iterable[tuple[str, bytes]]) -> AnyState:
    """The state that these stored rows were written from; of two rows with one key the later counts."""
    state = projection.empty()
    for key, value in rows:
        restore_row(projection, state, key, orjson.loads(value))
    return state


def restore_row(projection: AnyProjection, state: AnyState, key: str, packed: Json) -> None:
    """Take one stored row into the state."""
    if key == CONTROL_KEY:
        state.position = packed["position"]
        state.control = projection.unpack_control(packed["control"])
    elif key.startswith(SHARED):
        state.shared[key] = packed
    else:
        state.rows[key] = projection.unpack(packed)


def state_hash(projection: AnyProjection, state: AnyState) -> str:
    """SHA-256 over every row in key order, keys of objects sorted: equal state, equal hash, on any machine."""
    digest = sha256()
    control = {"position": state.position, "control": projection.pack_control(state.control)}
    digest.update(orjson.dumps(control, option=orjson.OPT_SORT_KEYS))
    for key in sorted(state.shared):
        digest.update(key.encode() + b"\0" + orjson.dumps(state.shared[key], option=orjson.OPT_SORT_KEYS) + b"\n")
    for key in sorted(state.rows):
        digest.update(key.encode() + b"\0")
        digest.update(orjson.dumps(projection.pack(state.rows[key]), option=orjson.OPT_SORT_KEYS) + b"\n")
    return digest.hexdigest()
