"""What a proposal changes: nothing where it is what stands, exact where history says it, a range that holds where it does not."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.policy import Policy
from schemas.topics import JUDGEMENTS
from streams.consequences import STANDS, UNDETERMINED, Compared, base, compared, flips, nearest, stand, why
from streams.diversity import Row as SliceRow
from streams.diversity import count, with_vectors
from streams.projection import Record, replay
from streams.review import CONTROLS, REVIEW
from streams.whatif import Proposal, Worlds, begin, is_replaced
from tests.streams.histories import HISTORIES, SLICES, SUBJECTS, Action, embedding, records
from tests.streams.test_whatif import POLICIES, worlds


def told(made: Worlds, at: int = 0) -> Compared:
    return compared(made, made.variants[at], base(made))


def parted(log: Sequence[Record], partitions: int) -> list[list[Record]]:
    """The same history on so many partitions: control records on each."""
    found: list[list[Record]] = [[] for _ in range(partitions)]
    for record in log:
        chosen = range(partitions) if type(record.event.data) in CONTROLS else [hash_of(record.event.subject) % partitions]
        for number in chosen:
            found[number].append(record._replace(partition=number, offset=len(found[number])))
    return found


def hash_of(name: str) -> int:
    return sum(name.encode())


@settings(max_examples=100)
@given(history=HISTORIES, order=st.randoms(use_true_random=False), partitions=st.integers(1, 3))
def test_the_policy_in_force_changes_nothing(history: list[Action], order: Any, partitions: int) -> None:
    order.shuffle(history)
    for number, log in enumerate(parted(records(history), partitions)):
        begun = 1 + max((record.offset for record in log if is_replaced(record, Proposal("p", 5, Policy()))), default=-1)
        before = replay(REVIEW, log[:begun])
        in_force = before.control.policies.of_projects.get("p")
        made = Worlds([Proposal("p", 5, Policy() if in_force is None else in_force.policy)], number, begun)
        for record in log:
            made.feed(record)
        made.done()
        found = told(made)
        assert not made.variants[0].rows
        assert not found.moves
        assert not found.judgements
        assert found.votes_saved == found.undetermined == found.needed_high == 0
        assert all(found.after(one) == (found.before(one),) * 2 for one in STANDS)


@settings(max_examples=100)
@given(history=HISTORIES, policy=POLICIES, start=st.integers(0, 40))
def test_every_subject_is_counted_once(history: list[Action], policy: Policy, start: int) -> None:
    made = worlds(records(history), [Proposal("p", 5, policy)], start)
    found = told(made)
    total = sum(found.before(one) for one in STANDS)
    assert sum(found.after(one)[0] for one in STANDS) + found.undetermined <= total + sum(
        new not in (*STANDS, UNDETERMINED) for _, _, new in found.moves
    )
    for one in STANDS:
        low, high = found.after(one)
        assert 0 <= low <= high <= low + found.undetermined
    assert len(flips(made, made.variants[0], found.moved, 100)) == len(found.moved) == sum(found.moves.values())


# --- votes that history does not have ----------------------------------------------------------

#: Nobody is handed the same text twice.
VOTES = st.lists(
    st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 8), st.sampled_from(["good", "bad"])),
    max_size=60,
    unique_by=lambda vote: vote[:2],
)
SIMPLE = st.builds(
    lambda low, more, approve, reject, late, recheck: Policy(
        overlap_min=low,
        overlap_max=low + more,
        approve_confidence_permille=approve,
        reject_confidence_permille=reject,
        late_votes_reopen=late,
        recheck_share_permille=recheck,
    ),
    st.integers(2, 4),
    st.integers(0, 4),
    st.sampled_from([510, 800, 900, 950, 990]),
    st.sampled_from([510, 800, 900, 950, 990]),
    st.integers(0, 1),
    st.just(0),
)


def as_asked(votes: Sequence[tuple[str, int, str]], policy: Policy) -> tuple[list[Record], dict[str, str]]:
    """What people would have voted, as far as a policy asks for it: nobody votes on what is decided. And what that comes to."""
    state = REVIEW.empty()
    begin(REVIEW, state, Proposal("p", 1, policy), 0, 0)
    history: list[Action] = [("receive", subject, SLICES[0]) for subject in SUBJECTS]
    log = records(history)
    for record in log:
        REVIEW.apply(state, record)
    for subject, voter, label in votes:
        if state.rows[subject].verdict is None:
            history.append(("vote", subject, f"v-{voter}", label, 1))
            log = records(history)
            REVIEW.apply(state, log[-1])
    return log, {key: stand(row) for key, row in state.rows.items()}


@settings(max_examples=200)
@given(votes=VOTES, here=SIMPLE, there=SIMPLE)
def test_the_truth_lies_in_the_undetermined_range(votes: list[tuple[str, int, str]], here: Policy, there: Policy) -> None:
    """People vote as long as a policy asks. History has what the policy in force asked for; the truth is what the proposal would
    have asked for."""
    log, now = as_asked(votes, here)
    truth_log, truth = as_asked(votes, there)
    made = Worlds([Proposal("p", 1, here), Proposal("p", 2, there)], 0, 0)
    begin(REVIEW, made.truth, Proposal("p", 1, here), 0, 0)
    made.truth.position = -1
    for record in log:
        made.feed(record)
    found = told(made, 1)
    assert {key: stand(row) for key, row in made.truth.rows.items()} == now
    for one in STANDS:
        low, high = found.after(one)
        assert low <= sum(each == one for each in truth.values()) <= high
    unknown = {moved.subject for moved in found.moved if moved.unknown}
    moved = {one.subject: one.new for one in found.moved}
    assert all(moved.get(key, now[key]) == truth[key] for key in truth if key not in unknown)
    cast = {key: sum(record.event.subject == key for record in truth_log[len(SUBJECTS) :]) for key in SUBJECTS}
    was = {key: sum(record.event.subject == key for record in log[len(SUBJECTS) :]) for key in SUBJECTS}
    assert found.votes_saved >= sum(max(0, was[key] - cast[key]) for key in SUBJECTS if key not in unknown)
    assert sum(max(0, cast[key] - was[key]) for key in SUBJECTS) <= found.needed_high


# --- people and slices -------------------------------------------------------------------------

Sums = Counter[tuple[str, bytes]]


def sums(effects: Sequence[Any]) -> Sums:
    found: Sums = Counter()
    for one in effects:
        said = {name: value for name, value in one.data.items() if name != "change"}
        found[one.key, orjson.dumps(said, option=orjson.OPT_SORT_KEYS)] += one.data["change"]
    return found


def said_by(log: Sequence[Record], proposal: Proposal | None) -> Sums:
    """All judgements on submissions, in the world that was or in the proposal's, folded plainly."""
    state, effects = REVIEW.empty(), []
    if proposal is not None:
        begin(REVIEW, state, proposal, 0, 0)
    for record in log:
        if proposal is None or not is_replaced(record, proposal):
            step = REVIEW.apply(state, record)
            effects += [one for one in step.effects if one.topic == JUDGEMENTS.name and "task" not in one.data]
    return sums(effects)


