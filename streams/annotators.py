"""annotators: what the decisions say about each person -> counts per project and hour, the last few votes, and flags.

Counts only: rates, intervals and skills are computed when they are read. Flags rise and fall by the rules of the policy
(streams/rules.py), at whatever record changes what a rule looks at; they expire by `ClockTicked`, never by a clock.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.identity import unix_milliseconds
from schemas.policy import Policy
from schemas.topics import ANNOTATORS, JUDGEMENTS
from schemas.words import Task
from streams.projection import (
    HOUR_MILLISECONDS,
    Effect,
    Json,
    Origins,
    Record,
    Refusal,
    State,
    Step,
    counts_first,
    maker,
    pack_origins,
    unpack_origins,
)
from streams.rules import (
    DEFAULT_RULES,
    RULES,
    Finding,
    Rules,
    action_of,
    evidence,
    is_suspect,
    look,
    measured,
    rules_of,
    start_afresh,
)
from streams.tallies import RATES, Tally, add, counted_from, is_complete, pack_tally, take_back, trim, unpack_tally

#: The last that `schemas.words.Hour` allows.
LAST_HOUR = 10_000_000
#: The tally of a project's comparisons stands under the project's name with this; no project's name has a slash.
PREFERENCE = "/preference"


def subject_of(name: str) -> tuple[str, Task]:
    """The project and task of the tally that stands in a row under this name."""
    project = name.removesuffix(PREFERENCE)
    return project, "review" if project == name else "preference"


#: The schema allows it, and review never derives it.
_INCOMPLETE = Refusal("incomplete_judgement", "a judged vote has a label, and the label that is right")


class Row:
    """One person: tallies by project and task, and what was counted last."""

    __slots__ = ("offset", "origins", "projects")

    def __init__(self) -> None:
        self.offset = -1
        self.origins: Origins = {}
        self.projects: dict[str, Tally] = {}


Control = dict[str, Rules]
AnnotatorsState = State[Row, Control]
AnnotatorsStep = Step[Row, Control]
_step: Callable[[tuple[Any, ...]], AnnotatorsStep] = maker(Step)


class Annotators:
    """The projection of `assay.judgements.v1` by annotator."""

    name = "annotators"
    version = 2
    source = JUDGEMENTS

    def empty(self) -> AnnotatorsState:
        return State(control={})

    def apply(self, state: AnnotatorsState, record: Record) -> AnnotatorsStep:
        if record.offset <= state.position:
            return Step(state, [])
        state.position = record.offset
        data = record.event.data
        if type(data) is e.JudgementScored:
            return _judged(state, record, data)
        handler = HANDLERS.get(type(data))
        return Step(state, []) if handler is None else handler(state, record, data)

    def pack(self, row: Row) -> list[Any]:
        """In the order of `Row`'s fields; tallies by name."""
        tallies = {name: pack_tally(tally) for name, tally in row.projects.items()}
        return [row.offset, pack_origins(row.origins), tallies]

    def unpack(self, packed: list[Any]) -> Row:
        row = Row()
        row.offset, origins, tallies = packed
        row.origins = unpack_origins(origins)
        row.projects = {name: unpack_tally(tally) for name, tally in tallies.items()}
        return row

    def pack_control(self, control: Control) -> Json:
        return {
            project: [rules.version, rules.policy.model_dump(mode="json"), rules.pace_version, rules.median_milliseconds]
            for project, rules in sorted(control.items())
        }

    def unpack_control(self, packed: Json) -> Control:
        return {
            project: rules_of(version, Policy.model_validate_json(orjson.dumps(policy)), *pace)
            for project, (version, policy, *pace) in packed.items()
        }


# --- what each record does ---------------------------------------------------------------------


