"""The models together: a logarithmic pool (Genest and Zidek 1986), whose weights golden answers fit.

The pool of models m with weights a is sum of a[m] (prior[m] + votes' matrices of m): again a prior and a matrix a voter. The
weights sum to one, so that a pool of models that agree says what they say; how sure it is of that is its temperature's matter.
"""

from collections.abc import Sequence

import numpy as np

from streams.confusion import Floats
from streams.golden import Indices
from streams.models import Weights

#: Pull of the weights to what is trusted without golden answers, in answers' worth of squared distance.
PULL = 1.0
ROUNDS = 100
#: Longest step of one weight: where the loss is nearly flat Newton's would go far past its least.
STRIDE = 0.2


def mixed(weights: Floats, models: Sequence[Weights]) -> Weights:
    prior = sum((share * one.prior for share, one in zip(weights, models, strict=True)), np.zeros_like(models[0].prior))
    matrices = sum((share * one.matrices for share, one in zip(weights, models, strict=True)), np.zeros_like(models[0].matrices))
    return Weights(prior, matrices)


def fitted(scores: Floats, truth: Indices, trusted: Floats) -> Floats:
    """Weights >= 0 of least log loss on golden tasks, pulled to the trusted ones and then scaled to a sum of one; a weight of 0
    leaves its model out.

    `scores` are models x tasks x labels, each already divided by its temperature. Newton's step on one weight after the
    other; the cost is convex, so that they end at its least.
    """
    weights = trusted.copy()
    right = scores[:, np.arange(truth.size), truth]
    for _ in range(ROUNDS):
        before = weights.copy()
        for model in range(weights.size):
            weights[model] = max(0.0, weights[model] - _step(scores, right, weights, trusted, model))
        if float(np.abs(weights - before).max()) < 1e-5:
            break
    total = float(weights.sum())
    return weights / total if total > 0 else trusted.copy()


def _step(scores: Floats, right: Floats, weights: Floats, trusted: Floats, model: int) -> float:
    """Newton's step on one weight: slope over curvature of the summed log loss and the pull."""
    together = np.tensordot(weights, scores, axes=1)
    parts = np.exp(together - together.max(axis=1, keepdims=True))
    shares = parts / parts.sum(axis=1, keepdims=True)
    own = scores[model]
    mean = (shares * own).sum(axis=1)
    slope = float((mean - right[model]).sum()) + 2 * PULL * float(weights[model] - trusted[model])
    curvature = float((shares * own**2).sum() - (mean**2).sum()) + 2 * PULL
    return min(STRIDE, max(-STRIDE, slope / curvature))
