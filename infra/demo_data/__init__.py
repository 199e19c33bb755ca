"""The demo's data, in order: by which policies, and then real votes, conversations and instructions."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from infra.importing.crowd_csv import crowd_csv, right_answers
from infra.importing.facts import Found, Options
from infra.importing.lines import Line, Problem, opened, text_lines
from infra.importing.oasst import oasst
from infra.importing.self_instruct import EVAL, self_instruct
from infra.policies.log import PolicyChange, policy_change
from schemas.policy import Policy
from schemas.upcasts import ToldEvent

FOLDER = Path(__file__).parent
SP = Options("sp", slice="en/reviews/sentiment")
OASST = Options("oasst", start=datetime(2026, 1, 22, tzinfo=UTC))
SELF_INSTRUCT = Options("self-instruct", start=datetime(2026, 1, 24, tzinfo=UTC))
MODELS = ("davinci", "text-davinci-001", "text-davinci-003")

_MOST_RULES = Policy(overlap_min=3, overlap_max=3, approve_confidence_permille=750, reject_confidence_permille=750)
POLICIES = {
    SP.project: Policy(
        overlap_min=2, overlap_max=10, approve_confidence_permille=750, reject_confidence_permille=750, late_votes_reopen=1
    ),
    OASST.project: Policy(overlap_min=2),
    SELF_INSTRUCT.project: _MOST_RULES,
    SELF_INSTRUCT.project + EVAL: _MOST_RULES,
}


def demo_policies() -> list[PolicyChange]:
    """Each project's policy, to be published before its events; the same ids every time."""
    time, reason = datetime(2025, 12, 31, tzinfo=UTC), "the rules that the demo's data is judged by"
    return [policy_change(time, project, 1, policy, "demo", reason) for project, policy in POLICIES.items()]


def demo_events() -> Iterator[ToldEvent]:
    """All events of the demo in order, some 49 thousand; the same ids and bytes every time."""
    for found in _found():
        if isinstance(found, Problem):
            raise ValueError(f"the demo's own data is damaged: line {found.line}: {found.reason}")
        yield found.event


def gold() -> dict[str, str]:
    """The right label (good or bad) by submission, for every submission of the project sp."""
    return right_answers(_lines("sp/gold.csv.gz"), SP)


def _found() -> Iterator[Found]:
    yield from crowd_csv(_lines("sp/votes.csv.gz"), replace(SP, gold=_lines("sp/gold.csv.gz")))
    yield from oasst(_lines("oasst/en_100_tree.jsonl.gz"), OASST)
    yield from self_instruct(_lines("self_instruct/seed_tasks.jsonl.gz"), SELF_INSTRUCT)
    yield from self_instruct(_lines("self_instruct/user_oriented_instructions.jsonl.gz"), _day(1))
    for number, model in enumerate(MODELS, 2):
        completions = _lines(f"self_instruct/{model}_predictions.jsonl.gz")
        yield from self_instruct(completions, replace(_day(number), writer=model))


def _day(number: int) -> Options:
    """Each file has its own day: prompts come before their completions."""
    return replace(SELF_INSTRUCT, start=SELF_INSTRUCT.start.replace(day=SELF_INSTRUCT.start.day + number))


def _lines(name: str) -> Iterator[Line | Problem]:
    with opened(FOLDER / name) as file:
        yield from text_lines(file)
