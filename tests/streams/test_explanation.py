"""Every decision can be made again from its explanation alone, and the small changes that it names do change it."""

import orjson
from hypothesis import given, settings

from infra.explaining import Account
from streams.explanation import redecide, what_if
from streams.projection import Json, record_of
from tests.streams.histories import HISTORIES, SUBJECTS, Action, event_bytes, records


def told(history: list[Action], subject: str = "s-1") -> Json:
    account = Account(subject, 0)
    for record in records(history):
        account.feed(record)
    found = account.told()
    # As it goes out, and comes back to whoever checks it.
    return {} if found is None else orjson.loads(orjson.dumps(found))


@settings(max_examples=60)
@given(history=HISTORIES)
def test_an_explanation_decides_again_as_it_was_decided(history: list[Action]) -> None:
    for subject in SUBJECTS:
        found = told(history, subject)
        if found:
            assert found["reproduced"], found
            shown = found["now"] if found["decision"] is None else found["decision"]["account"]
            assert redecide(shown)._asdict() == shown["decision"]
            assert all(one["verdict"] != shown["decision"]["verdict"] for one in what_if(shown))


OPEN: list[Action] = [("policy", 1, 2, 900, 0), ("receive", "s-1", "en/reviews/sentiment")]


def votes(*labels: str) -> list[Action]:
    return [("vote", "s-1", voter, label, 1) for voter, label in zip(("anna", "ben", "chloe", "dev"), labels, strict=False)]


def test_a_forged_explanation_is_seen() -> None:
    found = told([*OPEN, *votes("good", "good")])
    said = found["decision"]["account"]
    said["votes"][0]["label"] = said["votes"][1]["label"] = "bad"
    for vote in said["votes"]:
        vote["milli_nats"] = {"good": 0, "bad": 1_386}
    assert redecide(said)._asdict() != said["decision"]


def test_it_says_what_was_decided_on_what_and_what_would_have_changed_it() -> None:
    found = told([*OPEN, *votes("good", "bad", "good", "good")])
    assert found["state"] == "approved"
    assert found["words"] == "Approved under policy 1 at offset 5: 3 of 4 say good, probability 0.941 >= 0.900."
    assert [one["offset"] for one in found["decision"]["account"]["votes"]] == [2, 3, 4, 5]
    changes = {one["change"]: one["verdict"] for one in found["what_if"]}
    assert changes["without the vote of anna for good"] is None
    assert changes["with approve_confidence_permille 942 instead of 900"] is None
    assert "without the vote of ben for bad" not in changes
    earlier = found["decision"]["under_the_policy_before"]
    assert (earlier["policy_version"], earlier["verdict"]) == (0, "approved")


def test_waiting_says_how_many_are_missing_and_how_sure_it_is() -> None:
    assert told(OPEN)["words"] == "Waiting: 0 of at least 2 votes (policy 1)."
    unsure = told([*OPEN, *votes("good", "bad")])
    assert unsure["words"] == "Waiting for one more vote: 1 of 2 say good, probability 0.500 < 0.900 (policy 1)."
    assert unsure["decision"] is None


def test_what_was_withdrawn_is_decided_by_nobody() -> None:
    found = told([*OPEN, *votes("good"), ("withdraw", "s-1"), ("vote", "s-1", "ben", "good", 1)])
    assert (found["state"], found["words"]) == ("withdrawn", "Withdrawn: no votes decide it any more.")
    assert found["reproduced"]


def test_votes_that_do_not_count_are_shown_with_the_reason() -> None:
    found = told(
        [*OPEN, ("vote", "s-1", "writer", "good", 1), *votes("good"), ("edit", "s-1", 2), ("vote", "s-1", "ben", "bad", 2)]
    )
    assert [(one["voter"], one["why"]) for one in found["now"]["not_counted"]] == [
        ("writer", "by the writer"),
        ("anna", "on revision 1"),
    ]
    assert [one["voter"] for one in found["now"]["votes"]] == ["ben"]


def test_nothing_tells_that_the_right_answer_is_known() -> None:
    history = [*OPEN, *votes("good", "good")]
    with_answer = [*history[:2], ("golden", "s-1", 1, "bad"), *history[2:]]
    bare, golden = told(history), told(with_answer)
    for one in (bare, golden):
        for entry in (*one["history"], *one["now"]["votes"], *one["decision"]["account"]["votes"], one["decision"]):
            entry.pop("offset"), entry.pop("time", None)
        one["words"] = one["words"].split(" at offset")[0]
        one["history"] = [entry["event"] for entry in one["history"]]
    assert golden == bare


def test_a_later_state_of_the_log_is_left_out() -> None:
    whole, early = Account("s-1", 0), Account("s-1", 0)
    history = [*OPEN, *votes("good", "good")]
    for number, action in enumerate(history):
        record = record_of(0, number, event_bytes(action, number))
        whole.feed(record)
        if number < len(history) - 1:
            early.feed(record)
    found = (whole.told() or {})["state"], (early.told() or {})["state"]
    assert found == ("approved", "waiting")
