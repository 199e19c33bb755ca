"""The second opinion agrees with the folds on a messy log, and not with a fold that counts wrongly."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest

from infra.torture.checks import Findings, Recount, check_rows, rows_of
from infra.torture.load import Load, Sent, Shape
from schemas.topics import EVENTS, JUDGEMENTS, SLICES
from schemas.wire import Undecodable
from streams.annotators import ANNOTATORS_PROJECTION, Annotators
from streams.catalogue import PROJECTIONS
from streams.diversity import DIVERSITY, Diversity
from streams.projection import AnyProjection, AnyState, Record, Step, facts, record_of
from streams.review import REVIEW, Review

#: One partition: what review derives is then the others' log as it stands.
SHAPE = Shape(events=8_000, keys=300, partitions=1, seed=11)


class Log:
    """Three topics in memory, what the folds make of them, and what the recount does."""

    def __init__(self, folds: Iterable[AnyProjection]) -> None:
        self._folds = {fold.source.name: fold for fold in folds}
        self._offsets = dict.fromkeys(self._folds, -1)
        self.states: dict[str, AnyState] = {fold.name: fold.empty() for fold in folds}
        self.recount = Recount()
        self.refused: dict[tuple[str, int, int], str] = {}

    def add(self, topic: str, value: bytes | None, poison: str = "") -> None:
        if topic not in self._folds:
            return
        self._offsets[topic] += 1
        place = (topic, 0, self._offsets[topic])
        self.recount.add(place, value, poison)
        fold = self._folds[topic]
        try:
            record = record_of(*place[1:], value)  # type: ignore[arg-type]
        except Undecodable as error:
            self.refused[place] = error.code
            return
        step = fold.apply(self.states[fold.name], record)
        self.states[fold.name] = step.state
        if step.refusal is not None:
            self.refused[place] = step.refusal.code
        for fact in list(facts(fold, record, step.effects)):
            self.add(fact.topic, fact.value)

    def findings(self) -> Findings:
        found = Findings()
        check_rows({name: rows_of(state) for name, state in self.states.items()}, self.recount, found)
        return found


def log_of(folds: Iterable[AnyProjection], sent: Iterable[Sent]) -> Log:
    log = Log(tuple(folds))
    for one in sent:
        log.add(one.topic, one.value, one.poison)
    return log


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    return list(chain.from_iterable(Load(SHAPE)))


def test_recount_and_folds_agree(sent: list[Sent]) -> None:
    log = log_of(PROJECTIONS, sent)
    found = log.findings()
    assert (found.lost, found.doubled, found.hashes_equal, found.details) == (0, 0, True, [])
    assert {place: code for place, (code, _) in log.recount.refused.items()} == log.refused
    assert {"id_reused", "revision_out_of_turn", "not_json", "too_new", "offered_twice", "one_completion"} <= set(
        log.refused.values()
    )
    assert min(found.state_rows.values()) > 0


class Forgetful(Review):
    """Counts an event again that comes again."""

    def apply(self, state: AnyState, record: Record) -> Step[Any, Any]:
        if (row := state.rows.get(record.event.subject)) is not None:
            row.seen = ""
        return super().apply(state, record)


class Deaf(Review):
    """Loses every seventh record."""

    def apply(self, state: AnyState, record: Record) -> Step[Any, Any]:
        return Step(state, []) if record.offset % 7 == 0 else super().apply(state, record)


class Eager(Annotators):
    """Counts a judgement twice."""

    def apply(self, state: AnyState, record: Record) -> Step[Any, Any]:
        step = super().apply(state, record)
        if (row := step.state.rows.get(record.event.subject)) is not None:
            for tally in row.projects.values():
                tally.counts["agreed"] *= 2
        return step


class Clumsy(Diversity):
    """Does not subtract what leaves."""

    def apply(self, state: AnyState, record: Record) -> Step[Any, Any]:
        left = "SliceLeft" in record.event.type
        return Step(state, []) if left else super().apply(state, record)


@pytest.mark.parametrize(
    ("folds", "wrong"),
    [
        ((Forgetful(), ANNOTATORS_PROJECTION, DIVERSITY), "doubled"),
        ((Deaf(), ANNOTATORS_PROJECTION, DIVERSITY), "lost"),
        ((REVIEW, Eager(), DIVERSITY), "doubled"),
        ((REVIEW, ANNOTATORS_PROJECTION, Clumsy()), "doubled"),
    ],
    ids=["forgetful", "deaf", "eager", "clumsy"],
)
def test_a_fold_that_counts_wrongly_is_found_out(sent: list[Sent], folds: tuple[AnyProjection, ...], wrong: str) -> None:
    """Live and replay would agree here: both are the same wrong fold."""
    found = log_of(folds, sent).findings()
    assert getattr(found, wrong) > 0
    assert not found.holds


def test_topics_of_the_recount_are_those_of_the_folds() -> None:
    assert {fold.source for fold in PROJECTIONS} == {EVENTS, JUDGEMENTS, SLICES}
