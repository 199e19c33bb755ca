"""A file's way into the log: events, those of them that are new, and a report of all that was not taken."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

import orjson

from infra.importing.facts import Found
from infra.importing.lines import Problem
from infra.importing.publish import Known, Message, event_key, message
from infra.importing.sealing_in import Keys, Unsealable, sealed
from schemas.catalogue import EVENT_TYPES, EventType
from schemas.upcasts import GoldenAnswerSetV1, ToldEvent
from schemas.wire import Undecodable, encode, told

MAX_PROBLEMS = 20


@dataclass
class Report:
    """What became of a file. `problems` holds the first ones, `problems_total` and `problems_by_code` count all."""

    events: int = 0
    new: int = 0
    already_there: int = 0
    new_by_type: Counter[str] = field(default_factory=Counter)
    problems_total: int = 0
    problems_by_code: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, problem: Problem) -> None:
        self.problems_total += 1
        self.problems_by_code[problem.code] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def take(self, made: Message) -> Message:
        self.new += 1
        self.new_by_type[made.type] += 1
        return made


def intake(found: Iterable[Found], known: Known | None, report: Report, keys: Keys) -> Iterator[Message]:
    """The events that `known` lacks (None: all of them), as messages, with their words sealed; it grows by them, and `report`
    counts everything."""
    for one in found:
        if isinstance(one, Problem):
            report.refuse(one)
            continue
        report.events += 1
        try:
            made = message(sealed(one.event, keys))
        except Unsealable as error:
            report.refuse(Problem(one.line, error.code, error.reason, error.hint))
            continue
        if known is None:
            yield report.take(made)
            continue
        id_, digest = event_key(made.id), crc32(made.value)
        there = known.get(id_)
        if there is None:
            known[id_] = digest
            yield report.take(made)
        elif there == digest or there in _digests_before(one.event):
            report.already_there += 1
        else:
            report.refuse(_reused(one.line, made.id))


def _digests_before(event: ToldEvent) -> Iterator[int]:
    """Checksums of the event as earlier versions of Assay imported it: plain, and perhaps in an older version."""
    yield crc32(encode(event))
    newest = EVENT_TYPES[event.type]
    for entry in EVENT_TYPES.values():
        if entry.name == newest.name and entry.version < newest.version:
            # What an earlier version could not say, it never imported.
            with contextlib.suppress(Undecodable):
                yield crc32(encode(_before(event, entry)))


def _before(event: ToldEvent, entry: EventType) -> ToldEvent:
    raw = orjson.loads(encode(event))
    said = raw["data"]
    if entry.data is GoldenAnswerSetV1:
        said["verdict"] = {"good": "approved", "bad": "rejected"}.get(said["label"])
    data = {name: value for name, value in said.items() if name in entry.data.model_fields}
    return told(orjson.dumps({**raw, "type": entry.type, "data": data}))


def _reused(line: int, id_: str) -> Problem:
    reason = f"event {id_} is in the log with another body"
    return Problem(line, "id_reused", reason, "the log is never rewritten: correct it by a new event, such as a later vote")
