"""Crowd votes: good lines become events with ids that stay, bad ones are named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.importing.crowd_csv import right_answers
from infra.importing.facts import Options
from schemas.events import GoldenAnswerSet, SubmissionReceived, VoteCast
from schemas.wire import encode
from tests.importing.feeding import adapted, codes, kinds, lines

VOTES = "seq,task,worker,label\n1,t1,w1,1\n2,t2,w1,0\n3,t1,w2,0\n"


def test_each_vote_and_each_text_once() -> None:
    events, problems = adapted("crowd-csv", VOTES)
    assert problems == []
    assert kinds(events) == ["SubmissionReceived", "VoteCast", "SubmissionReceived", "VoteCast", "VoteCast"]
    assert [event.subject for event in events] == ["p-t1", "p-t1", "p-t2", "p-t2", "p-t1"]
    votes = [event.data for event in events if isinstance(event.data, VoteCast)]
    assert [(vote.voter, vote.label) for vote in votes] == [("w1", "good"), ("w1", "bad"), ("w2", "bad")]
    text = next(event.data.text for event in events if isinstance(event.data, SubmissionReceived))
    assert text == "[p] This set publishes votes on its texts, not the texts."


def test_the_clock_moves_by_seq() -> None:
    start, minute = datetime(2026, 5, 1, tzinfo=UTC), timedelta(minutes=1)
    events, _ = adapted("crowd-csv", "seq,task,worker,label\n7,t1,w1,1\n2,t1,w2,1\n", Options("p", start=start))
    assert [(event.time - start) / minute for event in events] == [7, 7.5, 2.5]


def test_a_second_run_makes_the_same_bytes_and_a_longer_file_adds_to_them() -> None:
    first, second = ([encode(event) for event in adapted("crowd-csv", content)[0]] for content in (VOTES, VOTES + "4,t3,w1,1\n"))
    assert first == second[: len(first)]
    assert len({event.id for event in adapted("crowd-csv", VOTES)[0]}) == len(first)


def test_a_repeated_vote_is_a_changed_vote() -> None:
    events, problems = adapted("crowd-csv", "seq,task,worker,label\n1,t,w,1\n2,t,w,0\n3,t,w,1\n")
    votes = [event for event in events if isinstance(event.data, VoteCast)]
    assert (len(votes), len({vote.id for vote in votes}), problems) == (3, 3, [])


def test_gold_comes_with_the_text() -> None:
    options = Options("p", gold=lines("task,gold\nt1,1\nt2,0\nt9,1\n"))
    events, problems = adapted("crowd-csv", VOTES, options)
    golden: list[Any] = [event.data for event in events if type(event.data).__name__ == "GoldenAnswerSet"]
    assert [(one.label, one.set_by) for one in golden] == [("good", "p-gold"), ("bad", "p-gold")]
    assert problems == []
    assert right_answers(lines("task,gold\nt1,1\nt2,0\n"), Options("p")) == {"p-t1": "good", "p-t2": "bad"}
    with pytest.raises(ValueError, match="line 2"):
        right_answers(lines("task,gold\nt1,7\n"), Options("p"))


def test_bad_gold_is_named_by_its_file() -> None:
    _, problems = adapted("crowd-csv", VOTES, Options("p", gold=lines("task,gold\nt1,7\nt2\n")))
    assert [(one.file, one.line, one.code) for one in problems] == [("gold", 2, "unknown_label"), ("gold", 3, "wrong_columns")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("2,t1", "wrong_columns"),
        ("2,t1,w1,1,9,9", "wrong_columns"),
        ("x,t1,w1,1,", "bad_seq"),
        ("-1,t1,w1,1,", "bad_seq"),
        ("²,t1,w1,1,", "bad_seq"),
        ("99999999999,t1,w1,1,", "bad_seq"),
        (",t1,w1,1,", "bad_seq"),
        ("1,t1,w2,1,", "seq_twice"),
        ("2,,w1,1,", "empty_cell"),
        ("2,t1, ,1,", "empty_cell"),
        ("2,t1,w1,2,", "unknown_label"),
        ("2,t1,w1,,", "unknown_label"),
        ("2,t1,w1,1,soon", "bad_seconds"),
        ("2,t1,w1,1,inf", "bad_seconds"),
        ("2,t1,w1,1,nan", "bad_seconds"),
        ("2,t1,w1,1,-1", "refused"),
        ("2,t1,w1,1,86400.1", "refused"),
        ('2,"t1,w1,1,', "bad_csv"),
        ("2," + "t" * 200_000 + ",w1,1,", "bad_csv"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_in(line: str, code: str) -> None:
    events, problems = adapted("crowd-csv", f"seq,task,worker,label,seconds\n1,t1,w1,1,2.5\n{line}\n3,t1,w3,0,\n")
    assert codes(problems) == [(3, code)]
    assert problems[0].hint
    assert [(e.data.voter, e.data.duration_milliseconds) for e in events if isinstance(e.data, VoteCast)] == [
        ("w1", 2500),
        ("w3", None),
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "empty_file"),
        ("seq,task,worker\n1,t,w\n", "missing_columns"),
        ("1,t1,w1,1\n2,t2,w1,0\n", "missing_columns"),
    ],
)
def test_a_file_without_its_columns(content: str, code: str) -> None:
    assert (adapted("crowd-csv", content)[0], codes(adapted("crowd-csv", content)[1])) == ([], [(1, code)])


def test_a_header_alone_is_no_problem() -> None:
    assert adapted("crowd-csv", "seq,task,worker,label\n") == ([], [])


def test_what_spreadsheets_write_is_read() -> None:
    content = b'\xef\xbb\xbfLabel,"SEQ", Task ,worker,note\r\n1,1,"t,1 ""a""",w1,"x, y"\r\n0,2,t2,w2,\r\n'
    events, problems = adapted("crowd-csv", content)
    assert (kinds(events).count("VoteCast"), problems) == (2, [])


def test_odd_names_become_ids_that_differ() -> None:
    names = ["http://a.b/c?d", "http://a.b/c/d", "ü" * 300, "ö" * 300, "a b", "a-b", "-", "\u2028"]
    votes = "".join(f"{n},{name},{name},1\n" for n, name in enumerate(names))
    events, problems = adapted("crowd-csv", "seq,task,worker,label\n" + votes)
    assert codes(problems) == [(9, "empty_cell")]
    received = [event for event in events if isinstance(event.data, SubmissionReceived)]
    voters = {event.data.voter for event in events if isinstance(event.data, VoteCast)}
    assert len({event.subject for event in received}) == len(voters) == len(names) - 1


def test_labels_are_as_told() -> None:
    options = replace(Options("p"), labels={"yes": "good", "no": "bad", "1": "so-so"}, gold=lines("task,gold\nt,1\n"))
    events, problems = adapted("crowd-csv", "seq,task,worker,label\n1,t,w,yes\n2,t,v,no\n3,t,u,NULL\n4,t,x,1\n", options)
    assert [event.data.label for event in events if isinstance(event.data, VoteCast)] == ["good", "bad", "so-so"]
    assert [event.data.label for event in events if isinstance(event.data, GoldenAnswerSet)] == ["so-so"]
    assert codes(problems) == [(4, "unknown_label")]
