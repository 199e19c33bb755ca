"""The models that weigh votes. Each gives every voter a matrix: what a vote for l adds to the score of label k, in nats.

Each is prior[k] plus a sum over votes, so that a fold can add up any of them without knowing which it is.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from schemas.words import Model
from streams.confusion import ASSUMED_ACCURACY, SHRINKAGE, Counts, Floats, Pool, expected_of, right, total

#: Toloka's smoothing of golden accuracy.
TOLOKA_K = 0.5
#: Nothing is quite certain: bounds of a voter's accuracy.
BOUND = 0.001


class Weights(NamedTuple):
    """One model's prior (K) and its matrices (N x K x K, [voter][label k][label said])."""

    prior: Floats
    matrices: Floats


def one_coin(accuracy: Floats, labels: int) -> Floats:
    """log P(said | right) of voters who are right with this probability and err to any other label alike."""
    clipped = np.clip(accuracy, BOUND, 1 - BOUND)[:, None, None]
    return np.log(np.where(np.eye(labels, dtype=np.bool_), clipped, (1 - clipped) / (labels - 1)))


def majority(counts: Counts, pool: Pool, accuracy: float = ASSUMED_ACCURACY) -> Weights:
    """Everybody weighs the same."""
    voters, labels, _ = counts.judged.shape
    return Weights(np.zeros(labels), one_coin(np.full((voters,), accuracy, dtype=np.float64), labels))


def weighted(counts: Counts, pool: Pool, shrinkage: float = SHRINKAGE) -> Weights:
    """By accuracy against what the subjects' votes said together (as crowd-kit's Wawa does with a hard majority), shrunk to
    that of all voters. No label is likelier than another beforehand."""
    labels = counts.judged.shape[1]
    typical = float(pool.prior @ np.diagonal(pool.confusion))
    accuracy = (right(counts.judged) + shrinkage * typical) / (total(counts.judged) + shrinkage)
    return Weights(np.zeros(labels), one_coin(accuracy, labels))


def bayesian(counts: Counts, pool: Pool, shrinkage: float = SHRINKAGE) -> Weights:
    """By confusion matrix (Dawid and Skene 1979), each shrunk to the pool's as shifted to the voter's own ability."""
    judged = counts.judged
    expected = expected_of(pool, judged)
    rows = (judged + shrinkage * expected) / (judged.sum(axis=2, keepdims=True) + shrinkage)
    return Weights(np.log(pool.prior), np.log(rows))


def toloka(counts: Counts, pool: Pool) -> Weights:
    """Toloka's dynamic overlap: by golden accuracy alone, q = (K + right) / (2 K + seen) with K = 0.5, uniform prior."""
    labels = counts.golden.shape[1]
    accuracy = (TOLOKA_K + right(counts.golden)) / (2 * TOLOKA_K + total(counts.golden))
    return Weights(np.zeros(labels), one_coin(accuracy, labels))


ModelOf = Callable[[Counts, Pool], Weights]
#: The models that stand on their own; `streams.blend` mixes them.
SINGLE: dict[Model, ModelOf] = {"majority": majority, "weighted": weighted, "bayesian": bayesian, "toloka": toloka}
