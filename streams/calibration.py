"""Between a model's scores and probabilities that mean what they say (Guo et al. 2017), fitted on golden answers.

Votes on one text err together: what is hard for one voter is hard for the next. So n votes are worth fewer, by the design
effect 1 + r (n - 1) of Kish (1965), and the temperature of a score grows with its votes: T = base + per_vote (n - 1).
"""

from math import log
from typing import NamedTuple

import numpy as np

from streams.confusion import Floats
from streams.golden import Indices

#: Golden answers from which models are blended.
ENOUGH = 50
#: Golden answers from which a temperature is fitted: fewer, since the pull to the default is caution enough.
FITTED_FROM = 20
#: Pull of the default in the fit, as a normal prior on ln(per_vote): 1 / (2 sd^2) for sd .57, by which the best of seven crowds
#: differ. A hundred answers with few errors among them must not make everything certain.
CAUTION = 1.5
BINS = 10


class Temperature(NamedTuple):
    """The temperature at one vote, and by how much each further vote raises it."""

    base: float
    per_vote: float


#: Until golden answers say better.
DEFAULT = Temperature(1.0, 0.3)
STEP = 0.05
#: In steps up to 2, and by tenths up to 20: where all err together twenty votes say hardly more than one.
_CANDIDATES = [Temperature(1.0, slope) for slope in (*(step * STEP for step in range(41)), *(2 * 1.1**n for n in range(1, 25)))]


def at(temperature: Temperature, votes: Indices) -> Floats:
    """The temperature of each score, by the votes in it; under one vote as at one."""
    return temperature.base + temperature.per_vote * np.maximum(votes - 1, 0)


def probabilities(scores: Floats, temperatures: Floats) -> Floats:
    """Softmax of each row of scores (N x K, in nats) at its temperature."""
    scaled = scores / temperatures[:, None]
    parts = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: Floats = parts / parts.sum(axis=1, keepdims=True)
    return shares


def log_losses(probability: Floats, truth: Indices) -> Floats:
    """-ln of what each task's right label was given, in nats, 20.7 at most."""
    return -np.log(np.maximum(probability[np.arange(truth.size), truth], 1e-9))


def fitted(scores: Floats, votes: Indices, truth: Indices) -> Temperature:
    """The temperature of least log loss, near the default where few answers speak; the default where under `FITTED_FROM` do."""
    if truth.size < FITTED_FROM:
        return DEFAULT

    def cost(candidate: Temperature) -> float:
        loss = log_losses(probabilities(scores, at(candidate, votes)), truth).sum()
        return float(loss) + CAUTION * log((candidate.per_vote + STEP) / (DEFAULT.per_vote + STEP)) ** 2

    return min(_CANDIDATES, key=cost)


def calibration_error(confidence: Floats, is_right: Floats) -> float:
    """Expected calibration error: over ten bins of equal width, the distance of mean confidence from accuracy, weighted by
    the bin's share (Naeini et al. 2015)."""
    if not confidence.size:
        return 0.0
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(places, weights=confidence - is_right, minlength=BINS)
    return float(np.abs(gaps).sum() / confidence.size)
