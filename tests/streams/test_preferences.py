"""What choices come to: confidence, the policy's order of criteria, ties, escalation, and whose choices weigh how much."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.policy import Policy
from streams.preferences import CHOICES, Comparison, Decision, Preference, judged, leanings, scores
from streams.projection import NOWHERE, Json
from streams.weighing import InForce, Rules, rules_of

Scored = dict[str, int]


def comparison(*choices: str | tuple[str, Scored]) -> Comparison:
    told = [(one, dict[str, int]()) if isinstance(one, str) else one for one in choices]
    people = [Preference(f"v-{at}", choice, tuple(of.items()), at, 0, None) for at, (choice, of) in enumerate(told)]
    return Comparison("p", "en/general/chat", "q", "a", "b", preferences=tuple(people))


def rules(shared: dict[str, Json] | None = None, **thresholds: Any) -> Rules:
    return rules_of(InForce(1, Policy(**thresholds), NOWHERE), CHOICES, shared or {}, "p", "preference")


def decision(row: Comparison, of: Rules) -> Decision:
    found = judged(row, of, 7)
    assert found is not None
    return found


UNCLEAR = {"preference_overlap_max": 3, "preference_confidence_permille": 990}


def settled(*choices: str | tuple[str, Scored], **thresholds: Any) -> tuple[str, str]:
    return decision(comparison(*choices), rules(**(UNCLEAR | thresholds)))[:2]


def test_two_who_agree_are_enough_and_one_never_is() -> None:
    assert judged(comparison("left"), rules(preference_confidence_permille=334), 0) is None
    found = decision(comparison("left", "left"), rules())
    # Odds of 8 to 1 against either other choice, twice: 64 / 66.
    assert (found.choice, found.settled_by, found.confidence_permille) == ("left", "overall", 969)
    assert sum(found.credits.values()) == 1_000


def test_unsure_choices_decide_nothing_before_the_maximum() -> None:
    assert judged(comparison("left", "right"), rules(), 0) is None
    assert settled("left", "right", "tie") == ("escalated", "overall")


def test_harmless_comes_first_with_what_is_under_it() -> None:
    hateful = {"harmless/hate-speech": -2, "helpful": 2}
    personal = {"harmless/personal-data": -1, "helpful": 2}
    assert settled(("left", hateful), ("right", personal), ("tie", {})) == ("right", "harmless")
    order = ("helpful", "harmless")
    assert settled(("left", hateful), ("right", personal), ("tie", {}), preference_criteria=order) == ("left", "helpful")
    assert settled(("left", hateful), ("right", personal), ("tie", {}), preference_criteria=()) == ("escalated", "overall")


def test_a_name_that_only_begins_like_a_criterion_is_another_one() -> None:
    other = {"harmlessness": -2}
    assert leanings(comparison(("left", other), ("left", other)), "harmless") == (0, 0)


def test_a_criterion_that_one_person_alone_speaks_of_is_not_clear() -> None:
    assert settled(("left", {"harmless": 2}), ("right", {}), ("tie", {})) == ("escalated", "overall")
    divided = ("left", {"harmless": 1}), ("right", {"harmless": -2}), ("tie", {"truthful": 0})
    assert settled(*divided) == ("escalated", "overall")


def test_what_one_says_of_parts_of_a_criterion_is_one_opinion() -> None:
    both = {"harmless/bias": 2, "harmless/hate-speech": -1}
    assert leanings(comparison(("left", both), ("right", {"harmless": -1})), "harmless") == (1, 1)


def test_ties_that_lead_alone_are_a_tie() -> None:
    assert settled("tie", "tie", "left") == ("tie", "overall")
    assert settled("tie", "left", "right") == ("escalated", "overall")


def weights(temperature: int = 1_000, **people: int) -> dict[str, Json]:
    """Recorded weights: a choice by somebody named adds so much to itself, anybody else's 1,000."""

    def flat(weight: int) -> list[int]:
        return [weight if true == voted else 0 for true in CHOICES for voted in CHOICES]

    row: Json = {
        "version": 4,
        "champion": 1,
        "labels": list(CHOICES),
        "prior": [0, 0, 0],
        "default": flat(1_000),
        "weights": {name.replace("_", "-"): flat(weight) for name, weight in people.items()},
        "temperature": temperature,
        "per_vote": 0,
        "offset": 3,
    }
    return {"~skills/p/preference/bayesian": row}


def test_recorded_weights_outweigh_numbers_and_temperature_makes_them_less_sure() -> None:
    row = comparison("left", "right", "right")
    found = decision(row, rules(weights(v_0=5_000)))
    assert (found.choice, found.skills_version) == ("left", 4)
    assert (
        found.confidence_permille > decision(row, rules(weights(2_000, v_0=5_000), preference_overlap_max=3)).confidence_permille
    )
    assert judged(row, rules(weights(9_000, v_0=5_000)), 0) is None


@pytest.mark.parametrize("model", ["majority", "weighted", "bayesian", "toloka"])
def test_the_policy_may_name_the_model(model: str) -> None:
    expected = 4 if model == "bayesian" else 0
    assert rules(weights(v_0=5_000), aggregation=model).skills_version == expected


@given(st.lists(st.sampled_from(CHOICES), min_size=2, max_size=8), st.integers(334, 999))
def test_swapping_the_sides_swaps_the_choice(choices: list[str], confidence: int) -> None:
    swapped = {"left": "right", "right": "left"}
    of = rules(preference_confidence_permille=confidence)
    one = judged(comparison(*choices), of, 0)
    other = judged(comparison(*(swapped.get(choice, choice) for choice in choices)), of, 0)
    assert (one and swapped.get(one.choice, one.choice)) == (other and other.choice)


@given(st.lists(st.sampled_from(CHOICES), max_size=8))
def test_without_weights_scores_count_choices(choices: list[str]) -> None:
    of = rules(voter_accuracy_permille=800)
    # ln(.8 / .1)
    assert scores(comparison(*choices), of) == tuple(2_079 * choices.count(choice) for choice in CHOICES)
