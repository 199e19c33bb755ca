"""Explanations from the log alone: one subject's records and the control records of its partition, folded again.

Nothing else can influence a verdict, so this is what the live fold did, without the rest of the partition.
"""

from collections.abc import AsyncIterator
from typing import Any

from agents.log_reading import read_range
from agents.publishing import partition_of
from infra.kafka.reading import ends
from schemas import events as e
from schemas.catalogue import TYPE_OF, types_of
from schemas.topics import EVENTS, JUDGEMENTS, VERDICTS, Topic
from schemas.wire import Undecodable
from streams.annotators import ANNOTATORS_PROJECTION, AnnotatorsState
from streams.explanation import account, in_words, redecide, what_if
from streams.people import Person, clears_after, detail, person
from streams.people import in_words as words_of_flag
from streams.projection import Effect, Json, Record, record_of
from streams.redeciding import as_decided, past_of
from streams.review import CONTROLS, REVIEW, ReviewState, rules_in
from streams.rules import DEFAULT_RULES, look
from streams.weighing import NO_POLICY, InForce

_CONTROL_TYPES = frozenset(type_.encode() for type_ in types_of(*CONTROLS))


class Account:
    """What became of one submission, record by record."""

    def __init__(self, subject: str, partition: int) -> None:
        self.subject = subject
        self.partition = partition
        self._state: ReviewState = REVIEW.empty()
        self._before = NO_POLICY
        self._history: list[Json] = []
        self._decision: Json | None = None
        #: By the offset up to which votes decided, and the policy's version.
        self._decisions: dict[tuple[int, int], Json] = {}

    def feed(self, record: Record) -> None:
        in_force = self._in_force()
        step = REVIEW.apply(self._state, record)
        self._state = step.state
        if self._in_force().version != in_force.version:
            self._before = in_force
        effects = [effect for effect in step.effects if effect.key == self.subject and effect.topic == VERDICTS.name]
        if _is_told(record, self.subject) or effects:
            refused = None if step.refusal is None else step.refusal.code
            self._history.append(_entry(record, effects, refused))
        if any(effect.type == TYPE_OF[e.VerdictReached] for effect in effects):
            self._decision = self._decided(record)
            row = self._state.rows[self.subject]
            self._decisions[row.reached, row.decided_under] = self._decision

    def told(self) -> Json | None:
        """The explanation, or None if the submission never came in."""
        row = self._state.rows.get(self.subject)
        if row is None or not row.revision:
            return None
        now = account(row, rules_in(self._state, row.project, row.slice))
        decision = self._decision if row.verdict is not None else None
        shown = now if decision is None else decision["account"]
        return {
            "subject": self.subject,
            "project": row.project,
            "kind": row.kind,
            "slice": row.slice,
            "revision": row.revision,
            "state": "withdrawn" if row.withdrawn else row.verdict or "waiting",
            "words": in_words(shown, "" if decision is None else f" at offset {decision['offset']}"),
            "decision": decision,
            "now": now,
            "what_if": what_if(shown),
            "reproduced": redecide(shown)._asdict() == shown["decision"],
            "checks": None if row.analysis is None else dict(zip(_CHECKS, row.analysis, strict=False)),
            "partition": self.partition,
            "history": self._history,
        }

    def _in_force(self) -> InForce:
        """The policy that decides about the submission."""
        row, policies = self._state.rows.get(self.subject), self._state.control.policies
        return NO_POLICY if row is None else policies.of(policies.scope_of(row.project, row.slice))

    def _decided(self, record: Record) -> Json:
        row = self._state.rows[self.subject]
        rules = rules_in(self._state, row.project, row.slice)
        if row.reached < record.offset:
            # A policy decided it again: by the votes up to then, or as it had been decided before the policy that is undone.
            known = self._decisions.get((row.reached, row.decided_under))
            if known is not None:
                return {**known, "restored_at": record.offset}
            row = as_decided(row, past_of(self._state, self.subject, row.revision), rules)
        said = account(row, rules)
        earlier = None
        if said["policy"]["version"]:
            policy = self._before.policy.model_dump(mode="json")
            changes = {name: policy[name] for name in _DECIDING}
            earlier = {"policy_version": self._before.version, **redecide(said, **changes)._asdict()}
        return {"offset": record.offset, "time": _time(record), "account": said, "under_the_policy_before": earlier}


#: The thresholds that decide; labels and weights stay as they were.
_DECIDING = ("overlap_min", "overlap_max", "approve_confidence_permille", "reject_confidence_permille")


#: What is shown of an analysis: its first fields, without the embedding.
_CHECKS = ("revision", "model", "words")


