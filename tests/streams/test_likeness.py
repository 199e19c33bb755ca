"""Planted copies are told from people who merely always say the same, and honest voters from both."""

import random

import pytest
from scipy.stats import norm

from streams.likeness import Votes, bonferroni, median_milliseconds, pairs, row_shares

LABELS = ("bad", "good")
HONEST = tuple(f"honest-{number}" for number in range(6))


def crowd(subjects: int, seed: int = 1) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Six who are right with .8, one who always says good, another who nearly does, and one who copies the first."""
    chance = random.Random(seed)
    votes: dict[str, dict[str, str]] = {}
    right: dict[str, str] = {}
    for number in range(subjects):
        name = f"s-{number:03d}"
        truth = right[name] = chance.choice(LABELS)
        said = {voter: truth if chance.random() < 0.8 else LABELS[truth == "bad"] for voter in HONEST}
        said |= {"always-good": "good", "nearly-always": "good" if chance.random() < 0.95 else "bad"}
        votes[name] = said | {"copier": said[HONEST[0]]}
    return votes, right


@pytest.mark.parametrize("known", [True, False], ids=["golden", "by the others"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_copies_and_constant_answers_are_told_apart(known: bool, seed: int) -> None:
    votes, right = crowd(200, seed)
    found = pairs(votes, right if known else {})
    kinds = {(pair.one, pair.other): pair.kind(6.0) for pair in found}
    assert {pair for pair, kind in kinds.items() if kind == "duplicate"} == {("copier", HONEST[0])}
    assert {pair for pair, kind in kinds.items() if kind == "constant"} == {("always-good", "nearly-always")}
    copied = next(pair for pair in found if pair.one == "copier" and pair.other == HONEST[0])
    assert (copied.same, copied.shared, len(copied.subjects)) == (200, 200, 0 if known else 20)
    assert copied.expected == pytest.approx(0.68, abs=0.06 if known else 0.1), (
        "two who are right with .8 agree on .8 x .8 + .2 x .2"
    )


def test_both_confusion_rows_are_there() -> None:
    votes, right = crowd(100)
    constant = next(pair for pair in pairs(votes, right) if (pair.one, pair.other) == ("always-good", "nearly-always"))
    rows = [row_shares(row) for row in constant.rows]
    assert rows[0] == {"bad": {"good": 1.0}, "good": {"good": 1.0}}
    assert min(row["good"] for row in rows[1].values()) > 0.85


def test_the_pair_does_not_say_what_is_right_by_itself() -> None:
    """With nobody else's vote and no golden answer nothing is known of how right two people are."""
    votes: Votes = {f"s-{number}": {"anna": "good", "ben": "good"} for number in range(50)}
    assert pairs(votes, {}) == []
    (pair,) = pairs(votes, {f"s-{number}": "bad" if number % 2 else "good" for number in range(50)})
    assert pair.kind(bonferroni(1)) == "constant"


def test_honest_voters_are_not_alike_more_often_than_the_bound_allows() -> None:
    """On twenty crowds of eight: a pair beyond the bound is a matter of one crowd in twenty."""
    alarms = 0
    for seed in range(20):
        chance = random.Random(seed)
        truths = {f"s-{number}": chance.choice(LABELS) for number in range(120)}
        votes = {
            subject: {f"v-{voter}": truth if chance.random() < 0.75 else LABELS[truth == "bad"] for voter in range(8)}
            for subject, truth in truths.items()
        }
        found = pairs(votes, {})
        alarms += any(pair.z > bonferroni(len(found)) for pair in found)
    assert alarms <= 4


def test_little_shared_work_says_nothing() -> None:
    votes, right = crowd(19)
    assert pairs(votes, right) == []


@pytest.mark.parametrize("count", [1, 247, 1_254])
def test_the_bound_is_bonferronis(count: int) -> None:
    assert bonferroni(count) == pytest.approx(norm.isf(0.05 / count), abs=1e-6)


def test_pace() -> None:
    assert median_milliseconds([5, 1, 9]) == 5
    assert median_milliseconds([]) is None
