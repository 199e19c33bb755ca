"""Between probabilities and integer log-odds: exact, so that every machine folds to the same bit."""

from decimal import Decimal, localcontext
from functools import cache


@cache
def milli_nats(permille: int) -> int:
    """1000 ln(p / (1 - p)) for p in permille (1..999), rounded half to even. Decimal logarithms are the same anywhere."""
    with localcontext() as context:
        context.prec = 30
        odds = Decimal(permille) / Decimal(1000 - permille)
        return int((odds.ln() * 1000).to_integral_value())


def passes_limit(against: int, total: int, limit_permille: int) -> bool:
    """Whether the lower 95 % Wilson bound of against/total is above the limit.

    The bound is the smaller root of (p - l)^2 = z^2 l (1 - l) / n (Wilson 1927), so it lies above l exactly
    when p > l and n (p - l)^2 > z^2 l (1 - l); in integers, with z^2 = 3.841459.
    """
    distance = 1000 * against - limit_permille * total
    if distance <= 0:
        return False
    return distance * distance * 1_000_000 > 3_841_459 * total * limit_permille * (1000 - limit_permille)
