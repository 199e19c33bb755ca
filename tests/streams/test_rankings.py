"""Strengths, errors and biases against oracles: statsmodels' logistic regression, scipy's optimiser, and what must hold."""

import random
import warnings
from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from streams.rankings import Duel, Online, Ranked, duels, rank, sides

NAMES = ("a", "b", "c", "d")
COUNT = st.integers(1, 30)


@st.composite
def connected(draw: st.DrawFn) -> list[Duel]:
    """Every neighbour of a ring beat the other at times: the maximum is finite. Some other pairs, with or without ties."""
    ring = [
        Duel(*sorted(pair), draw(COUNT), draw(COUNT), draw(st.integers(0, 9)))
        for pair in zip(NAMES, (*NAMES[1:], "a"), strict=True)
    ]
    across = [Duel(*pair, *(draw(st.integers(0, 9)) for _ in range(3))) for pair in (("a", "c"), ("b", "d"))]
    return ring + [duel for duel in across if sum(duel[2:])]


def logistic_regression(found: Sequence[Duel]) -> tuple[np.ndarray, np.ndarray]:
    """Bradley and Terry's model is a logistic regression on who stands left and right; the last item's strength is 0 in it."""
    design = np.zeros((len(found), len(NAMES)))
    for at, duel in enumerate(found):
        design[at, NAMES.index(duel.first)], design[at, NAMES.index(duel.second)] = 1, -1
    wins = np.array([[duel.wins + duel.ties / 2, duel.losses + duel.ties / 2] for duel in found])
    with warnings.catch_warnings():
        # An exact fit is no separation, but statsmodels takes it for one.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fitted = GLM(wins, design[:, :-1], family=Binomial()).fit(tol=1e-14, maxiter=200)
    strengths = np.append(fitted.params, 0.0)
    covariance = np.zeros((len(NAMES), len(NAMES)))
    covariance[:-1, :-1] = fitted.cov_params()
    centre = np.eye(len(NAMES)) - 1 / len(NAMES)
    return strengths - strengths.mean(), np.sqrt(np.diag(centre @ covariance @ centre.T))


def by_name(ranked: Sequence[Ranked]) -> dict[str, Ranked]:
    return {one.item: one for one in ranked}


@given(found=connected())
def test_bradley_terry_is_a_logistic_regression(found: list[Duel]) -> None:
    ours = by_name(rank(found))
    strengths, errors = logistic_regression(found)
    assert [ours[name].strength for name in NAMES] == pytest.approx(strengths, abs=1e-7)
    assert [ours[name].error for name in NAMES] == pytest.approx(errors, abs=1e-7)
    assert not any(one.regularised for one in ours.values())


def davidson_loss(point: np.ndarray, found: Sequence[Duel]) -> float:
    """Written from the formula, in probabilities."""
    loss = 0.0
    for duel in found:
        p, q = exp(point[NAMES.index(duel.first)]), exp(point[NAMES.index(duel.second)])
        both = exp(point[-1]) * sqrt(p * q)
        for count, weight in zip(duel[2:], (p, q, both), strict=True):
            loss -= count * log(weight / (p + q + both))
    return loss


@settings(max_examples=10)
@given(found=connected())
def test_davidson_is_the_maximum_that_scipy_finds(found: list[Duel]) -> None:
    if not any(duel.ties for duel in found):
        return
    ours = by_name(rank(found, "davidson"))
    point = np.array([*(ours[name].strength for name in NAMES), ours["a"].tie_nats])
    best = minimize(davidson_loss, np.zeros(len(NAMES) + 1), args=(found,), method="BFGS", options={"gtol": 1e-7})
    assert davidson_loss(point, found) <= best.fun + 1e-9
    # scipy differentiates numerically: its own place is only so exact.
    theirs = best.x[:-1] - best.x[:-1].mean()
    assert point[:-1] == pytest.approx(theirs, abs=1e-3)


@given(found=connected())
def test_without_ties_davidson_is_bradley_terry(found: list[Duel]) -> None:
    found = [duel._replace(ties=0) for duel in found if duel.wins + duel.losses]
    assert rank(found, "davidson") == rank(found)


