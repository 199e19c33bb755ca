"""Laws of datasets: what is in, in which split, and what the digest depends on."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dataset import (
    Dataset,
    Message,
    Submission,
    content_digest,
    dataset,
    example,
    group_counts,
    lineage_digest,
    row,
    split_counts,
)
from streams.groups import group_of, nearly_equal, normalised, shingles, split_of
from tests.jobs.conversations import approved, edit, submissions, text, votes

WORDS = ("boil", "an", "egg", "please", "how", "write", "poem", "about", "rain", "the", "law", "of", "large", "numbers")
PROMPTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join), min_size=1, max_size=12)


def asked(prompts: list[str], answers: int = 2) -> list[Submission]:
    """Approved completions of approved prompts."""
    found = []
    for at, prompt in enumerate(prompts):
        about = ("p", "prompt", "w", "en/general/chat", None, 1, True, prompt, at % 3, at)
        found.append(Submission(f"q{at}", *about))
        for answer in range(answers):
            about = ("p", "completion", "w", "en/general/chat", f"q{at}", 1, True, f"answer {answer}", at % 3, 100 + at)
            found.append(Submission(f"q{at}-a{answer}", *about))
    return found


def digest(found: Dataset) -> str:
    return content_digest(found.kind, found.examples)


# --- what is in --------------------------------------------------------------------------------


def test_a_conversation_is_whole_and_in_order() -> None:
    steps = approved(
        text("a", "What is an egg?"),
        text("b", "A cell.", prompt="a"),
        text("c", "Of whom?", prompt="b", kind="prompt"),
        text("d", "Of a hen.", prompt="c"),
    )
    found = dataset(submissions(steps), "completion")
    assert [(one.submission, [message.role for message in one.messages]) for one in found.examples] == [
        ("b", ["user", "assistant"]),
        ("d", ["user", "assistant", "user", "assistant"]),
    ]
    assert found.examples[1].messages[-1] == Message("assistant", "Of a hen.")
    assert found.left_out == {}


def test_only_the_newest_revision_counts_and_only_approved() -> None:
    steps = [*approved(text("a", "What?"), text("b", "Old.", prompt="a")), edit("b", "New.")]
    assert dataset(submissions(steps), "completion").examples == ()
    (found,) = dataset(submissions([*steps, *votes("b", revision=2)]), "completion").examples
    assert (found.revision, found.messages[-1].content) == (2, "New.")


def test_an_edit_that_the_fold_refuses_leaves_no_text() -> None:
    steps = [*approved(text("a", "What?"), text("b", "Right.", prompt="a")), edit("b", "Out of turn.", revision=7)]
    (found,) = dataset(submissions(steps), "completion").examples
    assert found.messages[-1].content == "Right."


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    steps = [
        text("open", "Nobody voted."),
        *approved(
            text("of-open", "x", prompt="open"),
            text("of-nothing", "x", prompt="gone"),
            text("alone", "x", kind="completion"),
            text("a", "What?"),
            text("b", "This.", prompt="a"),
            text("twice", "And this.", prompt="b"),
        ),
    ]
    found = dataset(submissions(steps), "completion")
    assert [one.submission for one in found.examples] == ["b"]
    assert found.left_out == {"ancestor_not_approved": 1, "not_a_conversation": 1, "prompt_unknown": 2}


def test_a_circle_is_no_conversation() -> None:
    about = ("p", "completion", "w", "en/general/chat")
    found = [Submission("a", *about, "b", 1, True, "x", 0, 0), Submission("b", *about, "a", 1, True, "x", 0, 0)]
    assert dataset(found, "completion").left_out == {"not_a_conversation": 2}


def test_projects_choose_rows_and_not_their_prompts() -> None:
    steps = approved(text("a", "What?"), text("b", "This.", prompt="a", project="other"))
    assert len(dataset(submissions(steps), "completion", ["other"]).examples) == 1
    assert dataset(submissions(steps), "completion", ["p"]).examples == ()


# --- groups and splits -------------------------------------------------------------------------


@given(PROMPTS)
def test_no_group_and_no_near_duplicate_stands_in_two_splits(prompts: list[str]) -> None:
    found = dataset(asked(prompts), "completion")
    splits: dict[str, set[str]] = {}
    for one in found.examples:
        splits.setdefault(one.group, set()).add(one.split)
    assert all(len(group) == 1 for group in splits.values())
    for one in found.examples:
        for other in found.examples:
            if nearly_equal(*(shingles(normalised(each.messages[0].content)) for each in (one, other))):
                assert one.group == other.group
    assert sum(group_counts(found.examples).values()) == len(splits)


@given(PROMPTS, st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_order(prompts: list[str], random: Random) -> None:
    assert group_of(random.sample(prompts, len(prompts))) == group_of(prompts)


def test_spelling_makes_no_other_prompt() -> None:
    groups = group_of(["How do I boil an egg?", "how do i  BOIL an egg", "How do I boil an egg today?", "Write a poem."])
    assert len(set(groups.values())) == 2


def test_some_15_percent_of_groups_are_held_out() -> None:
    groups = group_of(f"question number {number} about {number * 7919}" for number in range(2_000))
    held_out = sum(split_of(group) == "test" for group in set(groups.values()))
    assert 250 < held_out < 350


# --- digests -----------------------------------------------------------------------------------


@given(PROMPTS, st.randoms(use_true_random=False))
def test_order_of_submissions_changes_nothing(prompts: list[str], random: Random) -> None:
    found = asked(prompts)
    assert dataset(random.sample(found, len(found)), "completion") == dataset(found, "completion")


@given(st.integers(1, 7))
def test_the_number_of_partitions_changes_lineage_and_not_content(partitions: int) -> None:
    steps = approved(*(one for at in range(6) for one in (text(f"q{at}", f"Ask {at}"), text(f"a{at}", "Yes", f"q{at}"))))
    one, many = (dataset(submissions(steps, count), "completion") for count in (1, partitions))
    assert digest(one) == digest(many)
    same = lineage_digest("completion", one.examples) == lineage_digest("completion", many.examples)
    assert same == (partitions == 1)


@given(PROMPTS, st.data())
def test_leaving_one_row_out_or_changing_it_changes_the_digest(prompts: list[str], data: st.DataObject) -> None:
    found = dataset(asked(prompts), "completion")
    at = data.draw(st.integers(0, len(found.examples) - 1))
    rest = found.examples[:at] + found.examples[at + 1 :]
    other = found.examples[at]._replace(messages=(*found.examples[at].messages, Message("assistant", "more")))
    digests = {content_digest("completion", rows) for rows in (found.examples, rest, (*rest, other))}
    assert len(digests) == 3
    assert digest(found) == content_digest("completion", reversed(found.examples))


def test_the_digest_is_this_one_on_every_machine() -> None:
    found = dataset(asked(["How do I boil an egg?", "Write a poem."]), "completion")
    assert digest(found) == "b262907bf7da56c2af84abdaf94ae6c3365ec594725567e6635d8befad34fa49"
    assert split_counts(found.examples) == {"train": 4, "test": 0}


@pytest.mark.parametrize(
    ("kind", "layout"), [("completion", "messages"), ("completion", "prompt_completion"), ("prompt", "prompt_only")]
)
def test_a_row_holds_all_of_its_example(kind: str, layout: str) -> None:
    for one in dataset(asked(["How?", "Why?"]), kind).examples:  # type: ignore[arg-type]
        assert example(row(one, layout), layout, one.split) == one  # type: ignore[arg-type]