def _is_told(record: Record, subject: str) -> bool:
    # Whether somebody knew the right answer is nobody's to learn here: the person it concerns may read it.
    return record.event.subject == subject and not isinstance(record.event.data, e.GoldenAnswerSet)


def _time(record: Record) -> str:
    return record.event.time.isoformat().replace("+00:00", "Z")


def _entry(record: Record, effects: list[Effect], refused: str | None) -> Json:
    data: Any = record.event.data
    by = next((getattr(data, name) for name in _ACTORS if hasattr(data, name)), None)
    then = [{"event": effect.type.split(".")[1], **effect.data} for effect in effects]
    name = record.event.type.split(".")[1]
    return {"offset": record.offset, "time": _time(record), "event": name, "by": by, "then": then, "refused": refused}


_ACTORS = ("voter", "writer", "editor", "withdrawn_by", "ruled_by", "reopened_by", "applied_by")


async def explain_subject(brokers: str, subject: str, until: int | None = None) -> Json | None:
    """Why a submission stands as it does, or stood before offset `until`; None if the log knows none of that name."""
    partitions = await ends(brokers, EVENTS.name)
    place = (EVENTS.name, partition_of(subject, len(partitions)))
    end = partitions[place] if until is None else min(until, partitions[place])
    found = Account(subject, place[1])
    async for record in about(brokers, EVENTS, place[1], end, subject, _CONTROL_TYPES):
        found.feed(record)
    return found.told()


async def about(brokers: str, topic: Topic, partition: int, end: int, key: str, types: frozenset[bytes]) -> AsyncIterator[Record]:
    """The records of one key and of these types, of which nothing else is decoded. What is no event is left out, as folds do."""
    encoded = key.encode()
    async for batch in read_range(brokers, (topic.name, partition), 0, end):
        for raw in batch:
            type_ = dict(raw.headers).get("ce_type")
            if raw.key == encoded or type_ in types or type_ is None:
                try:
                    yield record_of(raw.partition, raw.offset, raw.value)
                except Undecodable:
                    continue


# --- people ------------------------------------------------------------------------------------

_PEOPLES_CONTROLS = frozenset(type_.encode() for type_ in types_of(e.PolicyApplied, e.PaceMeasured, e.ClockTicked))
_FLAGS = (TYPE_OF[e.AnnotatorFlagged], TYPE_OF[e.AnnotatorCleared])


class Life:
    """What became of one annotator, record by record."""

    def __init__(self, annotator: str) -> None:
        self.annotator = annotator
        self._state: AnnotatorsState = ANNOTATORS_PROJECTION.empty()
        self._history: list[Json] = []

    def feed(self, record: Record) -> None:
        step = ANNOTATORS_PROJECTION.apply(self._state, record)
        self._state = step.state
        for effect in step.effects:
            if effect.key == self.annotator and effect.type in _FLAGS:
                said = {name: value for name, value in effect.data.items() if name not in _KEPT_BACK.get(effect.data["rule"], ())}
                about = {"partition": record.partition, "offset": record.offset, "time": _time(record)}
                self._history.append({**about, "event": effect.type.split(".")[1], **said})

    def told(self) -> Json | None:
        """The explanation, or None if nothing was ever said of this person."""
        row = self._state.rows.get(self.annotator)
        if row is None:
            return None
        people = [person(self.annotator, name, tally, DEFAULT_RULES) for name, tally in sorted(row.projects.items())]
        people = [one._replace(rules=self._state.control.get(one.project, DEFAULT_RULES)) for one in people]
        projects = [_about(one) for one in people]
        return {"annotator": self.annotator, "projects": projects, "history": self._history}


#: With the places of the votes behind it, a flag for golden answers would tell which tasks they were on.
_KEPT_BACK = {"golden": ("evidence", "subjects")}


def _about(one: Person) -> Json:
    flags = [{**flag, "clears_after": clears_after(one, flag["rule"])} for flag in detail(one)["flags"]]
    flags = [
        {**flag, "reproduced": look(flag["rule"], one.tally, one.rules).holds, "words": words_of_flag(flag)} for flag in flags
    ]
    words = [flag["words"] for flag in flags] or ["Nothing is held against this person."]
    return {**detail(one), "flags": flags, "words": words}


async def explain_annotator(brokers: str, annotator: str) -> Json | None:
    """Why a person is flagged, or not; None if no judgement names them."""
    partitions = await ends(brokers, JUDGEMENTS.name)
    place = (JUDGEMENTS.name, partition_of(annotator, len(partitions)))
    life = Life(annotator)
    async for record in about(brokers, JUDGEMENTS, place[1], partitions[place], annotator, _PEOPLES_CONTROLS):
        life.feed(record)
    return life.told()
