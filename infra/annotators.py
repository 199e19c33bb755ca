"""People as the workers know them, who may be handed what, and how alike people vote: read, measured, recorded."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from agents.log_reading import read_range
from agents.publishing import Place, partition_of
from infra.importing.publish import message, publishing, put
from infra.kafka.reading import ends, live_states
from infra.times import now
from infra.verification import replayed
from schemas.catalogue import TYPE_OF, enveloped
from schemas.events import AnnotatorEnrolled, AnyEvent, LikenessMeasured, PaceMeasured
from schemas.identity import event_id
from schemas.topics import ANNOTATORS, EVENTS, JUDGEMENTS
from schemas.wire import decode
from schemas.words import Frozen
from streams.agreement import Sums, merged, moved, nothing
from streams.annotators import ANNOTATORS_PROJECTION
from streams.likeness import Pair, bonferroni, median_milliseconds, pairs
from streams.people import Person, person
from streams.review import REVIEW
from streams.rules import DEFAULT_RULES
from streams.standing import golden_now
from streams.submissions import live_votes

#: Not `assay/annotators`: by that source `assay verify` knows what the projection derives.
SOURCE = "assay/people"


async def people(brokers: str) -> AsyncIterator[Person]:
    """Everybody, once for each project and task, from the workers' state rows."""
    async for state in live_states(brokers, ANNOTATORS_PROJECTION):
        for annotator in sorted(state.rows):
            for name, tally in sorted(state.rows[annotator].projects.items()):
                one = person(annotator, name, tally, DEFAULT_RULES)
                yield one._replace(rules=state.control.get(one.project, DEFAULT_RULES))


# --- measuring ---------------------------------------------------------------------------------


class Crowd:
    """The live votes of one project."""

    def __init__(self) -> None:
        self.votes: dict[str, dict[str, str]] = {}
        self.golden: dict[str, str] = {}
        self.milliseconds: list[int] = []


class Measured(NamedTuple):
    """One project's likeness and pace; `bound` is by Bonferroni over its pairs."""

    project: str
    votes: int
    median_milliseconds: int | None
    timed: int
    bound: float
    pairs: list[Pair]


async def crowds(brokers: str, project: str | None) -> dict[str, Crowd]:
    """Projects -> live votes and golden answers, by a replay of the log."""
    found: dict[str, Crowd] = {}
    for (_, partition), end in sorted((await ends(brokers, EVENTS.name)).items()):
        state = await replayed(brokers, REVIEW, partition, end)
        for key, row in state.rows.items():
            if row.revision and project in (None, row.project):
                live = live_votes(row)
                crowd = found.setdefault(row.project, Crowd())
                crowd.votes[key] = {vote.voter: vote.label for vote in live}
                crowd.milliseconds += [vote.milliseconds for vote in live if vote.milliseconds is not None]
                if (right := golden_now(row)) is not None:
                    crowd.golden[key] = right
    return found


def measure(project: str, crowd: Crowd) -> Measured:
    found = pairs(crowd.votes, crowd.golden)
    votes = sum(map(len, crowd.votes.values()))
    pace = median_milliseconds(crowd.milliseconds)
    return Measured(project, votes, pace, len(crowd.milliseconds), bonferroni(len(found)), found)


async def agreement(brokers: str, project: str | None) -> dict[tuple[str, str | None], Sums]:
    """(project, slice) -> what alpha is made of, from review's state rows; under None a project as a whole."""
    slices: dict[tuple[str, str], Sums] = {}
    async for state in live_states(brokers, REVIEW):
        for row in state.rows.values():
            if row.revision and project in (None, row.project):
                said = Counter(vote.label for vote in live_votes(row))
                moved(slices.setdefault((row.project, row.slice), nothing()), {}, said)
    found: dict[tuple[str, str | None], Sums] = {}
    for name in sorted({name for name, _ in slices}):
        own = {slice_: sums for (of, slice_), sums in sorted(slices.items()) if of == name}
        found[name, None] = merged(own.values())
        found |= {(name, slice_): sums for slice_, sums in own.items()}
    return found


