"""Small conversations as events: what the tests of datasets and snapshots are about."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.catalogue import TYPE_OF
from schemas.events import EVENT, ComparisonOffered, Criterion, PreferenceCast, SubmissionEdited, SubmissionReceived, VoteCast
from schemas.identity import event_id
from schemas.wire import encode
from schemas.words import Frozen
from streams.dataset import Harvest, Submission
from streams.projection import Record, record_of
from streams.weighing import InForce

#: The subject of a control record, of which every partition gets a copy.
EVERYWHERE = "everywhere"
START = datetime(2026, 3, 1, tzinfo=UTC)


def event(subject: str, number: int, data: Frozen) -> tuple[str, bytes]:
    """(subject, bytes) of an event; `number` makes its time, and with it its id."""
    time, type_ = START + timedelta(seconds=number), TYPE_OF[type(data)]
    about = {"id": event_id(time, subject, type_), "type": type_, "source": "tests", "subject": subject, "time": time}
    return subject, encode(EVENT.validate_python({**about, "data": data}))


def text(subject: str, body: str, prompt: str | None = None, **changes: Any) -> tuple[str, Frozen]:
    kind = "prompt" if prompt is None else "completion"
    fields = {
        "project": "p",
        "kind": kind,
        "writer": "w-1",
        "slice": "en/general/chat",
        "text": body,
        "prompt": prompt,
        "provenance": "human",
    }
    return subject, SubmissionReceived(**(fields | changes))


def edit(subject: str, body: str, revision: int = 2) -> tuple[str, Frozen]:
    return subject, SubmissionEdited(revision=revision, editor="ed", text=body)


def votes(subject: str, label: str = "good", revision: int = 1) -> list[tuple[str, Frozen]]:
    """Two equal votes, which decide under the default policy."""
    return [(subject, VoteCast(revision=revision, voter=voter, label=label)) for voter in ("v-1", "v-2")]  # type: ignore[arg-type]


def approved(*texts: tuple[str, Frozen]) -> list[tuple[str, Frozen]]:
    return [step for one in texts for step in (one, *votes(one[0]))]


def compared(subject: str, prompt: str, left: str, right: str, *choices: str, project: str = "p") -> list[tuple[str, Frozen]]:
    """A comparison, and choices by as many people; two equal ones decide under the default policy."""
    offered = ComparisonOffered(project=project, slice="en/general/chat", prompt=prompt, left=left, right=right)
    # Whatever is preferred overall, the right one does less harm.
    criteria = (Criterion(name="harmless/bias", score=-1),)
    cast = [
        PreferenceCast(annotator=f"v-{at}", choice=choice, criteria=criteria)  # type: ignore[arg-type]
        for at, choice in enumerate(choices)
    ]
    return [(subject, offered), *((subject, one) for one in cast)]


def events(steps: Iterable[tuple[str, Frozen]], start: int = 0) -> list[tuple[str, bytes]]:
    return [event(subject, number, data) for number, (subject, data) in enumerate(steps, start)]


def submissions(steps: Sequence[tuple[str, Frozen]], partitions: int = 1) -> list[Submission]:
    """What stands after these steps in a log of so many partitions."""
    return [submission for harvest in fed(steps, partitions) for submission in harvest.submissions()]


def records(steps: Sequence[tuple[str, Frozen]], partitions: int = 1) -> list[Record]:
    """A log of these steps; of a control record every partition gets a copy."""
    offsets, found = [0] * partitions, list[Record]()
    for subject, value in events(steps):
        for number in range(partitions) if subject == EVERYWHERE else [sum(subject.encode()) % partitions]:
            found.append(record_of(number, offsets[number], value))
            offsets[number] += 1
    return found


def fed(steps: Sequence[tuple[str, Frozen]], partitions: int = 1, given: Mapping[str, InForce] | None = None) -> list[Harvest]:
    """A harvest for each partition of a log of these steps."""
    harvests = [Harvest(number, given) for number in range(partitions)]
    for record in records(steps, partitions):
        harvests[record.partition].feed(record)
    return harvests
