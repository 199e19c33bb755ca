"""The running alpha is the one of the krippendorff package, whatever came, went and moved meanwhile."""

from collections import Counter

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.agreement import Sums, alpha, compared, merged, moved, nothing

LABELS = ("bad", "fair", "good")
#: Subject, voter, and a label or None for a vote that is taken back.
MOVES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from([*LABELS, None])), max_size=60)

Votes = dict[int, dict[int, str]]


def apply(sums: Sums, votes: Votes, move: tuple[int, int, str | None]) -> None:
    subject, voter, label = move
    before = Counter(votes.setdefault(subject, {}).values())
    if label is None:
        votes[subject].pop(voter, None)
    else:
        votes[subject][voter] = label
    moved(sums, before, Counter(votes[subject].values()))


def oracle(votes: Votes) -> float | None:
    ratings = np.full((5, 6), np.nan)
    for subject, by_voter in votes.items():
        for voter, label in by_voter.items():
            ratings[voter, subject] = LABELS.index(label)
    said = {label for by_voter in votes.values() if len(by_voter) > 1 for label in by_voter.values()}
    return float(krippendorff.alpha(ratings, level_of_measurement="nominal")) if len(said) > 1 else None


@given(moves=MOVES)
def test_alpha_is_that_of_the_krippendorff_package(moves: list[tuple[int, int, str | None]]) -> None:
    sums, votes = nothing(), Votes()
    for move in moves:
        apply(sums, votes, move)
    found, expected = alpha(sums), oracle(votes)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert float(found) == pytest.approx(expected, abs=1e-9)


@given(moves=MOVES, cut=st.integers(0, 60))
def test_parts_merge_to_the_whole(moves: list[tuple[int, int, str | None]], cut: int) -> None:
    """Slices and partitions have different subjects, so that each subject's votes stand in one part."""
    whole, parts = nothing(), (nothing(), nothing())
    votes, apart = Votes(), Votes()
    for move in moves:
        apply(whole, votes, move)
        apply(parts[move[0] % 2], apart, move)
    assert merged(parts) == whole


@given(moves=MOVES)
def test_what_is_all_taken_back_was_never_there(moves: list[tuple[int, int, str | None]]) -> None:
    sums, votes = nothing(), Votes()
    for move in moves:
        apply(sums, votes, move)
    left = [moved(sums, Counter(by_voter.values()), {}) for by_voter in votes.values()]
    assert left[-1:] in ([], [False])
    assert sums == nothing()


def test_a_known_set() -> None:
    """Krippendorff's own example of nominal data without gaps counted: two observers, ten subjects, alpha .095."""
    observers = ("0100000010", "1110010000")
    sums = nothing()
    for one, other in zip(*observers, strict=True):
        moved(sums, {}, Counter((one, other)))
    found = alpha(sums)
    assert found is not None
    assert float(found) == pytest.approx(0.095, abs=5e-4)
    assert compared(sums) == (10, 20)


@pytest.mark.parametrize("votes", [[], [{"good": 1}], [{"good": 3}, {"good": 2}]])
def test_without_chance_there_is_no_alpha(votes: list[dict[str, int]]) -> None:
    sums = nothing()
    for counts in votes:
        moved(sums, {}, counts)
    assert alpha(sums) is None
