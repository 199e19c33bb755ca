"""What the default golden rule does to good voters and to those who guess: exactly, over every course of answers."""

from collections import Counter
from collections.abc import Iterator

import pytest

from schemas.policy import Policy
from streams.rules import DEFAULT_RULES, look
from streams.tallies import Tally

ANSWERS = 100


def flags(wrong: int, answers: int) -> bool:
    tally = Tally()
    tally.counts["golden_wrong"], tally.counts["golden_right"] = wrong, answers - wrong
    return look("golden", tally, DEFAULT_RULES).holds


def caught_by(error: float) -> Iterator[float]:
    """The probability that a voter who errs so often was flagged by the first, second, ... answer, looked at after each."""
    courses, caught = Counter({0: 1.0}), 0.0
    for answers in range(1, ANSWERS + 1):
        later: Counter[int] = Counter()
        for wrong, probability in courses.items():
            later[wrong] += probability * (1 - error)
            later[wrong + 1] += probability * error
        caught += sum(probability for wrong, probability in later.items() if flags(wrong, answers))
        courses = Counter({wrong: probability for wrong, probability in later.items() if not flags(wrong, answers)})
        yield caught


def test_the_golden_rule_spares_good_voters_and_catches_who_guesses() -> None:
    *_, good = caught_by(0.15)
    guessing = list(caught_by(0.5))
    assert good == pytest.approx(0.00198, abs=5e-6)
    assert guessing[14] > 0.54, "half of them within 15 answers"
    assert guessing[-1] > 0.99


def test_a_lower_minimum_would_flag_more_good_voters() -> None:
    """Four of the first five wrong happen to good voters too; this is why the default minimum is ten."""
    assert Policy().golden_min_seen == 10
    assert flags(8, 10)
    assert not flags(4, 5)
