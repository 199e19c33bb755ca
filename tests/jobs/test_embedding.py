"""Both embedders keep one promise; each test runs on both."""

from base64 import b64decode
from collections.abc import Sequence

import numpy as np
import pytest

from agents.embedding import BATCH_CHARACTERS, CUT_CHARACTERS, EMBEDDERS, Analysis, Embedder, batches, load_embedder
from schemas.events import SubmissionAnalysed

TEXTS = (
    "How do I boil an egg?",
    "How should I boil eggs?",
    "The court dismissed the appeal on procedural grounds.",
    "x",
    "!?",
    "word " * 2_000,
)


@pytest.fixture(scope="module", params=sorted(EMBEDDERS))
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return load_embedder(request.param)


def vectors(analyses: Sequence[Analysis]) -> np.ndarray:
    return np.array([np.frombuffer(b64decode(analysis.embedding), dtype=np.int8) for analysis in analyses], dtype=np.int64)


def test_each_text_gets_a_valid_record_in_order(embedder: Embedder) -> None:
    found = embedder.analyse(TEXTS)
    assert [analysis.characters for analysis in found] == [len(text) for text in TEXTS]
    assert [analysis.words for analysis in found] == [6, 5, 8, 1, 1, 2_000]
    for analysis in found:
        SubmissionAnalysed(revision=1, **analysis._asdict())


def test_vectors_have_unit_length(embedder: Embedder) -> None:
    lengths = np.sqrt((vectors(embedder.analyse(TEXTS)) ** 2).sum(1)) / 127
    assert np.all(np.abs(lengths - 1) < 0.05)


def test_near_texts_are_nearer_than_far_ones(embedder: Embedder) -> None:
    egg, eggs, court = vectors(embedder.analyse(TEXTS[:3]))
    assert egg @ eggs > 2 * (egg @ court)


def test_a_text_alone_and_in_a_batch_is_the_same_text(embedder: Embedder) -> None:
    together = vectors(embedder.analyse(TEXTS))
    alone = vectors([embedder.analyse([text])[0] for text in TEXTS])
    assert np.abs(together - alone).max() <= 2


def test_no_texts_no_analyses(embedder: Embedder) -> None:
    assert embedder.analyse([]) == []


def test_each_text_is_in_one_batch_with_its_like() -> None:
    lengths = [length * 7 % 3_000 for length in range(1_000)]
    cut = batches(["x" * length for length in lengths])
    assert sorted(at for batch in cut for at in batch) == list(range(1_000))
    in_order = [lengths[at] for batch in cut for at in batch]
    assert in_order == sorted(lengths, reverse=True)
    assert all(len(batch) * min(lengths[batch[0]], CUT_CHARACTERS) <= BATCH_CHARACTERS for batch in cut)
    assert max(map(len, cut)) > min(map(len, cut)) == BATCH_CHARACTERS // CUT_CHARACTERS
