"""Votes through the real folds, in memory: review, what it derives through annotators, and skills back into review.

One partition, one project, one pass. Skills are estimated whenever the votes have grown by a tenth, where live it is done
by the clock; a replay of what was told gives the same to the bit.
"""

from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas.catalogue import TYPE_OF
from schemas.events import GoldenAnswerSet, PolicyApplied, SubmissionReceived, VoteCast
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.topics import JUDGEMENTS
from schemas.words import Frozen, Model
from streams.annotators import ANNOTATORS_PROJECTION
from streams.projection import NOWHERE, AnyProjection, AnyState, Effect, Record, facts, record_of
from streams.review import REVIEW, rules_in
from streams.scores import Scores
from streams.skills import Estimate, Subject, changed, control_records, estimate, voter_of
from streams.submissions import Row, weigh
from streams.weighing import InForce, Rules, rules_of

PROJECT = "crowd"
WRITER = "nobody"
SOURCE = "assay/bench"
START = datetime(2026, 1, 1, tzinfo=UTC)
#: Skills are estimated when votes have grown by this share, and by this many.
GROWTH, LEAST = 1.1, 20
ABOUT = Subject(PROJECT, "review")


class Fold:
    """A projection over a log of its own: each event that it is told gets the next offset."""

    def __init__(self, projection: AnyProjection) -> None:
        self.projection = projection
        self.state: AnyState = projection.empty()
        self.offset = 0

    def tell(self, value: bytes) -> tuple[Record, list[Effect]]:
        record = record_of(0, self.offset, value)
        self.offset += 1
        step = self.projection.apply(self.state, record)
        if step.refusal is not None:
            raise ValueError(f"{record.event.type} was refused: {step.refusal}")
        self.state = step.state
        return record, step.effects


class Loop:
    """One project from its policy on."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.review, self.annotators = Fold(REVIEW), Fold(ANNOTATORS_PROJECTION)
        self.votes = self.estimated_at = self.version = self.facts = 0
        self._told: dict[str, dict[str, tuple[int, ...]]] = {}
        self._event(PROJECT, PolicyApplied(project=PROJECT, version=1, policy=policy, applied_by=WRITER, reason="the bench"))

    def receive(self, subject: str, golden: str | None = None) -> None:
        """A text comes in, and its golden answer with it."""
        about: dict[str, Any] = {"project": PROJECT, "kind": "context", "writer": WRITER, "slice": "en/crowd/votes"}
        self._event(subject, SubmissionReceived(**about, text="-", provenance="unknown"))
        if golden is not None:
            self._event(subject, GoldenAnswerSet(revision=1, label=golden, set_by=WRITER))

    def vote(self, subject: str, voter: str, label: str) -> Row:
        """The subject's row after one more vote; skills are estimated anew where that is due."""
        self._event(subject, VoteCast(revision=1, voter=voter, label=label))
        self.votes += 1
        if self.votes >= max(self.estimated_at * GROWTH, self.estimated_at + LEAST):
            self.estimate()
        return self.row(subject)

    def row(self, subject: str) -> Row:
        row: Row = self.review.state.rows[subject]
        return row

    def champion(self) -> Model:
        return rules_in(self.review.state, PROJECT, "").model

    def rules(self, model: Model) -> Rules:
        """How a model weighs votes by what was told last."""
        in_force = InForce(1, self.policy.model_copy(update={"aggregation": model}), NOWHERE)
        return rules_of(in_force, self.policy.labels, self.review.state.shared, PROJECT, "review")

    def scores(self, subject: str, rules: Rules) -> tuple[Scores, int]:
        """The subject's scores by these rules, and how many votes are in them."""
        row = copy(self.row(subject))
        weigh(row, rules)
        return row.scores, row.live

    def estimate(self) -> None:
        """Skills by what annotators has counted, told to review as the control records of a new version."""
        rows = sorted(self.annotators.state.rows.items())
        voters = [voter_of(name, row.projects[PROJECT], self.policy.labels) for name, row in rows if PROJECT in row.projects]
        self.version, self.estimated_at = self.version + 1, self.votes
        for one in estimate(self.policy.labels, voters):
            self._tell_skills(one)

    def _tell_skills(self, one: Estimate) -> None:
        known = self._told.setdefault(one.model, {})
        fresh = changed(one, known)
        known |= fresh
        for data in control_records(ABOUT, self.version, one, fresh):
            self._event(PROJECT, data)

    def _event(self, subject: str, data: Frozen) -> None:
        record, effects = self.review.tell(event_bytes(subject, self.review.offset, data))
        self._derive(record, effects)

    def _derive(self, record: Record, effects: Sequence[Effect]) -> None:
        for fact in facts(REVIEW, record, effects):
            if fact.topic == JUDGEMENTS.name:
                self.annotators.tell(fact.value)
                self.facts += 1


def event_bytes(subject: str, number: int, data: Frozen) -> bytes:
    """An event as it stands in the log; by its number it has its time and id."""
    type_, time = TYPE_OF[type(data)], START + timedelta(milliseconds=number)
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id(time, SOURCE, number),
            "type": type_,
            "source": SOURCE,
            "subject": subject,
            "time": time,
            "data": data.model_dump(mode="json", exclude_none=True),
        },
        option=orjson.OPT_UTC_Z,
    )
