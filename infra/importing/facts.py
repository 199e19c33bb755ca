"""What adapters are told and what they give: events with their line, made with ids that a second run makes again."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

from pydantic import ValidationError

from infra.importing.lines import Line, Problem
from schemas.catalogue import TYPE_OF, enveloped, split_type
from schemas.identity import event_id
from schemas.upcasts import ToldEvent
from schemas.words import ID_PATTERN, Frozen, Label

START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS: Mapping[str, Label] = {"1": "good", "good": "good", "0": "bad", "bad": "bad"}
_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True)
class Options:
    """What an adapter must be told beside the lines; each adapter uses what it needs."""

    project: str
    #: The synthetic clock of files without times: line or vote number n happened at start + n * step.
    start: datetime = START
    step: timedelta = timedelta(minutes=1)
    slice: str = "en/general/judgement"
    labels: Mapping[str, Label] = field(default_factory=lambda: LABELS)
    #: Lines of a gold.csv.
    gold: Iterable[Line | Problem] = ()
    #: Who wrote the completions of a file that does not say so.
    writer: str = "unknown"

    def moment(self, number: int, milliseconds: int = 0) -> datetime:
        return self.start + number * self.step + timedelta(milliseconds=milliseconds)


class Imported(NamedTuple):
    """An event, and the number of the line that it came from."""

    line: int
    event: ToldEvent


Found = Imported | Problem


class Moment(NamedTuple):
    """When an event happened, and on which line of the input that stands."""

    line: int
    time: datetime


def first_version(data: Frozen) -> str:
    """The type of this data at version 1. Ids are made of it, so that a file that was imported before a type had its newest
    version gives the same ids again."""
    return f"assay.{split_type(TYPE_OF[type(data)])[0]}.v1"


def imported(moment: Moment, source: str, subject: str, data: Frozen, *parts: str | int) -> Imported:
    """The event of this data. Its id follows from the time, the type, the subject and `parts`, which tell apart what
    happens to one subject at one time. Raises pydantic's ValidationError if a bound is passed."""
    id_ = event_id(moment.time, source, first_version(data), subject, *parts)
    return Imported(moment.line, enveloped(id_, source, subject, moment.time, data))


def guarded(line: int, made: Iterator[Imported]) -> Iterator[Found]:
    """The events of one line up to the first that a schema refuses, and then why."""
    try:
        yield from made
    except ValidationError as error:
        yield refused(line, error)


def refused(line: int, error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_input=False)[0]
    where = "/".join(str(part) for part in first["loc"])
    return Problem(line, "refused", f"{where or error.title}: {first['msg']}"[:300], f"`assay schema show` has {error.title}")


def identifier(project: str, name: str) -> str:
    """`project-name` as an id. Where the name has other characters than ids may have, a slug and a hash stand for it."""
    plain = f"{project}-{name}"
    if _ID.fullmatch(plain):
        return plain
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:48]
    return f"{project}-{slug}-{blake2b(name.encode(), digest_size=6).hexdigest()}"


def annotator(name: str) -> str:
    """A person's id as the source has it, if ids may have its characters."""
    return name if _ID.fullmatch(name) else identifier("worker", name)
