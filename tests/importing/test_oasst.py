"""Message trees: each message a submission under the one it answers, each review a vote."""

from datetime import UTC, datetime
from typing import Any

from infra.importing.facts import Options
from schemas.events import SubmissionReceived, VoteCast
from schemas.wire import encode
from tests.importing.feeding import adapted, codes, json_lines, kinds


def message(id_: str, role: str = "prompter", *replies: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fields = {"message_id": id_, "text": f"The text of {id_}.", "role": role, "lang": "en", "review_count": 2}
    return {**fields, "review_result": True, "deleted": False, "synthetic": False, "replies": list(replies), **changes}


def tree(root: dict[str, Any]) -> bytes:
    return json_lines({"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": root})


TREE = tree(message("a", "prompter", message("b", "assistant", message("c")), message("d", "assistant", review_count=0)))


def received(events: Any) -> dict[str, SubmissionReceived]:
    return {event.subject: event.data for event in events if isinstance(event.data, SubmissionReceived)}


def test_a_tree_in_reading_order() -> None:
    events, problems = adapted("oasst", TREE, Options("oasst"))
    assert problems == []
    texts = received(events)
    assert [(name, data.kind, data.prompt) for name, data in texts.items()] == [
        ("oasst-a", "prompt", None),
        ("oasst-b", "completion", "oasst-a"),
        ("oasst-c", "prompt", "oasst-b"),
        ("oasst-d", "completion", "oasst-a"),
    ]
    assert {data.slice for data in texts.values()} == {"en/conversations/prompts", "en/conversations/completions"}
    assert kinds(events).count("VoteCast") == 6
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert len({event.id for event in events}) == len(events)


def test_reviews_are_votes_of_numbered_slots() -> None:
    events, _ = adapted("oasst", tree(message("a", review_count=3, review_result=False)), Options("oasst"))
    votes = [event.data for event in events if isinstance(event.data, VoteCast)]
    assert [(vote.voter, vote.label) for vote in votes] == [(f"oasst-reviewer-{n}", "bad") for n in (1, 2, 3)]
    events, _ = adapted("oasst", tree(message("a", review_result=None)))
    assert kinds(events) == ["SubmissionReceived"]


def test_models_and_people_are_told_apart() -> None:
    root = message("a", "prompter", message("b", "assistant", synthetic=True, model_name="chip20b"), message("c", "assistant"))
    writers = [data.writer for data in received(adapted("oasst", tree(root), Options("oasst"))[0]).values()]
    assert writers == ["oasst-unknown-prompter", "model-chip20b", "oasst-unknown-assistant"]


def test_a_deleted_message_comes_in_and_goes() -> None:
    events, problems = adapted("oasst", tree(message("a", deleted=True, text="", review_count=1)))
    assert (kinds(events), problems) == (["SubmissionReceived", "VoteCast", "SubmissionWithdrawn"], [])


def test_a_bad_message_takes_its_replies_along_and_no_others() -> None:
    bad = message("b", "assistant", message("c"), text="")
    worse = message("e", "robot")
    events, problems = adapted("oasst", tree(message("a", "prompter", bad, worse, message("d", "assistant"))) + TREE)
    assert codes(problems) == [(1, "refused"), (1, "refused")]
    assert list(received(events)) == ["p-a", "p-d", "p-b", "p-c"]


def test_other_shapes() -> None:
    when = message("a", created_date="2023-02-03T04:05:06+01:00", lang="pt-BR")
    events, problems = adapted("oasst", json_lines(when, {"message_tree_id": "t", "prompt": None}, {}))
    assert events[0].time == datetime(2023, 2, 3, 3, 5, 6, tzinfo=UTC)
    assert received(events)["p-a"].slice == "pt/conversations/prompts"
    assert codes(problems) == [(2, "refused"), (3, "refused")]


def test_a_deep_tree_and_a_second_run() -> None:
    deep = message("m0", review_count=0)
    for number in range(1, 100):
        deep = message(f"m{number}", "assistant" if number % 2 else "prompter", deep, review_count=0)
    first, second = (adapted("oasst", tree(deep)) for _ in range(2))
    assert [encode(event) for event in first[0]] == [encode(event) for event in second[0]]
    assert (len(first[0]), first[1]) == (100, [])
