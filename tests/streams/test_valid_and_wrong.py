"""Events that the schemas take and no fold can count: refused, and nothing of them stays behind."""

from pathlib import Path
from typing import Any

import orjson
import pytest

import schemas
from schemas.catalogue import NEWEST
from schemas.topics import SLICES
from streams.annotators import ANNOTATORS_PROJECTION
from streams.diversity import DIVERSITY
from streams.projection import AnyProjection, Fact, facts, record_of
from streams.review import REVIEW
from tests.streams.histories import event_bytes

EXAMPLES = Path(schemas.__file__).parent / "examples"


def changed(name: str, **data: Any) -> bytes:
    raw = orjson.loads((EXAMPLES / f"{name}.v{NEWEST[name]}.json").read_bytes())
    raw["data"] = {key: value for key, value in (raw["data"] | data).items() if value is not None}
    return orjson.dumps(raw)


@pytest.mark.parametrize(
    ("projection", "value", "code"),
    [
        *(
            (ANNOTATORS_PROJECTION, changed("JudgementScored", role="voter", outcome=outcome, **rest), "incomplete_judgement")
            for outcome in ("agreed", "disagreed")
            for rest in (
                {"label": "good", "truth": None},
                {"label": None, "truth": "good"},
            )
        ),
        *((DIVERSITY, changed(name, embedding="=" * 512), "no_vector") for name in ("SliceEntered", "SliceLeft")),
        (DIVERSITY, changed("SliceEntered", embedding="A" * 510 + "=="), "no_vector"),
    ],
)
def test_what_cannot_be_counted_is_refused(projection: AnyProjection, value: bytes, code: str) -> None:
    state, effects, refusal = projection.apply(projection.empty(), record_of(0, 0, value))
    assert refusal is not None
    assert refusal.code == code
    assert (effects, state.rows, state.touched, state.position) == ([], {}, {}, 0)


def test_an_analysis_without_a_vector_reaches_diversity_and_stops_nothing() -> None:
    """Anybody may send one: `assay ingest` looks at the schema, and review hands on what was recorded."""
    analysed = orjson.loads(event_bytes(("analyse", "s-1", 1, 0), 1))
    analysed["data"]["embedding"] = "=" * 512
    told = [event_bytes(("receive", "s-1", "en/reviews/sentiment"), 0), orjson.dumps(analysed)]
    told += [event_bytes(("vote", "s-1", voter, "good", 1), 2 + number) for number, voter in enumerate(("anna", "ben", "dev"))]
    state, entered = REVIEW.empty(), list[Fact]()
    for offset, value in enumerate(told):
        record = record_of(0, offset, value)
        state, effects, _ = REVIEW.apply(state, record)
        entered += [fact for fact in facts(REVIEW, record, effects) if fact.topic == SLICES.name]
    assert len(entered) == 1
    refusal = DIVERSITY.apply(DIVERSITY.empty(), record_of(0, 0, entered[0].value)).refusal
    assert refusal is not None
    assert refusal.code == "no_vector"
