"""A policy that was undone leaves nothing behind, and one that decides again decides as if it had always been."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.publishing import partition_of
from infra.explaining import Account
from schemas.catalogue import EVENT_OF, TYPE_OF
from schemas.events import PolicyApplied
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.wire import encode
from streams.projection import record_of, replay
from streams.review import REVIEW, ReviewState
from streams.substance import substance
from tests.streams.histories import ACTIONS, SLICES, START, SUBJECTS, Action, event_bytes

#: What nobody writes into one partition alone.
CONTROLS = ("skills", "preference skills", "tick", "policy", "rescope")
#: What deciding again does not do over: the weights of the time, and the hours that passed.
NOT_DONE_OVER = CONTROLS


class Numbered(NamedTuple):
    """An action with its place in the whole history, from which its id and time follow."""

    number: int
    action: Action


def happenings(*without: str, least: int = 0, most: int = 25) -> st.SearchStrategy[list[Action]]:
    return st.lists(ACTIONS.filter(lambda action: action[0] not in without), min_size=least, max_size=most)


POLICIES = st.builds(
    Policy,
    overlap_min=st.integers(2, 4),
    overlap_max=st.integers(4, 6),
    approve_confidence_permille=st.sampled_from([600, 750, 900, 960]),
    reject_confidence_permille=st.sampled_from([600, 750, 900, 960]),
    voter_accuracy_permille=st.sampled_from([700, 800, 900]),
    late_votes_reopen=st.integers(0, 1),
    recheck_share_permille=st.sampled_from([0, 500]),
    deadline_hours=st.sampled_from([0, 2]),
    preference_overlap_min=st.integers(2, 3),
    preference_overlap_max=st.integers(3, 4),
    preference_confidence_permille=st.sampled_from([500, 700, 900]),
)
SCOPES = st.sampled_from([None, *SLICES])


def applied(version: int, policy: Policy, scope: str | None = None, **more: Any) -> Action:
    about = {"applied_by": "ops", "reason": "trying", "based_on": version - 1} | more
    return ("applied", PolicyApplied(project="p", slice=scope, version=version, policy=policy, **about))


def value_of(one: Numbered) -> bytes:
    if one.action[0] != "applied":
        return event_bytes(one.action, one.number)
    data: PolicyApplied = one.action[1]
    time = START + timedelta(minutes=7 * one.number)
    about: dict[str, Any] = {"id": event_id(time, "policies", one.number), "type": TYPE_OF[PolicyApplied], "source": "tests"}
    return encode(EVENT_OF[PolicyApplied](subject="p", time=time, data=data, **about))  # type: ignore[arg-type]


def numbered(history: Iterable[Action]) -> list[Numbered]:
    return [Numbered(number, action) for number, action in enumerate(history)]


def folded(history: Sequence[Numbered], partitions: int = 1) -> list[ReviewState]:
    """The state of each partition: a subject's events stand in its own, control records in every one."""
    logs: list[list[bytes]] = [[] for _ in range(partitions)]
    for one in history:
        everywhere = one.action[0] in (*CONTROLS, "applied")
        places = range(partitions) if everywhere else [partition_of(one.action[1], partitions)]
        for place in places:
            logs[place].append(value_of(one))
    return [
        replay(REVIEW, [record_of(place, offset, value) for offset, value in enumerate(log)]) for place, log in enumerate(logs)
    ]


OPENED: list[Action] = [*(("receive", subject, SLICES[0]) for subject in SUBJECTS[:2]), ("offer", "pair-1", "c-2")]


@settings(max_examples=300, deadline=None)
@given(
    before=happenings("rescope", most=40),
    between=happenings(*NOT_DONE_OVER),
    after=happenings("policy", "rescope"),
    policies=st.tuples(POLICIES, POLICIES),
    scope=SCOPES,
    hours=st.sampled_from([None, 0, 2]),
    partitions=st.integers(1, 3),
)
def test_undo_leaves_the_state_of_a_history_without_the_policy(
    before: list[Action],
    between: list[Action],
    after: list[Action],
    policies: tuple[Policy, Policy],
    scope: str | None,
    hours: int | None,
    partitions: int,
) -> None:
    since = None if hours is None else START + timedelta(hours=hours)
    ours, theirs = policies
    tried = applied(50, theirs, scope, redecide_since=since)
    undone = applied(51, ours, scope, undoes=50, inherits=scope is not None)
    whole = numbered([*OPENED, applied(9, ours), *before, tried, *between, undone, *after])
    without = [one for one in whole if one.action not in (tried, undone)]
    for found, expected in zip(folded(whole, partitions), folded(without, partitions), strict=True):
        assert substance(found) == substance(expected)


@settings(max_examples=40, deadline=None)
@given(
    before=happenings("rescope"),
    between=happenings("rescope"),
    policies=st.tuples(POLICIES, POLICIES),
    hours=st.sampled_from([None, 0]),
)
def test_what_was_decided_again_or_restored_is_explained(
    before: list[Action], between: list[Action], policies: tuple[Policy, Policy], hours: int | None
) -> None:
    since = None if hours is None else START
    tried = applied(50, policies[1], redecide_since=since)
    history = numbered([*OPENED, applied(9, policies[0]), *before, tried, *between, applied(51, policies[0], undoes=50)])
    for until in (len(history) - 1, len(history)):
        for subject in SUBJECTS:
            account = Account(subject, 0)
            for one in history[:until]:
                account.feed(record_of(0, one.number, value_of(one)))
            found = account.told()
            assert found is None or found["reproduced"], found


@settings(max_examples=300, deadline=None)
@given(
    history=happenings(*NOT_DONE_OVER, most=50),
    policies=st.tuples(POLICIES, POLICIES),
    scope=SCOPES,
    partitions=st.integers(1, 2),
)
def test_deciding_again_from_the_beginning_is_what_the_policy_had_always_decided(
    history: list[Action], policies: tuple[Policy, Policy], scope: str | None, partitions: int
) -> None:
    first, second = applied(9, policies[0]), applied(50, policies[1], scope, redecide_since=START)
    late = numbered([first, *OPENED, *history, second])
    early = [late[0], late[-1], *late[1:-1]]
    for found, expected in zip(folded(late, partitions), folded(early, partitions), strict=True):
        assert substance(found) == substance(expected)
