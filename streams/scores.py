"""Sums of integer weights and what they say: which label leads, and how surely, exactly the same on any machine.

A subject has one score a label, in milli-nats: a prior and the weights of the votes that count. At temperature T the
probability of label k is exp(score[k] / 1000 T) / sum over j of exp(score[j] / 1000 T) (Guo et al. 2017, for T).
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import cache
from math import exp
from operator import add

from streams.weights import milli_nats

Scores = tuple[int, ...]

#: One, in the unit of `falling`.
ONE = 1_000_000_000
#: Milli-nats from which exp(-x) is under one in that unit.
NOTHING_LEFT = 20_724


def falling(milli_nats: int) -> int:
    """exp(-x), in billionths, rounded half to even; 0 from 20.7 nats on. Decimal exponentials are the same anywhere."""
    return _falling(milli_nats) if milli_nats < NOTHING_LEFT else 0


@cache  # of as many as there are below that bound
def _falling(milli_nats: int) -> int:
    # A float is off by far less than a thousandth here, whoever's `exp` it is: it says what Decimals say, which take ten times as
    # long, but near a half.
    about = ONE * exp(-milli_nats / 1_000)
    if abs(about % 1 - 0.5) > 0.001:
        return round(about)
    with localcontext() as context:
        context.prec = 30
        return int((Decimal(-milli_nats) / 1000).exp().scaleb(9).to_integral_value())


def summed(one: Scores, other: Scores) -> Scores:
    if len(one) == 2:  # the same, at a fraction of the time
        return one[0] + other[0], one[1] + other[1]
    return tuple(map(add, one, other))


def leading(scores: Scores) -> int:
    """Index of the highest score; of equal ones the first."""
    return scores.index(max(scores))


def against(scores: Scores, label: int, temperature_permille: int) -> int:
    """The odds against a label, in billionths: sum over the others of exp(-(its score - theirs) / T), each at most one."""
    own = scores[label]
    if len(scores) == 2:  # the same, at a fraction of the time
        return falling(max(0, (own - scores[1 - label]) * 1_000 // temperature_permille))
    return sum(falling(max(0, (own - score) * 1_000 // temperature_permille)) for at, score in enumerate(scores) if at != label)


def is_sure(scores: Scores, label: int, needed: int, temperature_permille: int) -> bool:
    """Whether a leading label's probability reaches a confidence, given as its log-odds `needed` in milli-nats."""
    if len(scores) == 2:  # the same, without an exponential
        return (scores[label] - scores[1 - label]) * 1_000 >= needed * temperature_permille
    return against(scores, label, temperature_permille) <= falling(needed)


def confidence_permille(scores: Scores, label: int, temperature_permille: int) -> int:
    """Probability of a leading label, rounded down to a permille."""
    return 1_000 * ONE // (ONE + against(scores, label, temperature_permille))


def shares_permille(scores: Scores) -> tuple[int, ...]:
    """Every label's uncalibrated probability, rounded down; what rounding leaves goes to the leading one, so that they sum to
    1,000."""
    if len(scores) == 2:  # the same, at a fraction of the time
        lead = scores[0] - scores[1]
        odds = falling(abs(lead))
        other = 1_000 * odds // (ONE + odds)
        return (1_000 - other, other) if lead >= 0 else (other, 1_000 - other)
    lead = leading(scores)
    parts = [falling(scores[lead] - score) for score in scores]
    whole = sum(parts)
    shares = [1_000 * part // whole for part in parts]
    shares[lead] += 1_000 - sum(shares)
    return tuple(shares)


def uniform(labels: Sequence[str], accuracy_permille: int) -> tuple[Scores, ...]:
    """What a vote for each label adds to every label's score, if voters are right this often and err to any other label alike.

    Only differences between scores count, so a wrong label gets 0 and the one voted ln(p (K - 1) / (1 - p)).
    """
    count = len(labels)
    weight = milli_nats(accuracy_permille) + _ln_milli(count - 1)
    return tuple(tuple(weight if true == voted else 0 for true in range(count)) for voted in range(count))


@cache
def _ln_milli(number: int) -> int:
    with localcontext() as context:
        context.prec = 30
        return int((Decimal(number).ln() * 1000).to_integral_value())
