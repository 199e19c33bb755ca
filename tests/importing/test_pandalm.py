"""PandaLM's list: texts once, a comparison an item, a choice an annotator."""

from typing import Any

import orjson

from infra.importing.facts import Options
from schemas.events import ComparisonOffered, PreferenceCast, SubmissionReceived
from tests.importing.feeding import adapted, codes, kinds


def item(number: int, **changes: Any) -> dict[str, Any]:
    told = {"idx": number, "cmp_key": "bloom-7b_llama-7b", "instruction": "Say hello.", "input": "", "motivation_app": "x"}
    return {**told, "response1": "Hello.", "response2": "Hi.", "annotator1": 1, "annotator2": 2, "annotator3": 0, **changes}


def of(*items: Any) -> bytes:
    return orjson.dumps(list(items), option=orjson.OPT_INDENT_2)


def test_an_item_is_three_texts_a_comparison_and_its_choices() -> None:
    events, problems = adapted("pandalm", of(item(7)), Options("panda"))
    assert problems == []
    assert kinds(events) == ["SubmissionReceived"] * 3 + ["ComparisonOffered"] + ["PreferenceCast"] * 3
    prompt, left, right = (event for event in events[:3])
    assert isinstance(left.data, SubmissionReceived)
    assert (left.data.writer, left.data.prompt, left.data.provenance) == ("model-bloom-7b", prompt.subject, "model")
    offered = events[3]
    assert isinstance(offered.data, ComparisonOffered)
    assert (offered.subject, offered.data.left, offered.data.right) == ("panda-comparison-7", left.subject, right.subject)
    choices = [(event.data.annotator, event.data.choice) for event in events if isinstance(event.data, PreferenceCast)]
    assert choices == [("panda-annotator-1", "left"), ("panda-annotator-2", "right"), ("panda-annotator-3", "tie")]
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert len({event.id for event in events}) == len(events)


def test_texts_come_in_once_and_another_answer_of_one_model_is_another_text() -> None:
    events, _ = adapted("pandalm", of(item(0), item(1), item(2, response1="Howdy.")))
    assert kinds(events).count("SubmissionReceived") == 4
    assert kinds(events).count("ComparisonOffered") == 3


def test_empty_responses_and_those_that_json_reads_as_true_are_texts() -> None:
    events, problems = adapted("pandalm", of(item(0, response1=" ", response2=True)))
    assert problems == []
    texts = [event.data.text for event in events if isinstance(event.data, SubmissionReceived)]
    assert texts == ["Say hello.", "[An empty response.]", "True"]


def test_bad_items_are_named_and_the_others_come_in() -> None:
    events, problems = adapted("pandalm", of(item(0, annotator2=3), {"idx": 1}, item(2), item(3, cmp_key="one")))
    assert codes(problems) == [(1, "unknown_choice"), (2, "refused"), (4, "refused")]
    assert kinds(events).count("ComparisonOffered") == 1


def test_what_is_no_list_is_said() -> None:
    assert codes(adapted("pandalm", b'{"a": 1}\n')[1]) == [(1, "not_a_list")]
    assert codes(adapted("pandalm", b"[\n1,\n")[1]) == [(2, "not_json")]
    assert codes(adapted("pandalm", b"[1]")[1]) == [(1, "refused")]
