"""Whom a proposal would flag, or release: a person's counts as they are, and the judgements that would be other ones.

Counts add up, so that they are exact. The windows of the last few votes hold the same votes in another order at most, and when a
flag would have expired nobody can say: what is told is how the rules find each person at the end of the window.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from schemas.events import JudgementScored
from schemas.policy import Policy
from schemas.words import Origin
from streams.annotators import PREFERENCE, Row, subject_of
from streams.projection import Effect
from streams.rules import OF_PEOPLE, RULES, Rules, action_of, look, rate_holds, rules_of
from streams.tallies import HOURLY, RATES, Tally, add, pack_tally, take_back, trim, unpack_tally


class Change(NamedTuple):
    """A flag that would rise (`flagged`), fall (`released`) or lead to something else (`action`); counts as they would be."""

    annotator: str
    project: str
    task: str
    rule: str
    change: str
    action: str
    against: int
    total: int
    limit_permille: int
    #: In which hour at the earliest somebody would have been handed no more work; None where nobody is held back.
    restricted_from: int | None


def treat_alike(one: Policy, other: Policy) -> bool:
    """Whether two policies have the same rules about people."""
    return all(getattr(one, name) == getattr(other, name) for name in OF_PEOPLE)


def changes(rows: Mapping[str, Row], before: Rules, policy: Policy, project: str, differences: Iterable[Effect]) -> list[Change]:
    """Everybody whom the proposal's rules, or the judgements that it leads to, find otherwise; by name."""
    after = rules_of(before.version, policy, before.pace_version, before.median_milliseconds)
    by_person: dict[str, list[Effect]] = {}
    for one in differences:
        by_person.setdefault(one.key, []).append(one)
    found: list[Change] = []
    for annotator in sorted(by_person if treat_alike(before.policy, policy) else {*rows, *by_person}):
        row = rows.get(annotator, Row())
        for name in (project, project + PREFERENCE):
            differing = [one for one in by_person.get(annotator, ()) if _tally_of(one) == name]
            if name in row.projects or differing:
                tally = row.projects.get(name, Tally())
                found += _changes(annotator, name, tally, _with(tally, differing, after), before, after)
    return found


def _tally_of(one: Effect) -> str:
    project: str = one.data["project"]
    return project + PREFERENCE if one.data.get("task") == "preference" else project


def _with(tally: Tally, differing: Iterable[Effect], rules: Rules) -> Tally:
    """A copy of these counts, with these judgements made or taken back."""
    made = unpack_tally(orjson.loads(orjson.dumps(pack_tally(tally), option=orjson.OPT_NON_STR_KEYS)))
    trim(made, rules.recent)
    for one in differing:
        data = JudgementScored.model_construct(None, **one.data, origin=_NOWHERE)
        if data.change > 0:
            add(made, data, rules.recent)
        else:
            take_back(made, data)
    return made


_NOWHERE: Any = Origin(partition=0, offset=0, index=0)


def _changes(annotator: str, name: str, here: Tally, there: Tally, before: Rules, after: Rules) -> Iterable[Change]:
    project, task = subject_of(name)
    for rule in RULES:
        old, new = look(rule, here, before), look(rule, there, after)
        action = action_of(rule, after.policy)
        if new.holds:
            # What is looked at beside other flags sees those that would stand.
            there.flags.setdefault(rule, [action, 0, None])
        else:
            there.flags.pop(rule, None)
        moved = _moved(old.holds, new.holds, action_of(rule, before.policy) != action)
        if moved:
            hour = _restricted_from(rule, there, after) if new.holds and action == "restrict" else None
            yield Change(
                annotator, project, task, rule, moved, action, new.against, new.total, new.limit_permille, hour
            )  # fmt: skip


def _moved(old: bool, new: bool, action: bool) -> str:
    if old != new:
        return "flagged" if new else "released"
    return "action" if new and action else ""


def _restricted_from(rule: str, tally: Tally, rules: Rules) -> int:
    """The first hour by whose end the rate's counts raise its flag; of other rules the last hour, since they look at the last
    votes only."""
    hours = sorted(tally.hours)
    if rule in RATES:
        against, good = (HOURLY.index(name) + 1 for name in RATES[rule])
        bad = total = 0
        for hour in hours:
            counted = tally.hours[hour]
            bad, total = bad + counted[against], total + counted[against] + counted[good]
            if rate_holds(bad, total, *rules.limits[rule]):
                return hour
    return hours[-1] if hours else 0
