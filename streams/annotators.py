"""annotators: what the decisions say about each person -> counts per project and hour, and flags.

Counts only: rates, intervals and skills are computed when they are read.
"""

from typing import Any

from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.policy import Policy
from schemas.topics import ANNOTATORS, JUDGEMENTS
from streams.projection import (
    Effect,
    Json,
    Origins,
    Record,
    Refusal,
    State,
    Step,
    counts_first,
    pack_origins,
    unpack_origins,
)
from streams.weights import passes_limit

#: Event-time hours kept per person and project; the oldest go first.
MAX_HOURS = 720

COUNTS = (
    "submitted", "approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong",
    "good_approved", "good_rejected", "bad_approved", "bad_rejected", "timed_votes", "milliseconds",
)  # fmt: skip

#: Counts kept per hour, in this order.
HOURLY = ("approved", "rejected", "agreed", "disagreed")

_AGAINST_A_VERDICT = ("agreed", "disagreed")
#: The schema allows it, and review never derives it.
_INCOMPLETE = Refusal("incomplete_judgement", "whoever agreed or disagreed did so with a label, and with a verdict that decides")


class Tally:
    """One person's counts in one project."""

    __slots__ = ("counts", "flags", "hours")

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.hours: dict[int, list[int]] = {}
        self.flags: list[str] = []


class Row:
    """One person: tallies by project, and what was counted last."""

    __slots__ = ("offset", "origins", "projects")

    def __init__(self) -> None:
        self.offset = -1
        self.origins: Origins = {}
        self.projects: dict[str, Tally] = {}


Control = dict[str, tuple[int, Policy]]
AnnotatorsState = State[Row, Control]
AnnotatorsStep = Step[Row, Control]

NO_POLICY = (0, Policy())


def count(tally: Tally, data: e.JudgementScored) -> None:
    """Add one judgement, or take it back."""
    counts, sign = tally.counts, data.change
    counts[data.outcome] += sign
    if data.outcome in _AGAINST_A_VERDICT:
        counts[f"{data.label}_{data.verdict}"] += sign
        if data.duration_milliseconds is not None:
            counts["timed_votes"] += sign
            counts["milliseconds"] += sign * data.duration_milliseconds
    if data.outcome in HOURLY:
        _count_hour(tally.hours, data.hour, HOURLY.index(data.outcome), sign)


def _count_hour(hours: dict[int, list[int]], hour: int, place: int, sign: int) -> None:
    row = hours.get(hour)
    if row is None:
        if len(hours) >= MAX_HOURS:
            oldest = min(hours)
            if hour < oldest:
                return
            del hours[oldest]
        row = hours[hour] = [0] * len(HOURLY)
    row[place] += sign


def rule_counts(tally: Tally, rule: str) -> tuple[int, int]:
    """(against, total) of one rule."""
    counts = tally.counts
    if rule == "rejection":
        return counts["rejected"], counts["approved"] + counts["rejected"]
    return counts["disagreed"], counts["agreed"] + counts["disagreed"]


def rule_limits(policy: Policy, rule: str) -> tuple[int, int]:
    """(limit in permille, minimum count) of one rule."""
    if rule == "rejection":
        return policy.rejection_limit_permille, policy.rejection_min_decided
    return policy.disagreement_limit_permille, policy.disagreement_min_scored


RULES = ("rejection", "disagreement")
_FLAGGED = TYPE_OF[e.AnnotatorFlagged]
_CLEARED = TYPE_OF[e.AnnotatorCleared]


def _flag(annotator: str, project: str, tally: Tally, control: tuple[int, Policy]) -> list[Effect]:
    """The flags that rise or fall with these counts under this policy."""
    version, policy = control
    effects: list[Effect] = []
    for rule in RULES:
        against, total = rule_counts(tally, rule)
        limit, minimum = rule_limits(policy, rule)
        raised = total >= minimum and passes_limit(against, total, limit)
        if raised == (rule in tally.flags):
            continue
        tally.flags = sorted({*tally.flags, rule} if raised else {*tally.flags} - {rule})
        data: Json = {
            "project": project,
            "rule": rule,
            "against": against,
            "total": total,
            "limit_permille": limit,
            "policy_version": version,
        }
        effects.append(Effect(ANNOTATORS.name, annotator, _FLAGGED if raised else _CLEARED, data))
    return effects


class Annotators:
    """The projection of `assay.judgements.v1` by annotator."""

    name = "annotators"
    version = 1
    source = JUDGEMENTS

    def empty(self) -> AnnotatorsState:
        return State(control={})

    def apply(self, state: AnnotatorsState, record: Record) -> AnnotatorsStep:
        if record.offset <= state.position:
            return Step(state, [])
        state.position = record.offset
        data = record.event.data
        if isinstance(data, e.JudgementScored):
            return _apply_judgement(state, record, data)
        return _apply_policy(state, record, data) if isinstance(data, e.PolicyApplied) else Step(state, [])

    def pack(self, row: Row) -> Json:
        return {
            "offset": row.offset,
            "origins": pack_origins(row.origins),
            "projects": {project: _pack_tally(tally) for project, tally in sorted(row.projects.items())},
        }

    def unpack(self, packed: Json) -> Row:
        row = Row()
        row.offset = packed["offset"]
        row.origins = unpack_origins(packed["origins"])
        row.projects = {project: _unpack_tally(tally) for project, tally in packed["projects"].items()}
        return row

    def pack_control(self, control: Control) -> Json:
        return {project: [version, policy.model_dump()] for project, (version, policy) in sorted(control.items())}

    def unpack_control(self, packed: Json) -> Control:
        return {project: (version, Policy(**policy)) for project, (version, policy) in packed.items()}


def _pack_tally(tally: Tally) -> Json:
    hours = {str(hour): counts for hour, counts in sorted(tally.hours.items())}
    return {"counts": tally.counts, "hours": hours, "flags": tally.flags}


def _unpack_tally(packed: Any) -> Tally:
    tally = Tally()
    tally.counts.update(packed["counts"])
    tally.hours = {int(hour): counts for hour, counts in packed["hours"].items()}
    tally.flags = packed["flags"]
    return tally


def _apply_judgement(state: AnnotatorsState, record: Record, data: e.JudgementScored) -> AnnotatorsStep:
    if data.outcome in _AGAINST_A_VERDICT and f"{data.label}_{data.verdict}" not in COUNTS:
        return Step(state, [], _INCOMPLETE)
    annotator = record.event.subject
    row = state.rows.get(annotator)
    if row is None:
        row = state.rows[annotator] = Row()
    if not counts_first(row.origins, data.origin):
        return Step(state, [])
    row.offset = record.offset
    state.touched[annotator] = None
    tally = row.projects.get(data.project)
    if tally is None:
        tally = row.projects[data.project] = Tally()
    count(tally, data)
    return Step(state, _flag(annotator, data.project, tally, state.control.get(data.project, NO_POLICY)))


def _apply_policy(state: AnnotatorsState, record: Record, data: e.PolicyApplied) -> AnnotatorsStep:
    """Everybody in the project, in key order, is looked at under the new limits."""
    if data.version <= state.control.get(data.project, NO_POLICY)[0]:
        return Step(state, [])
    control = state.control[data.project] = (data.version, data.policy)
    effects: list[Effect] = []
    for annotator in sorted(state.rows):
        row = state.rows[annotator]
        tally = row.projects.get(data.project)
        if tally is not None and (changed := _flag(annotator, data.project, tally, control)):
            effects += changed
            row.offset = record.offset
            state.touched[annotator] = None
    return Step(state, effects)


ANNOTATORS_PROJECTION = Annotators()
