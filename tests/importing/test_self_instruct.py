"""Self-Instruct: prompts by people, completions by people and models, votes by rules that say what they are."""

import pytest

from infra.importing.facts import Options
from infra.importing.rule_reviewers import rule_votes
from schemas.events import SubmissionReceived, VoteCast
from tests.importing.feeding import adapted, codes, json_lines

OPTIONS = Options("self-instruct", writer="davinci")
SEED = {
    "id": "seed_task_1",
    "name": "x",
    "instruction": "Name a colour.",
    "instances": [{"input": "", "output": "Deep red."}],
    "is_classification": False,
}
USER = {"id": "user_oriented_task_1", "instruction": "Shorten it.\n", "instances": [{"input": "A long text.", "output": "Text."}]}
PREDICTION = {"instruction": "Shorten it.", "input": " A long text.", "response": " A text.", "prompt": "", "target": ""}


def test_prompts_completions_and_their_links() -> None:
    events, problems = adapted("self-instruct", json_lines(SEED, USER, PREDICTION), OPTIONS)
    assert problems == []
    texts = [(event.subject, event.data) for event in events if isinstance(event.data, SubmissionReceived)]
    assert [(data.project, data.kind, data.writer, data.text) for _, data in texts] == [
        ("self-instruct", "prompt", "self-instruct-seed-writer", "Name a colour."),
        ("self-instruct", "completion", "self-instruct-seed-writer", "Deep red."),
        ("self-instruct-eval", "prompt", "self-instruct-user-writer", "Shorten it.\n\nA long text."),
        ("self-instruct-eval", "completion", "self-instruct-user-writer", "Text."),
        ("self-instruct-eval", "completion", "model-davinci", "A text."),
    ]
    (_, _), (_, answer), (prompt, _), (_, reference), (_, prediction) = texts
    assert answer.prompt == texts[0][0]
    assert reference.prompt == prediction.prompt == prompt


def test_every_vote_says_that_it_is_simulated() -> None:
    events, _ = adapted("self-instruct", json_lines(SEED), OPTIONS)
    votes = [event.data for event in events if isinstance(event.data, VoteCast)]
    assert [vote.voter for vote in votes] == ["rule-length", "rule-ending", "rule-repetition"] * 2
    assert all(vote.reason is not None and vote.reason.startswith("simulated: ") for vote in votes)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Deep red.", "good good good"),
        ("Red", "bad good good"),
        ("There is no end to this sentence because it was cut", "good bad good"),
        ("Does it end? It ends in “quotes and a dot.”", "good good good"),
        ("word " * 401 + ".", "bad good bad"),
        ("again and again and again and again and again and again and again and again", "good bad bad"),
        ("", "bad good good"),
    ],
)
def test_the_rules(text: str, labels: str) -> None:
    assert [vote.label for vote in rule_votes(text)] == labels.split()


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"id": "seed_task_1"},
        SEED | {"instances": []},
        SEED | {"id": "task"},
        PREDICTION | {"response": "  "},
        {"response": 1},
    ],
)
def test_a_bad_line_is_named(line: dict[str, object]) -> None:
    events, problems = adapted("self-instruct", json_lines(SEED, line, USER), OPTIONS)
    assert codes(problems) == [(2, "refused")]
    assert len({event.subject for event in events}) == 4