# --- recording ---------------------------------------------------------------------------------


class Earlier(NamedTuple):
    """What was published before of one project: the newest version, and whom it was about."""

    version: int
    pairs: frozenset[tuple[str, str]]


async def earlier(brokers: str) -> dict[str, Earlier]:
    """By project. Reads the topic of judgements from the beginning, and decodes only what is asked for."""
    found: dict[str, Earlier] = {}
    wanted = {TYPE_OF[model].encode() for model in (PaceMeasured, LikenessMeasured)}
    for place, end in (await ends(brokers, JUDGEMENTS.name)).items():
        async for batch in read_range(brokers, place, 0, end):
            for raw in batch:
                if dict(raw.headers).get("ce_type", b"") in wanted:
                    _note(found, decode(raw.value))
    return found


def _note(found: dict[str, Earlier], event: AnyEvent) -> None:
    data = event.data
    if isinstance(data, PaceMeasured | LikenessMeasured):
        before = found.get(data.project, Earlier(0, frozenset()))
        pair = {(event.subject, data.other)} if isinstance(data, LikenessMeasured) else set[tuple[str, str]]()
        found[data.project] = Earlier(max(before.version, data.version), before.pairs | pair)


def to_publish(measured: Measured, before: Earlier | None) -> list[AnyEvent]:
    """The project's pace, and of each pair beyond the bound, or told before, what either is to the other."""
    version, told = before or Earlier(0, frozenset())
    made: list[AnyEvent] = []
    if measured.median_milliseconds is not None:
        about: dict[str, Any] = {"project": measured.project, "version": version + 1, "votes": measured.timed}
        made.append(_event(measured.project, PaceMeasured(**about, median_milliseconds=measured.median_milliseconds)))
    for pair in measured.pairs:
        if pair.z > measured.bound or (pair.one, pair.other) in told:
            for person_, other in ((pair.one, pair.other), (pair.other, pair.one)):
                made.append(_event(person_, _likeness(measured, pair, other, version + 1)))
    return made


def _likeness(measured: Measured, pair: Pair, other: str, version: int) -> LikenessMeasured:
    return LikenessMeasured(
        project=measured.project,
        version=version,
        other=other,
        shared=pair.shared,
        same=pair.same,
        expected_permille=round(1_000 * pair.expected),
        z_milli=round(1_000 * pair.z),
        habits_z_milli=round(1_000 * pair.habits_z),
        bound_milli=round(1_000 * measured.bound),
        evidence=pair.subjects,
    )


def _event(subject: str, data: Frozen) -> AnyEvent:
    time = now()
    id_ = event_id(time, SOURCE, TYPE_OF[type(data)], subject, data.model_dump_json())
    return enveloped(id_, SOURCE, subject, time, data)


async def publish(brokers: str, events: Iterable[AnyEvent]) -> int:
    """Write likenesses by their person and paces into every partition, and return how many records that took."""
    count = len(await ends(brokers, JUDGEMENTS.name))
    placed: list[tuple[Place, AnyEvent]] = []
    for event in events:
        everywhere = isinstance(event.data, PaceMeasured)
        numbers = range(count) if everywhere else (partition_of(event.subject, count),)
        placed += [((JUDGEMENTS.name, number), event) for number in numbers]
    await _write(brokers, placed)
    return len(placed)


async def enroll(brokers: str, annotator: str, data: AnnotatorEnrolled) -> AnyEvent:
    """Record what a person may be handed. Returns when it is durable."""
    event = _event(annotator, data)
    place = (ANNOTATORS.name, partition_of(annotator, len(await ends(brokers, ANNOTATORS.name))))
    await _write(brokers, [(place, event)])
    return event


async def _write(brokers: str, placed: Iterable[tuple[Place, AnyEvent]]) -> None:
    async with publishing(brokers) as publisher:
        for place, event in placed:
            one = message(event)
            put(publisher, place, one)
