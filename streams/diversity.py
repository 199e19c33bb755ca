"""diversity: texts that enter and leave a slice's approved set -> category counts and sums of embeddings.

Everything is an integer, so what leaves subtracts exactly what entered, in any order.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import numpy as np

from schemas import events as e
from schemas.topics import SLICES
from schemas.words import EMBEDDING_DIMENSIONS
from streams.indices import Integers
from streams.projection import Json, Origins, Record, Refusal, State, Step, counts_first, pack_origins, unpack_origins

_UPPER = np.triu_indices(EMBEDDING_DIMENSIONS)


class Row:
    """One slice. `moments` is the symmetric matrix of sums of x x^T; only embeddings of `model`, the
    first that was seen, are summed: vectors of two models do not compare."""

    __slots__ = ("embedded", "kinds", "model", "moments", "offset", "origins", "sums", "texts", "words", "writers")

    def __init__(self) -> None:
        self.offset = -1
        self.origins: Origins = {}
        self.texts = 0
        self.words = 0
        self.writers: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        self.model = ""
        self.embedded = 0
        self.sums: Integers = np.zeros(EMBEDDING_DIMENSIONS, dtype=np.int64)
        self.moments: Integers = np.zeros((EMBEDDING_DIMENSIONS, EMBEDDING_DIMENSIONS), dtype=np.int64)


DiversityState = State[Row, None]
DiversityStep = Step[Row, None]


def count(row: Row, data: e.SliceEntered, sign: int) -> None:
    """Add one text, or subtract exactly what it had added."""
    row.texts += sign
    row.words += sign * data.words
    _bump(row.writers, data.writer, sign)
    _bump(row.kinds, data.kind, sign)
    if not row.model:
        row.model = data.model
    if data.model == row.model:
        vector = np.frombuffer(b64decode(data.embedding), dtype=np.int8).astype(np.int64)
        row.embedded += sign
        row.sums += sign * vector
        row.moments += sign * np.outer(vector, vector)


def with_vectors(row: Row, embeddings: Iterable[str], sign: int) -> Row:
    """A copy with the embeddings of many texts added, or subtracted; all else is the row's own.

    Sums of so many products of bytes are exact in floating point, whose matrix product is a hundred times as fast."""
    vectors = np.array([np.frombuffer(b64decode(one), dtype=np.int8) for one in embeddings], dtype=np.float64)
    made = Row()
    for name in Row.__slots__:
        setattr(made, name, getattr(row, name))
    if vectors.size:
        made.embedded = row.embedded + sign * len(vectors)
        made.sums = row.sums + sign * vectors.sum(axis=0).astype(np.int64)
        made.moments = row.moments + sign * (vectors.T @ vectors).astype(np.int64)
    return made


#: The schema allows `=` in 512 characters of base64, though 384 bytes need none.
_NO_VECTOR = Refusal("no_vector", f"the embedding is not {EMBEDDING_DIMENSIONS} bytes in base64")


def _is_vector(embedding: str) -> bool:
    return "=" not in embedding


def _bump(counts: dict[str, int], name: str, sign: int) -> None:
    counts[name] = counts.get(name, 0) + sign
    if not counts[name]:
        del counts[name]


def _encoded(values: Integers) -> str:
    return b64encode(values.astype("<i8").tobytes()).decode()


def _decoded(text: str) -> Integers:
    return np.frombuffer(b64decode(text), dtype="<i8").astype(np.int64)


class Diversity:
    """The projection of `assay.slices.v1` by slice."""

    name = "diversity"
    version = 1
    source = SLICES

    def empty(self) -> DiversityState:
        return State(control=None)

    def apply(self, state: DiversityState, record: Record) -> DiversityStep:
        if record.offset <= state.position:
            return Step(state, [])
        state.position = record.offset
        data = record.event.data
        if isinstance(data, e.SliceEntered):
            if not _is_vector(data.embedding):
                return Step(state, [], _NO_VECTOR)
            self._apply_text(state, record, data)
        return Step(state, [])

    def _apply_text(self, state: DiversityState, record: Record, data: e.SliceEntered) -> None:
        key = record.event.subject
        row = state.rows.get(key)
        if row is None:
            row = state.rows[key] = Row()
        if not counts_first(row.origins, data.origin):
            return
        row.offset = record.offset
        state.touched[key] = None
        count(row, data, -1 if isinstance(data, e.SliceLeft) else 1)

    def pack(self, row: Row) -> Json:
        return {
            "offset": row.offset,
            "origins": pack_origins(row.origins),
            "texts": row.texts,
            "words": row.words,
            "writers": dict(sorted(row.writers.items())),
            "kinds": dict(sorted(row.kinds.items())),
            "model": row.model,
            "embedded": row.embedded,
            "sums": _encoded(row.sums),
            "moments": _encoded(row.moments[_UPPER]),
        }

    def unpack(self, packed: Json) -> Row:
        row = Row()
        for name in ("offset", "texts", "words", "writers", "kinds", "model", "embedded"):
            setattr(row, name, packed[name])
        row.origins = unpack_origins(packed["origins"])
        row.sums = _decoded(packed["sums"])
        row.moments[_UPPER] = _decoded(packed["moments"])
        row.moments = row.moments + np.triu(row.moments, 1).T
        return row

    def pack_control(self, control: None) -> Json:
        return {}

    def unpack_control(self, packed: Any) -> None:
        return None


DIVERSITY = Diversity()
