"""What is read from counts and sums: diversity of categories and of embeddings. Floats live here, never in state."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Categories(NamedTuple):
    """Diversity of one way of sorting texts: Shannon in nats, Simpson as 1 - sum p^2, Hill numbers of order 0, 1, 2."""

    total: int
    shannon: float
    simpson: float
    hill_0: float
    hill_1: float
    hill_2: float


def of_categories(counts: Iterable[int]) -> Categories:
    """Indices of positive counts (Hill 1973); all zero where there are none."""
    positive = np.array(sorted(count for count in counts if count > 0), dtype=np.float64)
    if not positive.size:
        return Categories(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    share = positive / positive.sum()
    shannon = float(-(share * np.log(share)).sum()) + 0.0
    concentration = float((share**2).sum())
    total = int(positive.sum())
    return Categories(total, shannon, 1 - concentration, float(positive.size), float(np.exp(shannon)), 1 / concentration)


class Embeddings(NamedTuple):
    """Diversity of n texts' embeddings. Vendi scores grow with n: compare them at equal n only."""

    total: int
    mean_pairwise_cosine: float
    vendi_1: float
    vendi_2: float


def of_embeddings(total: int, sums: Integers, moments: Integers) -> Embeddings:
    """From n, s = sum x and S = sum x x^T of the quantised vectors (d and d x d).

    Mean pairwise cosine is (s.s - tr S) / ((n - 1) tr S), exact for vectors of equal length. Vendi scores
    (Friedman and Dieng 2023) are exp of the Renyi entropies of order 1 and 2 of the eigenvalues of S / tr S.
    """
    trace = float(np.trace(moments))
    if total < 2 or trace == 0:
        return Embeddings(total, 1.0 if total else 0.0, float(min(total, 1)), float(min(total, 1)))
    vector = sums.astype(np.float64)
    cosine = (float(vector @ vector) - trace) / ((total - 1) * trace)
    eigenvalues = np.linalg.eigvalsh(moments.astype(np.float64) / trace)
    weights = eigenvalues[eigenvalues > 1e-12]
    vendi_1 = float(np.exp(-(weights * np.log(weights)).sum()))
    return Embeddings(total, cosine, vendi_1, float(1 / (weights**2).sum()))
