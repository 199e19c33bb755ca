"""`assay.quarantine.v1` from outside: what waits there, and the markers that settle it."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from agents.log_reading import read_range
from agents.publishing import Headers, Place, fact_headers
from agents.quarantine import ATTEMPTS_HEADER
from infra.errors import AssayError, Exit
from infra.importing.publish import publishing
from infra.kafka.reading import ends
from schemas.topics import QUARANTINE, TOPICS
from schemas.wire import Undecodable, told

Settled = Literal["replayed", "discarded"]
_STATES: dict[str, Settled] = {"replayed": "replayed", "discarded": "discarded"}


class Ref(NamedTuple):
    """Where a record stands in the quarantine; written partition/offset."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Held:
    """One record that could not be handled: its bytes, where it came from, why, and what became of it."""

    ref: Ref
    topic: str
    partition: int
    offset: int
    projection: str
    error: str
    code: str
    reason: str
    attempt: int
    time_ms: int
    key: bytes | None
    value: bytes
    settled: Settled | None = None


def ref_of(text: str) -> Ref:
    """`2/17` -> Ref(2, 17). Raises AssayError."""
    partition, _, offset = text.partition("/")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise AssayError("this names no quarantined record", got=text, hint="partition/offset, as in `assay quarantine list`")
    return Ref(int(partition), int(offset))


async def held(brokers: str) -> list[Held]:
    """Everything that was ever quarantined, by partition and offset, with what became of it.

    A worker that ended before its commit set the same record aside again: such copies are one, under the first one's ref.
    """
    records: dict[Ref, Held] = {}
    settled: dict[Ref, Settled] = {}
    for place, end in sorted((await ends(brokers, QUARANTINE.name)).items()):
        async for record, headers in _records(brokers, place, end):
            if (state := _STATES.get(headers.get("state", ""))) is not None:
                ref = Ref(*(_number(part) for part in headers.get("ref", "").partition("/")[::2]))
                settled.setdefault(ref, state)  # of somebody else's marker it is a place that is not there
            else:
                records[Ref(record.partition, record.offset)] = _held(record, headers)
    firsts: dict[tuple[str, int, int, str], Held] = {}
    for record in records.values():
        firsts.setdefault((record.topic, record.partition, record.offset, record.projection), record)
    return [_with_state(record, settled.get(record.ref)) for record in firsts.values()]


async def _records(brokers: str, place: Place, end: int) -> AsyncIterator[tuple[Any, dict[str, str]]]:
    async for batch in read_range(brokers, place, 0, end):
        for record in batch:
            yield record, {name: (value or b"").decode("utf-8", "backslashreplace") for name, value in record.headers}


def _held(record: Any, headers: dict[str, str]) -> Held:
    """Whatever else writes to this topic is shown as well, as far as it says where it came from."""
    return Held(
        Ref(record.partition, record.offset),
        headers.get("topic", "?"),
        _number(headers.get("partition")),
        _number(headers.get("offset")),
        headers.get("projection", "?"),
        headers.get("error", "?"),
        headers.get("code", "?"),
        headers.get("reason", "?"),
        _number(headers.get("attempt")),
        record.timestamp,
        record.key,
        record.value or b"",
    )


def _number(text: str | None) -> int:
    """-1 where it is none, or has more digits than any offset."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else -1


def _with_state(record: Held, settled: Settled | None) -> Held:
    return replace(record, settled=settled)


def chosen(found: Iterable[Held], refs: Iterable[Ref]) -> list[Held]:
    """The waiting records of these refs, in the order given. Raises AssayError for one that is not there or settled."""
    by_ref = {record.ref: record for record in found}
    picked: list[Held] = []
    for ref in refs:
        record = by_ref.get(ref)
        if record is None:
            raise AssayError("no such quarantined record", got=ref, hint="`assay quarantine list --all` lists every one")
        if record.settled is not None:
            raise AssayError(f"this record was {record.settled} already", got=ref, hint="`assay quarantine list` has what waits")
        picked.append(record)
    return picked


async def replay_records(brokers: str, records: Iterable[Held]) -> int:
    """Append each one's original bytes to its topic and partition again, and then the marker that settles it.

    Interrupted between the two, a record is sent again by the next replay: the folds take the same event id once.
    """
    chosen = list(records)
    named = {record.topic for record in chosen} & {topic.name for topic in TOPICS}
    places = await ends(brokers, *named) if named else {}
    for record in chosen:
        if (record.topic, record.partition) not in places:
            where = f"{record.topic}/{record.partition}"
            raise AssayError("its partition is not there any more", where=where, got=record.ref, exit_code=Exit.FAILED)
    async with publishing(brokers) as publisher:
        for record in chosen:
            place = (record.topic, record.partition)
            publisher.add(place, record.key, record.value, record.time_ms, _headers(record))
    await _mark(brokers, chosen, "replayed", "")
    return len(chosen)


def _headers(record: Held) -> Headers:
    """Those of the event, if it is one, and how often it was refused: the worker counts on from there."""
    refused = [(ATTEMPTS_HEADER, b"%d" % max(record.attempt, 0))]
    try:
        event = told(record.value)
    except Undecodable:
        return refused
    return fact_headers(event.id, event.type) + refused


async def discard_records(brokers: str, records: Iterable[Held], reason: str) -> int:
    """Note that these may stay unhandled, and why. Their bytes stay where they are."""
    chosen = list(records)
    await _mark(brokers, chosen, "discarded", reason)
    return len(chosen)


async def _mark(brokers: str, records: Iterable[Held], state: Settled, reason: str) -> None:
    async with publishing(brokers) as publisher:
        for record in records:
            headers = [("state", state.encode()), ("ref", str(record.ref).encode()), ("reason", reason.encode())]
            publisher.add((QUARANTINE.name, record.ref.partition), record.key, b"", record.time_ms, headers)
