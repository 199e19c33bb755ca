"""What is known of voters' errors: how often each said a label when another one was right, alone and all together.

Counts are arrays of voters x right labels x labels said. A vote on a subject whose right label is not known counts as the
share that each label has of the subject's probability; a vote on a golden task counts whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Accuracy that is assumed before anything is known, and the votes a label that it counts as, in the pool of all voters.
ASSUMED_ACCURACY = 0.8
ASSUMED_VOTES = 100.0
#: Votes that the pooled confusion counts as, in a voter's own one.
SHRINKAGE = 4.0


class GoldenAnswer(NamedTuple):
    """One voter's answer to one golden task; labels by their place among the project's labels."""

    subject: str
    truth: int
    said: int


class Voter(NamedTuple):
    """What one project's judgements say of one voter: K x K sums of credits in permille and of golden answers, both
    [right label][label said], and the newest golden answers one by one."""

    name: str
    credits: Sequence[Sequence[int]]
    golden: Sequence[Sequence[int]]
    answers: tuple[GoldenAnswer, ...] = ()


class Counts(NamedTuple):
    """Votes of N voters, each N x K x K: all that are judged, and those of them on golden tasks."""

    judged: Floats
    golden: Floats


class Pool(NamedTuple):
    """All voters together: P(said | right), and how common each label is."""

    confusion: Floats
    prior: Floats


def counts_of(voters: Sequence[Voter], labels: int) -> Counts:
    shape = (len(voters), labels, labels)
    golden = np.array([voter.golden for voter in voters], dtype=np.float64).reshape(shape)
    credits = np.array([voter.credits for voter in voters], dtype=np.float64).reshape(shape)
    return Counts(credits / 1000 + golden, golden)


def assumed(labels: int) -> Floats:
    """P(said | right) of a voter who is right as often as assumed, and errs to any other label alike."""
    wrong = (1 - ASSUMED_ACCURACY) / (labels - 1)
    return np.where(np.eye(labels, dtype=np.bool_), ASSUMED_ACCURACY, wrong)


def pooled(judged: Floats) -> Pool:
    """The pool starts as `ASSUMED_VOTES` assumed votes a label, and each label once."""
    said = judged.sum(axis=0)
    confusion = said + ASSUMED_VOTES * assumed(said.shape[0])
    common = said.sum(axis=1) + 1
    return Pool(confusion / confusion.sum(axis=1, keepdims=True), common / common.sum())


def right(counts: Floats) -> Floats:
    """Right votes of each voter."""
    hits: Floats = np.diagonal(counts, axis1=1, axis2=2).sum(axis=1)
    return hits


def total(counts: Floats) -> Floats:
    votes: Floats = counts.sum(axis=(1, 2))
    return votes


def expected_of(pool: Pool, counts: Floats) -> Floats:
    """The pooled confusion, shifted to each voter's ability: the odds of a right label are multiplied by those of the voter
    being right, over those of the pool being right on the same subjects. Which wrong label is said stays as in the pool.

    So a few votes tell how good somebody is, long before they can tell how good with each label.
    """
    hits = np.diagonal(pool.confusion)
    votes = total(counts)
    typical = np.full(votes.shape, float(pool.prior @ hits))
    np.divide(counts.sum(axis=2) @ hits, votes, out=typical, where=votes > 0)
    own = (right(counts) + SHRINKAGE * typical) / (votes + SHRINKAGE)
    odds = (hits / (1 - hits))[None, :] * (own * (1 - typical) / ((1 - own) * typical))[:, None]
    shifted = odds / (1 + odds)
    rows: Floats = pool.confusion[None, :, :] * ((1 - shifted) / (1 - hits))[:, :, None]
    diagonal = np.arange(hits.size)
    rows[:, diagonal, diagonal] = shifted
    return rows
