"""Whom a proposal flags or releases: counts as they would be, looked at by the rules as they would be."""

from collections.abc import Sequence
from typing import Any

from hypothesis import assume, given, settings

from schemas.events import JudgementScored
from schemas.policy import Policy
from schemas.topics import JUDGEMENTS
from schemas.words import Origin
from streams.annotators import ANNOTATORS_PROJECTION, Row
from streams.consequences import base, compared
from streams.flagging import changes
from streams.projection import Effect, Record, record_of, replay
from streams.review import REVIEW
from streams.rules import DEFAULT_RULES, RULES, look, rules_of
from streams.tallies import Tally, add
from streams.whatif import Proposal
from tests.streams.histories import HISTORIES, Action, effects_of, records
from tests.streams.test_consequences import said_by
from tests.streams.test_whatif import POLICIES, worlds

#: Rules that hold soon, so that short histories flag people.
EAGER = {
    "rejection_limit_permille": 1,
    "rejection_min_decided": 3,
    "disagreement_limit_permille": 1,
    "disagreement_min_scored": 5,
}


def people(log: Sequence[Record]) -> dict[str, Row]:
    """What the judgements of this log say of everybody, under default rules throughout."""
    facts = [fact for fact in effects_of(REVIEW, log) if fact.topic == JUDGEMENTS.name]
    return replay(ANNOTATORS_PROJECTION, [record_of(0, at, fact.value) for at, fact in enumerate(facts)]).rows


@settings(max_examples=60)
@given(history=HISTORIES, policy=POLICIES)
def test_counts_are_those_of_the_other_world(history: list[Action], policy: Policy) -> None:
    log, proposal = records(history), Proposal("p", 5, policy.model_copy(update=EAGER))
    made = worlds(log, [proposal])
    variant = made.variants[0]
    assume(not variant.starved and not variant.turned)
    differing = compared(made, variant, base(made)).judgements
    then = said_by(log, proposal)
    for change in changes(people(log), DEFAULT_RULES, proposal.policy, "p", differing):
        if change.rule in ("rejection", "disagreement") and change.task == "review":
            names = ("rejected", "approved") if change.rule == "rejection" else ("disagreed", "agreed")
            counted = [_count(then, change.annotator, name) for name in names]
            assert (change.against, change.total) == (counted[0], sum(counted))


def _count(sums: Any, annotator: str, outcome: str) -> int:
    return sum(count for (person, data), count in sums.items() if person == annotator and f'"{outcome}"'.encode() in data)


def judged(outcome: str, number: int, change: int = 1) -> dict[str, Any]:
    about = {"project": "p", "role": "writer", "submission": f"s-{number}", "revision": 1}
    return {**about, "outcome": outcome, "change": change, "hour": 100 + number}


def tally(outcomes: Sequence[str]) -> Row:
    row = Row()
    row.projects["p"] = own = Tally()
    for number, outcome in enumerate(outcomes):
        data = JudgementScored(origin=Origin(partition=0, offset=number, index=0), **judged(outcome, number))
        add(own, data, DEFAULT_RULES.recent)
    return row


def effects(*judgements: dict[str, Any]) -> list[Effect]:
    return [Effect(JUDGEMENTS.name, "w", "assay.JudgementScored.v2", data) for data in judgements]


def test_nobody_is_told_of_where_nothing_is_another() -> None:
    rows = {"w": tally(["rejected"] * 9)}
    assert changes(rows, DEFAULT_RULES, Policy(), "p", []) == []


def test_texts_that_would_be_rejected_flag_their_writer() -> None:
    rows = {"w": tally(["approved"] * 6)}
    flips = [one for number in range(6) for one in (judged("approved", number, -1), judged("rejected", number))]
    policy = Policy(rejection_action="restrict")
    found = changes(rows, DEFAULT_RULES._replace(policy=policy), policy, "p", effects(*flips))
    assert [(one.rule, one.change, one.action, one.against, one.total) for one in found] == [
        ("rejection", "flagged", "restrict", 6, 6)
    ]
    # Three of three is too few, five of five are enough: from the fifth hour on there would have been no work.
    assert found[0].restricted_from == 104


def test_a_higher_limit_releases_and_a_harder_action_is_told() -> None:
    rows = {"w": tally(["rejected"] * 9 + ["approved"])}
    before = rules_of(1, Policy())
    assert look("rejection", rows["w"].projects["p"], before).holds
    rows["w"].projects["p"].flags["rejection"] = ["notify", 0, None]
    (released,) = changes(rows, before, Policy(rejection_limit_permille=900), "p", [])
    assert (released.change, released.against, released.total) == ("released", 9, 10)
    (harder,) = changes(rows, before, Policy(rejection_action="restrict"), "p", [])
    assert (harder.change, harder.action, harder.restricted_from) == ("action", "restrict", 104)
    assert rows["w"].projects["p"].flags == {"rejection": ["notify", 0, None]}
    assert "rejection" in RULES
