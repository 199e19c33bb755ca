"""The interval of an evaluation keeps its promise on numbers whose truth is known."""

import numpy as np
import pytest

pytest.importorskip("statsmodels", reason="the extra `train` is not installed")

from ray_jobs.evaluate import Gain, by_prompt, compare
from ray_jobs.rows import Row, Tokens, Unusable

TRUE_GAIN = 0.2
SIMULATIONS = 400


def simulated(random: np.random.Generator, groups: int) -> list[Gain]:
    """Prompts in groups of unequal size that share a group's effect, and differ in spread."""
    gains: list[Gain] = []
    for group in range(groups):
        shared = random.normal(TRUE_GAIN, 0.3)
        noise = random.uniform(0.05, 0.5)
        gains += [Gain(f"{group}-{at}", f"g{group}", random.normal(shared, noise)) for at in range(random.integers(1, 6))]
    return gains


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    found = [compare(simulated(random, 40)) for _ in range(SIMULATIONS)]
    covered = sum(one.low <= TRUE_GAIN <= one.high for one in found) / SIMULATIONS
    assert 0.925 <= covered <= 0.975


def test_prompts_taken_as_independent_would_promise_too_much() -> None:
    """The planted fault: every prompt a cluster of its own."""
    random = np.random.default_rng(7)
    alone = [[gain._replace(group=gain.prompt) for gain in simulated(random, 40)] for _ in range(SIMULATIONS)]
    covered = sum(one.low <= TRUE_GAIN <= one.high for one in map(compare, alone)) / SIMULATIONS
    assert covered < 0.9


def test_wins_ties_and_losses_are_counted_by_prompt() -> None:
    found = compare([Gain("a", "1", 0.3), Gain("b", "2", 0.0004), Gain("c", "3", -0.2), Gain("d", "3", 0.1)])
    assert (found.prompts, found.groups, found.wins, found.ties, found.losses) == (4, 3, 2, 1, 1)
    assert found.low < found.gain < found.high


def test_one_group_has_no_interval() -> None:
    with pytest.raises(Unusable, match="1 group"):
        compare([Gain("a", "1", 0.1), Gain("b", "1", 0.2)])


def test_several_answers_to_one_prompt_are_one_prompt() -> None:
    rows = [Row(f"s{at}", prompt, "g", [], "x") for at, prompt in enumerate(("q", "q", "r"))]
    tokens = [Tokens(row, [1], [2, 3]) for row in rows]
    assert by_prompt(tokens, [4.0, 6.0, 1.0], [2.0, 6.0, 2.0]) == [Gain("q", "g", 0.5), Gain("r", "g", -0.5)]