def _judged(state: AnnotatorsState, record: Record, data: e.JudgementScored) -> AnnotatorsStep:
    if not is_complete(data):
        return Step(state, [], _INCOMPLETE)
    annotator = record.event.subject
    row = state.rows.get(annotator)
    if row is None:
        row = state.rows[annotator] = Row()
    if not counts_first(row.origins, data.origin):
        return Step(state, [])
    name = data.project
    rules = state.control.get(name, DEFAULT_RULES)
    if data.task == "preference":
        name += PREFERENCE
    tally = row.projects.get(name)
    if tally is None:
        tally = row.projects[name] = Tally()
    if data.change > 0:
        add(tally, data, rules.recent)
    else:
        take_back(tally, data)
    row.offset = record.offset
    state.touched[annotator] = None
    looked_at = _LOOKED_AT[data.outcome]
    if not looked_at or (not tally.flags and not is_suspect(looked_at[0], tally, rules)):
        return _step((state, [], None))
    return Step(state, _examine(_Case(record, annotator, name, tally, rules), looked_at, "recovered"))


#: Which rules an outcome can raise or clear; the first is its rate's.
_LOOKED_AT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("submitted", "credited"), ()),
    **dict.fromkeys(("approved", "rejected"), ("rejection",)),
    **dict.fromkeys(("agreed", "disagreed"), ("disagreement", "constant", "hurry")),
    **dict.fromkeys(("golden_right", "golden_wrong"), ("golden", "hurry")),
}


def _measured(state: AnnotatorsState, record: Record, data: e.LikenessMeasured) -> AnnotatorsStep:
    annotator = record.event.subject
    row = state.rows.get(annotator)
    tally = None if row is None else row.projects.get(data.project)
    # Nobody is like another who was never judged: there is nothing that a flag could be set against.
    if row is None or tally is None or not measured(tally, data):
        return Step(state, [])
    _touch(state, record, annotator, row)
    rules = state.control.get(data.project, DEFAULT_RULES)
    return Step(state, _examine(_Case(record, annotator, data.project, tally, rules), ("copying", "hurry"), "recovered"))


def _policy_applied(state: AnnotatorsState, record: Record, data: e.PolicyApplied) -> AnnotatorsStep:
    rules = state.control.get(data.project, DEFAULT_RULES)
    # A slice's policy says when its texts are decided. Who is flagged is the project's to say.
    if data.slice is not None or data.version <= rules.version:
        return Step(state, [])
    state.control[data.project] = rules_of(data.version, data.policy, rules.pace_version, rules.median_milliseconds)
    return Step(state, _examine_all(state, record, data.project, RULES, "policy"))


def _pace_measured(state: AnnotatorsState, record: Record, data: e.PaceMeasured) -> AnnotatorsStep:
    rules = state.control.get(data.project, DEFAULT_RULES)
    if data.version <= rules.pace_version:
        return Step(state, [])
    state.control[data.project] = rules._replace(pace_version=data.version, median_milliseconds=data.median_milliseconds)
    return Step(state, _examine_all(state, record, data.project, ("hurry",), "recovered"))


def _ticked(state: AnnotatorsState, record: Record, data: e.ClockTicked) -> AnnotatorsStep:
    """Flags whose hour has come go; people in key order."""
    now = unix_milliseconds(data.until)
    effects: list[Effect] = []
    for annotator in sorted(name for name, row in state.rows.items() if _is_due(row, now)):
        row = state.rows[annotator]
        for name, tally in sorted(row.projects.items()):
            case = _Case(record, annotator, name, tally, state.control.get(subject_of(name)[0], DEFAULT_RULES))
            effects += _expire(case, now)
        _touch(state, record, annotator, row)
    return Step(state, effects)


_Handler = Callable[[AnnotatorsState, Record, Any], AnnotatorsStep]

HANDLERS: dict[type, _Handler] = {
    e.LikenessMeasured: _measured,
    e.PolicyApplied: _policy_applied,
    e.PaceMeasured: _pace_measured,
    e.ClockTicked: _ticked,
}


def _touch(state: AnnotatorsState, record: Record, annotator: str, row: Row) -> None:
    row.offset = record.offset
    state.touched[annotator] = None


def _examine_all(state: AnnotatorsState, record: Record, project: str, rules: Iterable[str], reason: str) -> list[Effect]:
    """Everybody in the project, in key order, as the new control record sees them."""
    control = state.control[project]
    effects: list[Effect] = []
    for annotator in sorted(state.rows):
        row = state.rows[annotator]
        for name in (project, project + PREFERENCE):
            tally = row.projects.get(name)
            if tally is None:
                continue
            trimmed = trim(tally, control.recent)
            changed = _examine(_Case(record, annotator, name, tally, control), rules, reason)
            if changed or trimmed:
                effects += changed
                _touch(state, record, annotator, row)
    return effects


