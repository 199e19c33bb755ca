"""SQuALITY's passages: answers as completions, ranks as preferences by criterion."""

from typing import Any

from infra.importing.facts import Options
from schemas.events import ComparisonOffered, PreferenceCast, SubmissionReceived
from tests.importing.feeding import adapted, codes, json_lines, kinds


def review(worker: str, overall: int, correct: int, selection: int) -> dict[str, Any]:
    return {"worker_id": worker, "overall-rank": overall, "correctness-rank": correct, "selection-rank": selection}


def passage(**changes: Any) -> bytes:
    answers = {
        "bart": {"response": "A cell.", "reviews": [review("1", 3, 3, 2), review("2", 2, 2, 2)]},
        "human": {"response": "Of a hen.", "reviews": [review("1", 1, 1, 1), review("2", 2, 1, 3), review("9", 1, 1, 1)]},
    }
    return json_lines({"passage-id": "50", "questions": {"0": answers}} | changes)


def test_a_question_is_a_prompt_its_answers_and_their_pairs() -> None:
    events, problems = adapted("squality", passage(), Options("sq"))
    assert problems == []
    assert kinds(events) == ["SubmissionReceived"] * 3 + ["ComparisonOffered"] + ["PreferenceCast"] * 2
    texts = {event.subject: event.data for event in events if isinstance(event.data, SubmissionReceived)}
    assert [(name, data.writer, data.provenance) for name, data in texts.items()] == [
        ("sq-50-0", "sq-unknown-writer", "human"),
        ("sq-50-0.bart", "model-bart", "model"),
        ("sq-50-0.human", "sq-human", "human"),
    ]
    assert len({event.id for event in events}) == len(events)


def test_ranks_are_choices_and_scores_for_the_left() -> None:
    events, _ = adapted("squality", passage(), Options("sq"))
    offered = next(event.data for event in events if isinstance(event.data, ComparisonOffered))
    sign = 1 if offered.left.endswith("human") else -1
    said = [event.data for event in events if isinstance(event.data, PreferenceCast)]
    assert [(one.annotator, one.choice) for one in said] == [("sq-1", "left" if sign > 0 else "right"), ("sq-2", "tie")]
    scores = [{criterion.name: sign * criterion.score for criterion in one.criteria} for one in said]
    assert scores == [{"truthful": 2, "helpful": 1}, {"truthful": 1, "helpful": -1}]


def test_a_rank_that_cannot_be_is_refused_with_its_line() -> None:
    wrong = {"0": {"bart": {"response": "x", "reviews": [review("1", 4, 1, 1)]}}}
    assert codes(adapted("squality", passage() + passage(questions=wrong))[1]) == [(2, "refused")]