@settings(max_examples=100)
@given(history=HISTORIES, policy=POLICIES)
def test_judgements_are_those_that_were_and_the_difference(history: list[Action], policy: Policy) -> None:
    log, proposal = records(history), Proposal("p", 5, policy)
    made = worlds(log, [proposal])
    assume(not made.variants[0].starved and not made.variants[0].turned)
    found, was, then = sums(told(made).judgements), said_by(log, None), said_by(log, proposal)
    names = {*found, *was, *then}
    assert {name: was[name] + found[name] for name in names} == {name: then[name] for name in names}


@pytest.mark.parametrize("sign", [1, -1])
def test_many_vectors_count_as_one_after_the_other(sign: int) -> None:
    one, texts = SliceRow(), [embedding(seed) for seed in range(5)]
    for text in texts:
        data: Any = type("Text", (), {"words": 1, "writer": "w", "kind": "prompt", "model": "m", "embedding": text})
        count(one, data, sign)
    many = with_vectors(SliceRow(), texts, sign)
    assert (one.embedded, one.sums.tolist(), one.moments.tolist()) == (many.embedded, many.sums.tolist(), many.moments.tolist())


# --- stories -----------------------------------------------------------------------------------

STORY: list[Action] = [
    *(("receive", subject, SLICES[0]) for subject in SUBJECTS),
    ("vote", "s-1", "anna", "good", 1),
    ("vote", "s-1", "ben", "good", 1),
    ("vote", "s-2", "anna", "good", 1),
    ("vote", "s-2", "ben", "bad", 1),
    ("vote", "s-2", "chloe", "bad", 1),
    ("vote", "s-2", "dev", "bad", 1),
]


def test_what_nobody_was_asked_for_is_undetermined() -> None:
    made = worlds(records(STORY), [Proposal("p", 1, Policy(overlap_min=3))])
    found = told(made)
    assert [found.before(one) for one in STANDS] == [1, 1, 0, 1]
    assert found.moved == [("s-1", SLICES[0], "approved", UNDETERMINED, "votes")]
    # s-3 waits in both, since no vote has come; s-1 has two votes of three, and one more cannot reject it.
    assert [found.after(one) for one in STANDS] == [(0, 1), (1, 1), (0, 1), (1, 2)]
    assert (found.needed_low, found.needed_high) == (1, 3)
    shown = flips(made, made.variants[0], found.moved, 5)
    assert shown[0].why_old.startswith("Approved under policy 0: 2 of 2 say good, probability 0.941 >= 0.900")
    assert shown[0].why_new == "Waiting: 2 of at least 3 votes (policy 1)."


def test_a_verdict_is_not_told_as_if_newer_weights_had_decided_it() -> None:
    weighed = [*STORY, ("skills", 1, "anna", -2_000, True, False)]
    made = worlds(records(weighed), [Proposal("p", 1, Policy(overlap_min=3))])
    row = made.truth.rows["s-1"]
    said = why(made.truth, row, made.policies)
    assert row.verdict == "approved"
    assert said.startswith("Approved under policy 0: 2 of 2 say ")
    assert said.endswith("by the weights of now; by those of then at least 0.900.")


def test_votes_beyond_an_earlier_verdict_are_saved() -> None:
    made = worlds(records(STORY), [Proposal("p", 1, Policy(overlap_max=2))])
    found = told(made)
    assert found.moved == [("s-2", SLICES[0], "rejected", "escalated", "")]
    assert (found.votes, found.votes_saved, found.undetermined) == (6, 2, 0)


def test_nothing_flips_where_no_confidence_lies_between() -> None:
    made = worlds(records(STORY), [Proposal("p", 1, Policy(approve_confidence_permille=910))])
    assert not told(made).moves
    assert nearest(made, 900, 910, approving=True) == (None, 941)
