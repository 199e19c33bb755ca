"""Laws that every projection in the catalogue keeps, over random histories."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import JUDGEMENTS, SLICES
from schemas.wire import decode
from streams import preferences
from streams.annotators import ANNOTATORS_PROJECTION
from streams.catalogue import PROJECTIONS
from streams.projection import CONTROL_KEY, AnyProjection, AnyState, Record, facts, replay, restore, row_bytes, state_hash
from streams.review import REVIEW
from streams.standing import judgements, standing
from tests.streams.histories import HISTORIES, Action, effects_of, records, source_log

every_projection = pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)


def reload(projection: AnyProjection, state: AnyState) -> AnyState:
    """The state after a trip through its stored rows."""
    keys = [*state.rows, *state.shared, CONTROL_KEY]
    return restore(projection, [(key, row_bytes(projection, state, key)) for key in keys])


@every_projection
@given(history=HISTORIES, cut=st.integers(0, 60))
def test_a_prefix_then_the_rest_is_the_whole(projection: AnyProjection, history: list[Action], cut: int) -> None:
    log = source_log(projection, history)
    state = reload(projection, replay(projection, log[:cut]))
    for record in log[cut:]:
        state = projection.apply(state, record).state
    assert state_hash(projection, state) == state_hash(projection, replay(projection, log))


@every_projection
@given(history=HISTORIES, rewinds=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=4))
def test_redelivery_counts_once(projection: AnyProjection, history: list[Action], rewinds: list[tuple[int, int]]) -> None:
    log = source_log(projection, history)
    delivered: list[Record] = []
    for at in range(len(log) + 1):
        for place, back in rewinds:
            if at == min(place, len(log)):
                delivered += log[max(0, at - back) : at]
        delivered += log[at : at + 1]
    assert state_hash(projection, replay(projection, delivered)) == state_hash(projection, replay(projection, log))
    assert [fact.id for fact in effects_of(projection, delivered)] == [fact.id for fact in effects_of(projection, log)]


@every_projection
@given(history=HISTORIES)
def test_every_effect_is_an_event_of_its_topic(projection: AnyProjection, history: list[Action]) -> None:
    found = effects_of(projection, source_log(projection, history))
    for fact in found:
        event = decode(fact.value)
        assert (event.id, event.type, event.subject) == (fact.id, fact.type, fact.key)
    assert len({fact.id for fact in found}) == len(found)


@every_projection
@given(history=HISTORIES)
def test_facts_delivered_twice_count_once_downstream(projection: AnyProjection, history: list[Action]) -> None:
    """A crash repeats derived facts at later offsets; their origins tell that they were counted."""
    log = source_log(projection, history)
    if not log or not any(hasattr(record.event.data, "origin") for record in log):
        return
    again = [record._replace(offset=len(log) + place) for place, record in enumerate(log)]
    once, twice = replay(projection, log), replay(projection, [*log, *again])
    twice.position = once.position
    assert state_hash(projection, twice) == state_hash(projection, once)


Judged = Counter[tuple[str, bytes]]


def judged(person: str, data: dict[str, Any]) -> tuple[str, bytes]:
    """Who is judged and how, without the sign of the change."""
    said = {name: value for name, value in data.items() if name not in ("change", "origin")}
    return person, orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def standing_judgements(state: AnyState, key: str) -> Judged:
    row = state.rows.get(key)
    return Counter() if row is None else Counter(judged(one.key, one.data) for one in judgements(key, row, standing(row)))


def golden(one: tuple[str, bytes]) -> bool:
    return b'"golden_' in one[1]


def due(log: Sequence[Record]) -> tuple[AnyState, Judged]:
    """The state of this log, and what people are judged by it: what stands now, and what an edit or a withdrawal left."""
    state, left = REVIEW.empty(), Judged()
    for record in log:
        key, kind = record.event.subject, type(record.event.data).__name__
        before = standing_judgements(state, key)
        step = REVIEW.apply(state, record)
        state = step.state
        if step.refusal is None and kind in ("SubmissionEdited", "SubmissionWithdrawn"):
            # A withdrawn text keeps its golden answer, which goes on speaking; an edited one is another text.
            left.update(one for one in before if kind == "SubmissionEdited" or not golden(one))
    for key in state.rows:
        left += standing_judgements(state, key)
    for subject, comparison in preferences.comparisons(state):
        left += Counter(judged(one.key, one.data) for one in preferences.judgements(subject, comparison))
    return state, left


@settings(max_examples=200)
@given(history=HISTORIES)
def test_judgements_taken_back_and_made_sum_to_what_stands(history: list[Action]) -> None:
    log = records(history)
    state, expected = due(log)
    said, submitted = Judged(), Counter[str]()
    for fact in effects_of(REVIEW, log):
        data = orjson.loads(fact.value)["data"]
        if fact.topic == JUDGEMENTS.name and data["outcome"] == "submitted":
            submitted[data["submission"]] += data["change"]
        elif fact.topic == JUDGEMENTS.name:
            said[judged(fact.key, data)] += data["change"]
    assert {one: count for one, count in said.items() if count} == expected
    assert submitted == {key: 1 for key, row in state.rows.items() if row.revision}


@settings(max_examples=100)
@given(history=HISTORIES)
def test_people_are_counted_by_what_stands(history: list[Action]) -> None:
    _, expected = due(records(history))
    found = replay(ANNOTATORS_PROJECTION, source_log(ANNOTATORS_PROJECTION, history))
    for outcome in ("approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong"):
        counted = {name: sum(tally.counts[outcome] for tally in row.projects.values()) for name, row in found.rows.items()}
        stands: Counter[str] = Counter()
        for (person, data), count in expected.items():
            stands[person] += count * (orjson.loads(data)["outcome"] == outcome)
        assert {name: count for name, count in counted.items() if count} == {n: c for n, c in stands.items() if c}


@settings(max_examples=100)
@given(history=HISTORIES)
def test_a_slice_holds_the_approved_texts_that_were_analysed(history: list[Action]) -> None:
    log = records(history)
    held: Counter[tuple[str, int, str]] = Counter()
    for fact in effects_of(REVIEW, log):
        if fact.topic == SLICES.name:
            event = decode(fact.value)
            change = -1 if fact.type == "assay.SliceLeft.v1" else 1
            held[event.data.submission, event.data.revision, event.data.embedding] += change  # type: ignore[union-attr]
    stands = {
        (key, row.revision, row.analysis.embedding)
        for key, row in replay(REVIEW, log).rows.items()
        if row.verdict == "approved" and row.analysis is not None and row.analysis.revision == row.revision
    }
    assert {one for one, count in held.items() if count} == stands
    assert set(held.values()) <= {0, 1}


@settings(max_examples=3)
@given(history=HISTORIES)
def test_the_same_bytes_under_other_hash_seeds(history: list[Action]) -> None:
    assert len({_run_with_hash_seed(seed, history) for seed in ("0", "1", "424242")}) == 1


def _run_with_hash_seed(seed: str, history: list[Action]) -> bytes:
    program = "from tests.streams.test_laws import fingerprint; fingerprint()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=orjson.dumps(history),
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
    )
    assert done.stdout
    return done.stdout


def fingerprint() -> None:
    history = [tuple(action) for action in orjson.loads(sys.stdin.buffer.read())]
    for projection in PROJECTIONS:
        log = source_log(projection, history)
        sys.stdout.write(state_hash(projection, replay(projection, log)))
        for fact in effects_of(projection, log):
            sys.stdout.buffer.write(fact.value)
            sys.stdout.flush()


class Careless:
    """A projection with a planted fault: it forgets to look at positions."""

    def __init__(self, inner: AnyProjection) -> None:
        self.inner = inner
        self.name, self.version, self.source = inner.name, inner.version, inner.source
        self.empty, self.pack, self.unpack = inner.empty, inner.pack, inner.unpack
        self.pack_control, self.unpack_control = inner.pack_control, inner.unpack_control

    def apply(self, state: AnyState, record: Record) -> Any:
        state.position = min(state.position, record.offset - 1)
        return self.inner.apply(state, record)


def test_the_redelivery_law_catches_a_fold_that_ignores_positions() -> None:
    history: Sequence[Action] = [
        ("receive", "s-1", "en/reviews/sentiment"),
        ("vote", "s-1", "anna", "good", 1),
        ("vote", "s-1", "anna", "bad", 1),
    ]
    log = source_log(PROJECTIONS[0], history)
    careless = Careless(PROJECTIONS[0])
    again = [*log, *[record._replace(digest=0) for record in log]]
    refused = Counter(bool(careless.apply(careless.empty(), record).refusal) for record in log)
    assert refused == {False: 3}
    state, codes = careless.empty(), []
    for record in again:
        step = careless.apply(state, record)
        state = step.state
        codes += [step.refusal.code] if step.refusal else []
    assert codes == ["id_reused"] * 3


def test_facts_of_one_record_are_the_same_bytes_each_time() -> None:
    log = source_log(PROJECTIONS[0], [("receive", "s-1", "en/reviews/sentiment")])
    step = PROJECTIONS[0].apply(PROJECTIONS[0].empty(), log[0])
    assert list(facts(PROJECTIONS[0], log[0], step.effects)) == list(facts(PROJECTIONS[0], log[0], step.effects))
