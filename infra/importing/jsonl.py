"""Assay's own events, one JSON object a line."""

from collections.abc import Iterable, Iterator

from infra.importing.facts import Found, Imported, Options
from infra.importing.lines import Line, Problem
from schemas.catalogue import EVENT_TYPES
from schemas.events import AuthorErased
from schemas.topics import EVENTS
from schemas.wire import Undecodable, told

#: What people and tools may tell. The rest is derived by the agents, or must stand in every partition.
IMPORTABLE = frozenset(
    type_ for type_, entry in EVENT_TYPES.items() if entry.topics == (EVENTS,) and entry.data is not AuthorErased
)

_HINTS = {
    "not_json": "one whole JSON object a line",
    "unknown_type": "`assay schema list` has every type",
    "too_new": "update Assay",
    "invalid": "`assay schema show TYPE` has the fields and their bounds",
}


def jsonl(lines: Iterable[Line | Problem], _: Options) -> Iterator[Found]:
    """Each line's event as it is, in the version that it was told in: it says all that options might."""
    for line in lines:
        yield line if isinstance(line, Problem) else _event(line)


def _event(line: Line) -> Found:
    try:
        event = told(line.text.encode())
    except Undecodable as error:
        return Problem(line.number, error.code, str(error), _HINTS[error.code])
    if event.type not in IMPORTABLE:
        hint = "policies come by `assay policy apply`, erasures by `assay erase`; what agents derive, they derive again"
        return Problem(line.number, "not_importable", f"{event.type} is not for outsiders to tell", hint)
    if event.time.timestamp() < 0:
        return Problem(line.number, "invalid", "/time: before 1970, which no event id can hold", _HINTS["invalid"])
    return Imported(line.number, event)
