"""what-if: the fast replay of many worlds equals the plain one, which folds the log again for each."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.policy import Policy
from streams import preferences
from streams.projection import Record, replay
from streams.review import REVIEW, ReviewState
from streams.submissions import Row, pack, twin
from streams.whatif import Proposal, Variant, Worlds, begin, is_replaced
from tests.streams.histories import HISTORIES, SLICES, Action, records

POLICIES = st.builds(
    lambda low, more, approve, reject, late, recheck, deadline, accuracy, skills: Policy(
        overlap_min=low,
        overlap_max=low + more,
        approve_confidence_permille=approve,
        reject_confidence_permille=reject,
        late_votes_reopen=late,
        recheck_share_permille=recheck,
        deadline_hours=deadline,
        voter_accuracy_permille=accuracy,
        aggregation=skills,
        preference_confidence_permille=approve,
    ),
    st.integers(2, 3),
    st.integers(0, 2),
    st.sampled_from([510, 800, 900, 950, 990]),
    st.sampled_from([510, 800, 900, 950, 990]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([0, 0, 0, 400]),
    st.sampled_from([0, 0, 2]),
    st.sampled_from([800, 800, 800, 900]),
    st.sampled_from(["champion", "champion", "majority"]),
)


def plainly(log: Sequence[Record], proposal: Proposal, start: int) -> ReviewState:
    """The reference: the log folded again, the proposal in place of what it stands for."""
    state = REVIEW.empty()
    begun = False
    for record in log:
        if record.offset >= start and not begun:
            begin(REVIEW, state, proposal, 0, start)
            begun = True
        if not begun or not is_replaced(record, proposal):
            state = REVIEW.apply(state, record).state
    if not begun:
        begin(REVIEW, state, proposal, 0, start)
    return state


def worlds(log: Sequence[Record], proposals: Sequence[Proposal], start: int = 0) -> Worlds:
    made = Worlds(proposals, 0, start)
    for record in log:
        made.feed(record)
    made.done()
    return made


def row_of(made: Worlds, variant: Variant, key: str) -> Row:
    return variant.rows.get(key) or made.truth.rows[key]


def told(row: Row) -> list[Any]:
    """All of a row but positions, and the version of a policy that said the same; summed anew, since when it is summed is no
    matter of what it says."""
    own = twin(row)
    own.offset = own.weighed = own.decided_under = 0
    return pack(own)


def choice(one: preferences.Comparison) -> Any:
    """What a comparison came to, but for the version of a policy that says the same."""
    return one.decision and one.decision._replace(policy_version=0)


@settings(max_examples=200)
@given(
    history=HISTORIES,
    policies=st.lists(POLICIES, min_size=1, max_size=3),
    start=st.integers(0, 60),
    slice_=st.sampled_from(["", "", SLICES[0]]),
)
def test_the_fast_replay_equals_the_plain_one(history: list[Action], policies: list[Policy], start: int, slice_: str) -> None:
    log = records(history)
    proposals = [Proposal("p", 5, policy, slice_) for policy in policies]
    made = worlds(log, proposals, start)
    truth = replay(REVIEW, log)
    assert {key: pack(row) for key, row in made.truth.rows.items()} == {key: pack(row) for key, row in truth.rows.items()}
    for proposal, variant in zip(proposals, made.variants, strict=True):
        plain = plainly(log, proposal, start)
        assert plain.rows.keys() == made.truth.rows.keys() >= variant.rows.keys()
        for key, row in plain.rows.items():
            assert told(row_of(made, variant, key)) == told(row), key
        compared = dict(preferences.comparisons(variant.state if variant.compares else made.truth, "p"))
        for key, one in preferences.comparisons(plain, "p"):
            assert choice(compared[key]) == choice(one), key
