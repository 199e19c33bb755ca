"""Pairs for training: what is in, what is left out and why, and that rows give the pairs again."""

import pytest

from schemas.words import Frozen
from streams.dataset import Dataset, Message, content_digest, lineage_digest
from streams.pairs import Pair, pair, pairs
from tests.jobs.conversations import approved, compared, edit, fed, text, votes

Steps = list[tuple[str, Frozen]]
TEXTS = approved(text("q", "What is an egg?"), text("a", "A cell.", prompt="q"), text("b", "Food.", prompt="q", writer="w-2"))


def found(steps: Steps, *projects: str, partitions: int = 1) -> Dataset:
    harvests = fed(steps, partitions)
    submissions = [one for harvest in harvests for one in harvest.submissions()]
    return pairs(submissions, [one for harvest in harvests for one in harvest.comparisons()], projects)


def only(steps: Steps) -> Pair:
    (one,) = found(steps).examples
    assert isinstance(one, Pair)
    return one


def test_the_preferred_completion_is_chosen_whichever_side_it_stood_on() -> None:
    left, right = (
        only([*TEXTS, *compared("c", "q", *sides)]) for sides in (("a", "b", "left", "left"), ("b", "a", "right", "right"))
    )
    assert left.prompt == right.prompt == (Message("user", "What is an egg?"),)
    assert left.chosen == right.chosen == (Message("assistant", "A cell."),)
    assert (left.rejected_id, left.rejected_writer, left.rejected_revision) == ("b", "w-2", 1)
    assert (left.settled_by, left.confidence_permille) == ("overall", 969)
    assert left.content() == right.content()


def test_the_digest_does_not_depend_on_the_log() -> None:
    one, other = (found([*TEXTS, *compared("c", "q", "a", "b", "left", "left")], partitions=count) for count in (1, 3))
    assert content_digest("preference", one.examples) == content_digest("preference", other.examples)
    assert lineage_digest("preference", one.examples) != lineage_digest("preference", other.examples)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([*TEXTS, *compared("c", "q", "a", "b", "left")], "not_preferred"),
        ([*TEXTS, *compared("c", "q", "a", "b", "tie", "tie")], "not_preferred"),
        ([*TEXTS, *compared("c", "q", "a", "gone", "left", "left")], "completion_not_approved"),
        ([*TEXTS, text("d", "x", prompt="q"), *compared("c", "q", "a", "d", "left", "left")], "completion_not_approved"),
        ([*TEXTS, *approved(text("q2", "Else?")), *compared("c", "q2", "a", "b", "left", "left")], "another_prompt"),
        (
            [*TEXTS, *compared("c", "q", "a", "b", "left", "left"), edit("b", "Edited."), *votes("b", revision=2)],
            "edited_since",
        ),
        (
            [
                text("open", "Nobody voted."),
                *approved(text("x", "x", prompt="open"), text("y", "y", prompt="open")),
                *compared("c", "open", "x", "y", "left", "left"),
            ],
            "ancestor_not_approved",
        ),
    ],
)
def test_what_is_left_out_is_counted_with_its_reason(steps: Steps, reason: str) -> None:
    assert found(steps) == Dataset("preference", (), {reason: 1})


def test_an_edit_before_the_comparison_is_what_was_compared() -> None:
    steps = [*TEXTS, edit("b", "Edited."), *votes("b", revision=2), *compared("c", "q", "a", "b", "right", "right")]
    assert (only(steps).chosen, only(steps).chosen_revision) == ((Message("assistant", "Edited."),), 2)


def test_projects_choose() -> None:
    steps = [*TEXTS, *compared("c", "q", "a", "b", "left", "left", project="other")]
    assert len(found(steps, "other").examples) == 1
    assert found(steps, "p").examples == ()


def test_rows_give_the_pair_again_and_its_completions_one_by_one() -> None:
    one = only([*TEXTS, *compared("c", "q", "a", "b", "right", "right")])
    (row,) = one.rows("preference")
    assert pair(row, one.split) == one
    good, bad = one.rows("unpaired")
    assert [(each["submission"], each["label"], each["completion"][0]["content"]) for each in (good, bad)] == [
        ("b", True, "Food."),
        ("a", False, "A cell."),
    ]
    assert good["prompt"] == bad["prompt"] == row["prompt"]
