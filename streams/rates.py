"""Rates with their 95 % Wilson intervals, for whoever reads counts; what a fold decides, it decides in integers."""

from math import sqrt
from typing import NamedTuple

#: The 97.5 % quantile of the normal distribution, squared; streams/weights.py has it in millionths.
Z_SQUARED = 3.841459


class Rate(NamedTuple):
    """against / total with its interval; all of 0 to 1 may be true where nothing is counted."""

    against: int
    total: int
    rate: float | None
    low: float
    high: float


def rate_of(against: int, total: int) -> Rate:
    """The roots l of (p - l)^2 = z^2 l (1 - l) / n (Wilson 1927)."""
    if not total:
        return Rate(against, total, None, 0.0, 1.0)
    rate, scale = against / total, 1 + Z_SQUARED / total
    middle = (rate + Z_SQUARED / (2 * total)) / scale
    half = sqrt(Z_SQUARED * (rate * (1 - rate) + Z_SQUARED / (4 * total)) / total) / scale
    return Rate(against, total, rate, max(0.0, middle - half), min(1.0, middle + half))
