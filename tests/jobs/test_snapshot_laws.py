"""Laws of snapshots over histories: what a digest may depend on, how splits hold, and that reasons are true."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.datasets.snapshots import Built, Request, built_from, policy_digest
from schemas.events import PreferenceCast, SubmissionRuled, SubmissionWithdrawn, VoteCast, VoteRetracted
from schemas.manifest import SplitRule
from streams.dataset import Dataset, Harvest, Wanted, chosen, content_digest
from streams.differences import Difference, Step, WatchedHarvest, World, contents, differences, world
from streams.groups import assigned
from streams.projection import NOWHERE
from streams.weighing import InForce
from tests.jobs.conversations import EVERYWHERE, approved, edit, fed, records, submissions, text, votes
from tests.jobs.histories import POLICIES, Steps, beginning, later, policy

FEW = settings(max_examples=25, deadline=None)
QUICK = settings(deadline=None)
KINDS = st.sampled_from(["completion", "prompt", "preference"])
RULES = st.builds(SplitRule, test_percent=st.integers(1, 50), by=st.sampled_from(["prompt", "writer"]))


def built(harvests: Sequence[Harvest], request: Request) -> Built:
    return built_from(harvests, {}, request)


def digest(found: Dataset) -> str:
    return content_digest(found.kind, found.examples)


# --- what a digest depends on ------------------------------------------------------------------


@FEW
@given(later(), st.integers(2, 5), KINDS, RULES)
def test_the_number_of_partitions_changes_no_digest_and_no_figure(
    steps: Steps, partitions: int, kind: str, rule: SplitRule
) -> None:
    steps = [*beginning(), *steps]
    request = Request(kind=kind, split=rule)  # type: ignore[arg-type]
    one, many = (built(fed(steps, count), request) for count in (1, partitions))
    assert digest(one.dataset) == digest(many.dataset)
    assert one._replace(dataset=None) == many._replace(dataset=None)  # type: ignore[arg-type]


def in_turns(steps: Steps, order: Sequence[int]) -> Steps:
    """The same steps with those of each subject in their order, and subjects in turns; control records keep their places."""
    parts, found = list[Steps](), Steps()
    for step in steps:
        if step[0] == EVERYWHERE or not parts:
            parts.append([])
        parts[-1].append(step)
    for part in parts:
        by_subject = dict[str, Steps]()
        for step in part:
            by_subject.setdefault(step[0], []).append(step)
        subjects = sorted(by_subject, key=lambda subject: (subject != EVERYWHERE, order[hash_of(subject) % len(order)]))
        found += [step for subject in subjects for step in by_subject[subject]]
    return found


def hash_of(subject: str) -> int:
    return sum(map(ord, subject))


@FEW
@given(later(), st.permutations(range(7)), KINDS)
def test_the_order_of_submissions_changes_no_digest(steps: Steps, order: list[int], kind: str) -> None:
    steps = [*beginning(), *steps]
    request = Request(kind=kind)  # type: ignore[arg-type]
    one, other = (built(fed(told), request).dataset for told in (steps, in_turns(steps, order)))
    assert digest(one) == digest(other)


@FEW
@given(later(), st.integers(0, len(POLICIES) - 1), st.sampled_from(["p", "*"]), KINDS)
def test_a_given_policy_is_the_log_with_that_policy_from_its_beginning(
    steps: Steps, number: int, project: str, kind: str
) -> None:
    """And whatever was recorded for the project counts for nothing."""
    steps = [*beginning(), *steps]
    request = Request(kind=kind)  # type: ignore[arg-type]
    given_one = built(fed(steps, 2, {project: InForce(1, POLICIES[number], NOWHERE)}), request)
    recorded = [policy(number, 1), *(step for step in steps if step[0] != EVERYWHERE)]
    assert digest(given_one.dataset) == digest(built(fed(recorded, 3), request).dataset)
    if given_one.dataset.examples:
        assert given_one.policy_digest == policy_digest({"p": POLICIES[number]})


# --- splits ------------------------------------------------------------------------------------

GROUPS = st.sampled_from("0123456789abcdef").map(lambda one: one * 64)
ROWS = st.lists(st.tuples(GROUPS, st.lists(st.sampled_from("wxyz"), min_size=1, max_size=2)), min_size=1, max_size=30)


@QUICK
@given(ROWS, RULES)
def test_no_group_and_where_asked_no_writer_stands_in_two_splits(rows: list[tuple[str, list[str]]], rule: SplitRule) -> None:
    places = assigned(rows, rule)
    splits: dict[str, set[str]] = {}
    for (prompts, writers), (group, split) in zip(rows, places, strict=True):
        for one in (group, prompts, *(writers if rule.by == "writer" else ())):
            splits.setdefault(one, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


@QUICK
@given(ROWS, st.randoms(use_true_random=False), RULES)
def test_groups_with_writers_do_not_depend_on_order(rows: list[tuple[str, list[str]]], random: object, rule: SplitRule) -> None:
    there = [(group, tuple(writers)) for group, writers in rows]
    mixed = random.sample(there, len(there))  # type: ignore[attr-defined]
    assert dict(zip(there, assigned(there, rule), strict=True)) == dict(zip(mixed, assigned(mixed, rule), strict=True))


@QUICK
@given(ROWS)
def test_more_than_half_of_all_rows_are_never_held_out(rows: list[tuple[str, list[str]]]) -> None:
    places = assigned(rows, SplitRule(test_percent=50, by="writer"))
    for group, split in places:
        assert split == "train" or 2 * [one for one, _ in places].count(group) <= len(rows)


@QUICK
@given(st.integers(1, 49), ROWS)
def test_a_smaller_share_holds_out_fewer_of_the_same_groups(percent: int, rows: list[tuple[str, list[str]]]) -> None:
    few, more = (assigned(rows, SplitRule(test_percent=one)) for one in (percent, percent + 1))
    assert all(after[1] == "test" for before, after in zip(few, more, strict=True) if before[1] == "test")


@FEW
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8, unique=True), st.integers(1, 7))
def test_a_split_is_stable_when_other_prompts_are_added(numbers: list[int], cut: int) -> None:
    def rows(some: Iterable[int]) -> Mapping[str, tuple[str, str]]:
        asked = ((text(f"q{at}", f"Number {at} of {at * 7919}?"), text(f"a{at}", "x", f"q{at}")) for at in some)
        found = chosen(submissions(approved(*(one for pair in asked for one in pair))), Wanted())
        return {one.id: (one.group, one.split) for one in found.examples}

    before, after = rows(numbers[:cut]), rows(numbers)
    assert before.items() <= after.items()


# --- reasons -----------------------------------------------------------------------------------


def watched(steps: Steps, given_one: Mapping[str, InForce] | None = None) -> WatchedHarvest:
    harvest = WatchedHarvest(0, given_one)
    for record in records(steps):
        harvest.feed(record)
    return harvest


def on_the_way(early: Steps, late: Steps, kind: str) -> tuple[list[Difference], World, World]:
    request = Request(kind=kind)  # type: ignore[arg-type]
    harvests = [watched(early), watched([*early, *late])]
    before, after = (contents(built([harvest], request).dataset) for harvest in harvests)
    worlds = [world([harvest]) for harvest in harvests]
    return list(differences([Step("log", before, after)], *worlds)), worlds[0], worlds[1]


@FEW
@given(later(), later(100), KINDS)
def test_every_reason_is_found_again_in_the_log_of_its_subject_alone(early: Steps, late: Steps, kind: str) -> None:
    """And of the control records: before the record that is named it stands otherwise, from there on as in the end."""
    early = [*beginning(), *early]
    found, _, _ = on_the_way(early, late, kind)
    log = records([*early, *late])
    for one in found:
        assert one.reason in ("edited", "withdrawn", "votes", "ruled", "policy", "regrouped", "received")
        if one.place is None:
            assert one.reason == "regrouped"
            continue
        mine = [record for record in log if record.event.subject in (one.subject, EVERYWHERE)]
        harvest, stood = WatchedHarvest(0), dict[int, object]()
        for record in mine:
            harvest.feed(record)
            stood[record.offset] = harvest.stands(one.subject)
        place = [record.offset for record in mine].index(one.place.offset)
        offsets = [record.offset for record in mine]
        assert one.place.offset >= len(records(early))
        assert stood[offsets[place]] != (stood[offsets[place - 1]] if place else None)
        assert mine[place].event.type == one.place.event
        if one.reason != "edited":
            assert stood[offsets[place]] == stood[offsets[-1]]


@FEW
@given(later(), later(100), KINDS)
def test_a_diff_turns_a_into_b_and_names_nothing_else(early: Steps, late: Steps, kind: str) -> None:
    early = [*beginning(), *early]
    request = Request(kind=kind)  # type: ignore[arg-type]
    a, b = (contents(built([watched(steps)], request).dataset) for steps in (early, [*early, *late]))
    found, _, _ = on_the_way(early, late, kind)
    changes = {one.row: one.change for one in found}
    added, removed = dict.fromkeys(b.keys() - a.keys(), "added"), dict.fromkeys(a.keys() - b.keys(), "removed")
    changed = {row: "changed" for row in a.keys() & b.keys() if a[row] != b[row]}
    assert changes == added | removed | changed


def one_reason(late: Steps, row: str = "a2", kind: str = "completion") -> tuple[str, str, str]:
    found, _, _ = on_the_way(beginning(), late, kind)
    (one,) = [one for one in found if one.row == row]
    return one.change, one.reason, one.subject


def against(subject: str, revision: int = 1) -> Steps:
    return [(subject, VoteCast(revision=revision, voter=voter, label="bad")) for voter in ("v-1", "v-2")]


RULED = SubmissionRuled(revision=1, verdict="rejected", ruled_by="chief", reason="so")
NEW = approved(text("new", "Clouds, again.", "q2", writer="eve"))


@pytest.mark.parametrize(
    ("late", "row", "expected"),
    [
        ([policy(3, 1), *against("a2")], "a2", ("removed", "votes", "a2")),
        ([policy(3, 1), *against("q2")], "a2", ("removed", "votes", "q2")),
        ([edit("a2", "Better.")], "a2", ("removed", "edited", "a2")),
        ([edit("a2", "Better."), *votes("a2", revision=2)], "a2", ("changed", "edited", "a2")),
        ([edit("q2", "Why?"), *votes("q2", revision=2)], "a2", ("changed", "edited", "q2")),
        ([("q2", SubmissionWithdrawn(withdrawn_by="asker"))], "a2", ("removed", "withdrawn", "q2")),
        ([("a2", RULED)], "a2", ("removed", "ruled", "a2")),
        (NEW, "new", ("added", "received", "new")),
    ],
)
def test_reasons_from_the_log(late: Steps, row: str, expected: tuple[str, str, str]) -> None:
    assert one_reason(late, row) == expected


def test_a_policy_turns_what_waited() -> None:
    """Two votes were not enough, until a later policy takes them."""
    early = [policy(1, 1), *beginning()]
    found, _, _ = on_the_way(early, [policy(0, 2)], "prompt")
    assert {(one.change, one.reason) for one in found} == {("added", "policy")}
    assert len(found) == 4


def test_choices_turn_a_pair() -> None:
    turned = [("c0", PreferenceCast(annotator=f"v-{at}", choice="right")) for at in (0, 1)]
    assert one_reason([policy(3, 1), *turned], "c0", "preference") == ("changed", "choices", "c0")


@FEW
@given(later(), later(100), st.integers(0, len(POLICIES) - 1), KINDS, RULES)
def test_a_reason_is_the_last_step_that_changed_the_row(
    early: Steps, late: Steps, number: int, kind: str, rule: SplitRule
) -> None:
    """From a snapshot of the recorded policies to a later one of a given policy and another split, each alone made again."""
    early = [*beginning(), *early]
    whole = [*early, *late]
    plain, other = Request(kind=kind), Request(kind=kind, split=rule)  # type: ignore[arg-type]
    given_one = {"*": InForce(0, POLICIES[number], NOWHERE)}
    made = [watched(early), watched(whole), watched(whole, given_one)]
    rows = [contents(built([harvest], plain).dataset) for harvest in made] + [contents(built([made[2]], other).dataset)]
    steps = [Step("log", *rows[:2]), Step("policy", *rows[1:3]), Step("asked", *rows[2:])]
    for one in differences(steps, world([made[0]]), world([made[1]])):
        changed = [before.get(one.row) != after.get(one.row) for before, after in pairwise(rows)]
        last = max(at for at, differs in enumerate(changed) if differs)
        expected: tuple[set[str], ...] = (
            {"edited", "withdrawn", "votes", "ruled", "policy", "regrouped", "choices"},
            {"policy", "regrouped"},
            {"asked"},
        )
        assert one.reason in expected[last]
        assert one.place is None or last == 0


def test_the_last_of_two_steps_is_the_reason() -> None:
    """An answer to question 0 is edited in the log, and afterwards another split moves it."""
    harvests = [watched(beginning()), watched([*beginning(), edit("a0", "Better."), *votes("a0", revision=2)])]
    plain, half = Request(), Request(split=SplitRule(test_percent=50))
    rows = [
        contents(built([harvest], request).dataset)
        for harvest, request in zip([*harvests, harvests[1]], (plain, plain, half), strict=True)
    ]
    steps = [Step("log", *rows[:2]), Step("asked", *rows[1:])]
    found = {one.row: one for one in differences(steps, world([harvests[0]]), world([harvests[1]]))}
    assert (found["a0"].reason, found["a0"].fields) == ("asked", ("revision", "split", "messages"))


def test_the_record_that_is_named_is_the_one_that_turned_it() -> None:
    """A retraction takes the approval away; the votes that come behind it only make a rejection of what was out already."""
    retracted = [("a2", VoteRetracted(revision=1, voter=voter)) for voter in ("v-1", "v-2")]
    late = [*retracted, *against("a2")]
    found, _, _ = on_the_way(beginning(), late, "completion")
    (one,) = found
    assert one.place is not None
    assert (one.reason, one.place.event, one.place.offset) == ("votes", "assay.VoteRetracted.v1", len(beginning()))
