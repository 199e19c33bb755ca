"""Indices and limits against the field's own packages."""

from base64 import b64decode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from statsmodels.stats.proportion import proportion_confint
from vendi_score import vendi

from streams.diversity import DIVERSITY, Row, count
from streams.indices import of_categories, of_embeddings
from streams.projection import record_of, replay
from streams.weights import milli_nats, passes_limit
from tests.streams.histories import embedding, event_bytes, source_log

COUNTS = st.lists(st.integers(1, 1_000), min_size=1, max_size=30)


@given(counts=COUNTS)
def test_categories_are_those_of_scipy(counts: list[int]) -> None:
    found, share = of_categories(counts), np.array(counts) / sum(counts)
    assert found.shannon == pytest.approx(entropy(counts), abs=1e-12)
    assert found.hill_1 == pytest.approx(np.exp(entropy(counts)))
    assert found.hill_2 == pytest.approx(1 / (share**2).sum())
    assert (found.total, found.hill_0) == (sum(counts), len(counts))
    assert found.hill_0 >= found.hill_1 - 1e-9 >= found.hill_2 - 2e-9


def test_nothing_has_no_diversity() -> None:
    assert of_categories([]).hill_1 == 0
    row = Row()
    assert of_embeddings(row.embedded, row.sums, row.moments) == (0, 0.0, 0.0, 0.0)


def _vectors(count_: int) -> np.ndarray:
    return np.stack([np.frombuffer(b64decode(embedding(seed)), dtype=np.int8) for seed in range(count_)]).astype(np.int64)


def test_embeddings_are_those_of_the_vendi_package_and_of_all_pairs() -> None:
    vectors = _vectors(60)
    found = of_embeddings(60, vectors.sum(0), vectors.T @ vectors)
    # The package takes unit vectors; ours have almost one length, so its eigenvalues are ours to four digits.
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert found.vendi_1 == pytest.approx(vendi.score_dual(unit, normalize=True), rel=1e-4)
    assert found.vendi_2 == pytest.approx(vendi.score_dual(unit, q=2, normalize=True), rel=1e-4)
    pairs = unit @ unit.T
    assert found.mean_pairwise_cosine == pytest.approx((pairs.sum() - 60) / (60 * 59), abs=1e-4)


def test_what_leaves_a_slice_subtracts_exactly_what_it_had_added() -> None:
    history = [
        ("receive", "s-1", "en/reviews/sentiment"),
        ("analyse", "s-1", 1, 3),
        ("vote", "s-1", "anna", "good", 1),
        ("vote", "s-1", "ben", "good", 1),
        ("withdraw", "s-1"),
    ]
    log = source_log(DIVERSITY, history)
    assert [type(record.event.data).__name__ for record in log] == ["SliceEntered", "SliceLeft"]
    (row,) = replay(DIVERSITY, log).rows.values()
    empty = Row()
    assert (row.texts, row.words, row.writers, row.kinds, row.embedded) == (0, 0, {}, {}, 0)
    assert (row.sums == empty.sums).all()
    assert (row.moments == empty.moments).all()


def test_embeddings_of_another_model_are_counted_but_not_summed() -> None:
    log = source_log(DIVERSITY, [*_approved("s-1"), *_approved("s-2")])
    second = record_of(0, 9, event_bytes(("receive", "s-3", "en/reviews/sentiment"), 3))
    assert second.event.subject == "s-3"
    row = Row()
    for record, model in zip(log, ("m", "other"), strict=True):
        count(row, record.event.data.model_copy(update={"model": model}), 1)  # type: ignore[union-attr,arg-type]
    assert (row.texts, row.embedded, row.model) == (2, 1, "m")


def _approved(subject: str) -> list[tuple[object, ...]]:
    votes = [("vote", subject, voter, "good", 1) for voter in ("anna", "ben")]
    return [("receive", subject, "en/reviews/sentiment"), ("analyse", subject, 1, 1), *votes]


@pytest.mark.parametrize("permille", [1, 100, 500, 501, 750, 800, 900, 999])
def test_milli_nats_are_rounded_log_odds(permille: int) -> None:
    p = permille / 1000
    assert milli_nats(permille) == round(1000 * float(np.log(p / (1 - p))))


@given(total=st.integers(1, 400), share=st.floats(0, 1), limit=st.integers(1, 999))
def test_limits_are_lower_wilson_bounds(total: int, share: float, limit: int) -> None:
    against = round(share * total)
    low, _ = proportion_confint(against, total, alpha=0.05, method="wilson")
    if abs(low - limit / 1000) > 1e-6:  # on the very edge, floats do not know
        assert passes_limit(against, total, limit) == (low > limit / 1000)


def test_one_of_one_is_no_reason() -> None:
    assert not passes_limit(1, 1, 350)
    assert passes_limit(40, 60, 350)
