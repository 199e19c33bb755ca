"""Events that the schemas take and no fold can count: refused, and nothing of them stays behind."""

from pathlib import Path
from typing import Any

import orjson
import pytest

import schemas
from schemas.catalogue import EVENT_OF, NEWEST, TYPE_OF
from schemas.events import PolicyApplied, SkillsEstimated
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.topics import SLICES, VERDICTS
from schemas.wire import decode, encode
from schemas.words import MAX_MILLI_NATS, Frozen
from streams.annotators import ANNOTATORS_PROJECTION
from streams.diversity import DIVERSITY
from streams.projection import AnyProjection, Fact, facts, record_of
from streams.review import REVIEW
from tests.streams.histories import START, event_bytes, preference_skills, skills

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


def control(data: Frozen, number: int) -> bytes:
    type_ = type(data)
    about = {"id": event_id(START, "control", number), "type": TYPE_OF[type_], "source": "tests", "subject": "p"}
    return encode(EVENT_OF[type_](time=START, data=data, **about))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "estimated",
    [
        skills(1, {}).model_copy(update={"prior_milli_nats": (0, 0, 0)}),
        skills(1, {}).model_copy(update={"labels": ("good", "good")}),
        skills(1, {}).model_copy(update={"labels": ("good", "bad", "unclear"), "prior_milli_nats": (0, 0, 0)}),
        skills(1, {"anna": (1,) * 9}),
        preference_skills(1, {}).model_copy(update={"prior_milli_nats": (0, 0)}),
        preference_skills(1, {"anna": (1, 0, 0, 1)}),
    ],
)
def test_skills_that_are_no_matrix_of_their_labels_are_refused(estimated: SkillsEstimated) -> None:
    state, effects, refusal = REVIEW.apply(REVIEW.empty(), record_of(0, 0, control(estimated, 0)))
    assert refusal is not None
    assert refusal.code == "misshapen_skills"
    assert (effects, state.shared, state.touched, state.position) == ([], {}, {}, 0)


@pytest.mark.parametrize("weight", [MAX_MILLI_NATS, -MAX_MILLI_NATS])
def test_the_greatest_weights_lead_to_facts_that_can_be_read(weight: int) -> None:
    most = {"prior_milli_nats": (weight, -weight), "default_milli_nats": (weight, -weight, -weight, weight)}
    late = PolicyApplied(project="p", version=1, policy=Policy(late_votes_reopen=1), applied_by="ops", reason="trying")
    told = [control(skills(1, {}).model_copy(update=most), 0), control(late, 1)]
    told += [event_bytes(("receive", "s-1", "en/reviews/sentiment"), 2)]
    voters = enumerate(("anna", "ben", "chloe", "dev", "eve", "finn"))
    told += [event_bytes(("vote", "s-1", voter, "bad" if at > 2 else "good", 1), 3 + at) for at, voter in voters]
    state, odds = REVIEW.empty(), list[int]()
    for offset, value in enumerate(told):
        record = record_of(0, offset, value)
        state, effects, _ = REVIEW.apply(state, record)
        for fact in facts(REVIEW, record, effects):
            data: Any = decode(fact.value).data
            odds += [data.log_odds_milli_nats] if fact.topic == VERDICTS.name and hasattr(data, "log_odds_milli_nats") else []
    assert MAX_MILLI_NATS in map(abs, odds)