@given(found=connected(), seed=st.integers(0, 1_000))
def test_neither_order_nor_side_of_the_choices_matters(found: list[Duel], seed: int) -> None:
    choices = [
        side
        for duel in found
        for choice, count in zip(("left", "right", "tie"), duel[2:], strict=True)
        for side in [(duel.first, duel.second, choice)] * count
    ]
    mirrored = {"left": "right", "right": "left", "tie": "tie"}
    other = [(right, left, mirrored[choice]) for left, right, choice in choices]
    random.Random(seed).shuffle(other)
    assert rank(duels(other)) == rank(duels(choices))


def test_who_never_lost_has_a_finite_strength_and_says_so() -> None:
    ranked = rank([Duel("a", "b", 8, 0, 0), Duel("b", "c", 3, 2, 0)])
    assert [one.item for one in ranked] == ["a", "b", "c"]
    assert all(one.regularised and abs(one.strength) < 5 for one in ranked)
    assert ranked[0].low < ranked[0].strength < ranked[0].high


def test_more_wins_bring_a_surer_lead() -> None:
    few, many = (rank([Duel("a", "b", n, 0, 0)])[0] for n in (1, 20))
    assert few.strength < many.strength
    assert few.low < 0 < many.low


def test_what_nobody_compared_is_ranked_apart() -> None:
    ranked = rank([Duel("c", "d", 2, 1, 0), Duel("a", "b", 1, 1, 4)])
    assert [(one.item, one.group) for one in ranked] == [("a", 0), ("b", 0), ("c", 1), ("d", 1)]
    apart = rank([Duel("c", "d", 2, 1, 0)])
    assert [one.strength for one in ranked[2:]] == pytest.approx([one.strength for one in apart])


def test_two_items_are_the_log_odds_of_their_wins() -> None:
    first, second = rank([Duel("a", "b", 30, 10, 0)])
    assert first.strength - second.strength == pytest.approx(log(3))
    # The difference's standard error is sqrt(1/30 + 1/10), and each stands half of it from the mean.
    assert first.error == pytest.approx(sqrt(1 / 30 + 1 / 10) / 2)
    assert (first.wins, first.losses, first.ties, first.n) == (30, 10, 0, 40)


def test_nothing_is_ranked_without_choices_and_only_ties_are_equal() -> None:
    assert rank([]) == []
    assert duels([("a", "a", "left")]) == ()
    assert [one.strength for one in rank([Duel("a", "b", 0, 0, 3)], "davidson")] == [0.0, 0.0]


def test_online_strengths_end_near_the_batch_in_any_order() -> None:
    chance = random.Random(7)
    true = {"a": 0.8, "b": 0.2, "c": -0.1, "d": -0.9}
    choices: list[tuple[str, str, str]] = []
    for _ in range(3_000):
        left, right = chance.sample(NAMES, 2)
        wins = chance.random() < 1 / (1 + exp(true[right] - true[left]))
        choices.append((left, right, "left" if wins else "right"))
    ranked = rank(duels(choices))
    batch, errors = {one.item: one.strength for one in ranked}, {one.item: one.error for one in ranked}
    for seed in range(3):
        random.Random(seed).shuffle(choices)
        online = Online()
        for left, right, choice in choices:
            online.take(left, right, {"left": 1.0, "right": 0.0, "tie": 0.5}[choice])
        found = online.strengths()
        assert {name: strength for name, (strength, _) in found.items()} == pytest.approx(batch, abs=0.03)
        assert {name: error for name, (_, error) in found.items()} == pytest.approx(errors, rel=0.05)


def test_a_choice_that_counts_nothing_moves_nothing() -> None:
    online = Online(prior_deviation=3.0)
    online.take("a", "b", 1.0, weight=0.0)
    assert online.strengths() == {name: (0.0, pytest.approx(3 * sqrt(0.5))) for name in ("a", "b")}
    assert Online().strengths() == {}


@given(left=st.integers(0, 200), right=st.integers(0, 200), ties=st.integers(0, 5))
def test_position_bias_is_the_test_of_a_proportion(left: int, right: int, ties: int) -> None:
    choices = [("anna", "left")] * left + [("anna", "right")] * right + [("anna", "tie")] * ties
    found = sides(choices)
    if left + right:
        (anna,) = found
        z = (left / (left + right) - 0.5) / sqrt(0.25 / (left + right))
        assert (anna.left_share, anna.z) == pytest.approx((left / (left + right), z))
        assert anna.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    else:
        assert [(one.ties, one.z, one.p) for one in found] == [(ties, 0.0, 1.0)] * bool(ties)