# --- flags -------------------------------------------------------------------------------------


class _Case:
    """One tally under the rules of its project, at the record that made it to be looked at."""

    __slots__ = ("annotator", "name", "record", "rules", "tally")

    def __init__(self, record: Record, annotator: str, name: str, tally: Tally, rules: Rules) -> None:
        self.record, self.annotator, self.name, self.tally, self.rules = record, annotator, name, tally, rules

    @property
    def hour(self) -> int:
        return self.record.time_ms // HOUR_MILLISECONDS

    def about(self, rule: str, finding: Finding) -> Json:
        project, task = subject_of(self.name)
        return {
            "project": project,
            "task": task,
            "rule": rule,
            "against": finding.against,
            "total": finding.total,
            "limit_permille": finding.limit_permille,
            "policy_version": self.rules.version,
        }


def _examine(case: _Case, rules: Iterable[str], reason: str) -> list[Effect]:
    """The flags that rise, fall, or lead to something else than before; `reason` is why they fall."""
    effects: list[Effect] = []
    for rule in rules:
        finding = look(rule, case.tally, case.rules)
        stands = case.tally.flags.get(rule)
        if finding.holds:
            effects += _flag(case, rule, finding, case.hour if stands is None else stands[1])
        elif stands is not None:
            effects.append(_clear(case, rule, finding, reason))
    return effects


def _flag(case: _Case, rule: str, finding: Finding, raised: int) -> Iterator[Effect]:
    """Nothing where the same flag stands already."""
    policy = case.rules.policy
    expires = min(raised + policy.flag_hours, LAST_HOUR) if policy.flag_hours else None
    flag = [action_of(rule, policy), raised, expires]
    if case.tally.flags.get(rule) == flag:
        return
    case.tally.flags[rule] = flag
    data = {**case.about(rule, finding), "action": flag[0], "expires_hour": expires}
    data["evidence"] = [{"partition": one.partition, "offset": one.offset} for one in evidence(rule, case.tally, case.rules)]
    if finding.other is not None:
        data |= {"other": finding.other, "subjects": finding.subjects}
    yield Effect(ANNOTATORS.name, case.annotator, _FLAGGED, data)


_FLAGGED = TYPE_OF[e.AnnotatorFlagged]
_CLEARED = TYPE_OF[e.AnnotatorCleared]


def _clear(case: _Case, rule: str, finding: Finding, reason: str) -> Effect:
    del case.tally.flags[rule]
    return Effect(ANNOTATORS.name, case.annotator, _CLEARED, {**case.about(rule, finding), "reason": reason})


def _is_due(row: Row, now: int) -> bool:
    return any(_has_expired(flag, now) for tally in row.projects.values() for flag in tally.flags.values())


def _has_expired(flag: list[Any], now: int) -> bool:
    return flag[2] is not None and flag[2] * HOUR_MILLISECONDS <= now


def _expire(case: _Case, now: int) -> list[Effect]:
    """Its rule then looks only at work of the first whole hour from now on, or it would rise at once again."""
    tally, effects = case.tally, list[Effect]()
    from_hour = -(-now // HOUR_MILLISECONDS)
    for rule in RULES:
        if rule in tally.flags and _has_expired(tally.flags[rule], now):
            finding = look(rule, tally, case.rules)
            _start_afresh(tally, rule, from_hour)
            effects.append(_clear(case, rule, finding, "expired"))
    return effects + _examine(case, ("hurry",), "recovered")


def _start_afresh(tally: Tally, rule: str, from_hour: int) -> None:
    if rule in RATES:
        tally.since[rule] = counted_from(tally, rule, from_hour)
    elif rule == "copying":
        start_afresh(tally)
    else:
        tally.since[rule] = [from_hour, 0, 0]


ANNOTATORS_PROJECTION = Annotators()
