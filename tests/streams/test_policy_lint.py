"""Each way in which a policy goes wrong is caught under its code, and what is right is let alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from schemas.policy import Policy
from streams.policy_lint import HORIZON, Case, flagged, lint
from streams.rules import OF_PEOPLE, RULES, rate_holds


def codes(case: Case) -> dict[str, str]:
    return {one.code: one.level for one in lint(case)}


def policy(**thresholds: Any) -> Policy:
    return Policy(**thresholds)


ELSEWHERE = "en/reviews/sentiment"
#: One planted fault a code, and its level.
PLANTED: list[tuple[str, str, Case]] = [
    ("window_below_minimum", "error", Case(policy(recent_votes=8, golden_min_seen=10))),
    ("no_minimum_count", "error", Case(policy(golden_min_seen=3))),
    ("no_minimum_count", "warning", Case(policy(rejection_min_decided=3, rejection_action="notify"))),
    ("majority_at_half", "error", Case(policy(preference_confidence_permille=500))),
    ("majority_is_everybody", "warning", Case(policy(overlap_min=2, overlap_max=2))),
    ("accept_below_reject", "error", Case(policy(approve_confidence_permille=850))),
    ("conflicting_scopes", "warning", Case(policy(overlap_min=3), others={ELSEWHERE: policy(overlap_min=2)})),
    ("people_rules_ignored", "warning", Case(policy(golden_limit_permille=400), whole=Policy())),
    ("labels_of_slice", "warning", Case(policy(labels=("good", "bad", "unsure")), whole=Policy())),
    ("flag_without_reason", "error", Case(policy(rejection_action="restrict"), reason="because")),
    ("overlap_over_voters", "error", Case(policy(overlap_min=4), voters=3)),
    ("overlap_over_voters", "warning", Case(policy(overlap_max=5), voters=4)),
    (
        "confidence_unreachable",
        "error",
        Case(policy(voter_accuracy_permille=600, approve_confidence_permille=950, reject_confidence_permille=950)),
    ),
    ("first_votes_never", "warning", Case(policy(approve_confidence_permille=950, reject_confidence_permille=950))),
    (
        "first_votes_always",
        "warning",
        Case(policy(overlap_min=3, approve_confidence_permille=750, reject_confidence_permille=750)),
    ),
    (
        "confidence_out_of_use",
        "warning",
        Case(policy(approve_confidence_permille=650, reject_confidence_permille=650)),
    ),
    ("labels_dropped", "error", Case(policy(labels=("yes", "no"), approving=("yes",)), labels={"good": 812, "yes": 3})),
    ("no_control_tasks", "error", Case(policy(control_share_permille=0))),
    ("no_control_tasks", "warning", Case(policy(control_share_permille=5))),
    ("bans_typical_people", "error", Case(policy(golden_limit_permille=150))),
    ("rule_never_fires", "warning", Case(policy(golden_limit_permille=600))),
    ("flags_for_ever", "warning", Case(policy(flag_hours=0))),
]


@pytest.mark.parametrize(("code", "level", "case"), PLANTED, ids=[f"{code}-{level}" for code, level, _ in PLANTED])
def test_a_planted_fault_is_caught(code: str, level: str, case: Case) -> None:
    found = {one.code: one for one in lint(case)}
    assert found[code].level == level
    assert found[code].threshold in Policy.model_fields
    assert found[code].says
    assert found[code].hint


def test_the_default_is_right_wherever_there_are_people() -> None:
    assert lint(Case(Policy(), reason="a start", voters=40, labels={"good": 10, "bad": 2})) == []
    assert lint(Case(Policy(), whole=Policy(), voters=40)) == []


def test_errors_come_first_and_a_slice_is_not_asked_about_people() -> None:
    levels = [one.level for one in lint(Case(policy(flag_hours=0, control_share_permille=0, overlap_max=2)))]
    assert levels == sorted(levels)
    assert set(codes(Case(policy(control_share_permille=0, golden_min_seen=3), whole=Policy()))) == {"people_rules_ignored"}


def test_a_label_of_three_is_as_sure_as_its_votes_make_it() -> None:
    three = {"labels": ("yes", "no", "unsure"), "approving": ("yes",)}
    assert "confidence_unreachable" not in codes(Case(policy(**three)))
    assert codes(Case(policy(**three, voter_accuracy_permille=501, overlap_max=2)))["confidence_unreachable"] == "error"


@given(error=st.floats(0.01, 0.99), limit=st.integers(50, 900), minimum=st.integers(3, 40))
def test_one_look_at_the_counts_is_the_binomial_tail(error: float, limit: int, minimum: int) -> None:
    over = next((wrong for wrong in range(minimum + 1) if rate_holds(wrong, minimum, limit, minimum)), minimum + 1)
    assert flagged(error, limit, minimum, horizon=minimum) == pytest.approx(float(binom.sf(over - 1, minimum, error)), abs=1e-12)


@given(error=st.floats(0.01, 0.99), limit=st.integers(50, 900), minimum=st.integers(3, 40))
def test_more_looks_flag_more_and_never_more_than_their_sum(error: float, limit: int, minimum: int) -> None:
    chances = [flagged(error, limit, minimum, horizon) for horizon in (minimum, 60, HORIZON)]
    assert chances == sorted(chances)
    each = 0.0
    for total in range(minimum, HORIZON + 1):
        over = next((wrong for wrong in range(total + 1) if rate_holds(wrong, total, limit, minimum)), total + 1)
        each += float(binom.sf(over - 1, total, error))
    assert 0 <= chances[-1] <= min(1.0, each) + 1e-9


def test_every_threshold_of_a_rule_is_one_about_people() -> None:
    named = {name for name in Policy.model_fields if name.startswith(tuple(f"{rule}_" for rule in RULES))}
    assert named <= set(OF_PEOPLE) <= set(Policy.model_fields)
