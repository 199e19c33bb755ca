"""What two labels take a short way to is what any number of labels comes to."""

from hypothesis import given
from hypothesis import strategies as st

from streams.deciding import log_odds
from streams.scores import against, confidence_permille, falling, is_sure, leading, shares_permille
from streams.weights import milli_nats

PAIRS = st.tuples(st.integers(-30_000, 30_000), st.integers(-30_000, 30_000))
TEMPERATURES = st.integers(50, 5_000)
#: A third label that nobody could mean.
NEVER = -(10**9)


@given(pair=PAIRS, temperature=TEMPERATURES, needed=st.integers(501, 999))
def test_a_third_label_that_nobody_means_changes_nothing(pair: tuple[int, int], temperature: int, needed: int) -> None:
    three, lead = (*pair, NEVER), leading(pair)
    assert against(pair, lead, temperature) == against(three, lead, temperature)
    assert confidence_permille(pair, lead, temperature) == confidence_permille(three, lead, temperature)
    assert shares_permille(pair) == shares_permille(three)[:2]
    assert log_odds(pair, (True, False)) == log_odds(three, (True, False, False)) == -log_odds(pair, (False, True))
    odds = milli_nats(needed)
    if (pair[lead] - pair[1 - lead]) * 1_000 // temperature < 20_000:
        assert is_sure(pair, lead, odds, temperature) == is_sure(three, lead, odds, temperature)


@given(st.lists(st.integers(-30_000, 30_000), min_size=2, max_size=10))
def test_shares_sum_to_a_thousand_and_follow_the_scores(scores: list[int]) -> None:
    shares = shares_permille(tuple(scores))
    assert sum(shares) == 1_000
    assert max(shares) == shares[leading(tuple(scores))]


def test_exponentials_are_exact_and_end() -> None:
    assert (falling(0), falling(1_000), falling(20_723), falling(10**9)) == (1_000_000_000, 367_879_441, 1, 0)
