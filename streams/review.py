"""review: revisions, votes and checks of a submission -> its verdict, and what follows from it.

Every event changes a submission's row; what the row then stands for (`Standing`) is compared with what it stood
for before, and the difference is the effects. So a verdict turned over takes back exactly what it had said.
"""

from collections.abc import Callable, Iterable
from functools import partial
from sys import intern
from typing import Any

from schemas import events as e
from schemas.identity import unix_milliseconds
from schemas.topics import EVENTS
from streams import preferences
from streams.deciding import decide, escalate, rule
from streams.once import MAX_EVENTS, TOO_MANY, mark, same_id
from streams.projection import HOUR_MILLISECONDS, Effect, Json, Record, Refusal, State, Step, maker
from streams.scores import summed
from streams.standing import (
    NOTHING,
    Change,
    Said,
    Standing,
    decided,
    difference,
    is_rechecked,
    of_vote,
    reopened,
    requested,
    standing,
    standing_as,
    submitted,
)
from streams.submissions import UNWEIGHED, Analysis, Row, Vote, counts, made_vote, pack, unpack, weigh
from streams.weighing import NO_POLICY, InForce, Rules, misshapen, pack_policies, rules_of, take_skills, unpack_policies


class Control:
    """What control records said: policies by project, and the last full hour of the clock."""

    __slots__ = ("hour", "policies", "preferring", "rules")

    def __init__(self) -> None:
        self.policies: dict[str, InForce] = {}
        self.hour = 0
        #: What follows from policies and recorded weights, by project, for votes and for choices in comparisons; made when it is
        #: first asked for.
        self.rules: dict[str, Rules] = {}
        self.preferring: dict[str, Rules] = {}


ReviewState = State[Row, Control]
ReviewStep = Step[Row, Control]
_step: Callable[[tuple[Any, ...]], ReviewStep] = maker(Step)


def rules_in(state: ReviewState, project: str) -> Rules:
    """How the project's votes are weighed and when they decide, as of the state's position."""
    rules = state.control.rules.get(project)
    if rules is None:
        in_force = state.control.policies.get(project, NO_POLICY)
        rules = rules_of(in_force, in_force.policy.labels, state.shared, project, "review")
        state.control.rules[project] = rules
    return rules


def preferring_in(state: ReviewState, project: str) -> Rules:
    """The same for choices in comparisons."""
    rules = state.control.preferring.get(project)
    if rules is None:
        in_force = state.control.policies.get(project, NO_POLICY)
        rules = state.control.preferring[project] = preferences.rules_in(in_force, state.shared, project)
    return rules


# --- what each event does to a row -------------------------------------------------------------


def _received(row: Row, record: Record, data: e.SubmissionReceived) -> Refusal | None:
    if row.revision:
        return Refusal("received_twice", "the submission was already received under another event id")
    row.project, row.kind, row.writer, row.slice = intern(data.project), data.kind, intern(data.writer), intern(data.slice)
    row.prompt, row.revision, row.hour = data.prompt, 1, record.time_ms // HOUR_MILLISECONDS
    row.revised, row.weighed = row.hour, UNWEIGHED
    return None


def _edited(row: Row, record: Record, data: e.SubmissionEdited) -> Refusal | None:
    if not row.revision:
        return Refusal("edited_before_received", "no such submission stands before this edit")
    if data.revision != row.revision + 1:
        return Refusal("revision_out_of_turn", f"revision {data.revision} does not follow revision {row.revision}")
    row.revision, row.verdict, row.withdrawn, row.floor, row.credits = data.revision, None, 0, 0, {}
    row.revised, row.weighed = record.time_ms // HOUR_MILLISECONDS, UNWEIGHED
    return None


def _withdrawn(row: Row, record: Record, data: e.SubmissionWithdrawn) -> Refusal | None:
    if not row.revision:
        return Refusal("withdrawn_before_received", "no such submission stands before this withdrawal")
    row.withdrawn, row.verdict = 1, None
    return None


def _analysed(row: Row, record: Record, data: e.SubmissionAnalysed) -> Refusal | None:
    if row.analysis is None or row.analysis.revision < data.revision:
        row.analysis = Analysis(data.revision, data.model, data.words, data.embedding)
    return None


def _vote(record: Record, data: e.VoteCast) -> Vote:
    # Voters and labels are few and votes are many: one string for each saves half of a row's memory.
    voter, label, hour = intern(data.voter), intern(data.label), record.time_ms // HOUR_MILLISECONDS
    return made_vote((voter, label, data.revision, record.offset, hour, data.duration_milliseconds))


def _voted(row: Row, record: Record, data: e.VoteCast) -> Refusal | None:
    vote, earlier = _vote(record, data), row.votes.get(data.voter)
    if earlier is None or earlier.revision <= vote.revision:
        row.votes, row.weighed = {**row.votes, vote.voter: vote}, UNWEIGHED
    return None


def _retracted(row: Row, record: Record, data: e.VoteRetracted) -> Refusal | None:
    row.votes = {voter: vote for voter, vote in row.votes.items() if voter != data.voter or vote.revision != data.revision}
    row.weighed = UNWEIGHED
    return None


def _golden(row: Row, record: Record, data: e.GoldenAnswerSet) -> Refusal | None:
    row.golden = (data.revision, data.label)
    return None


def _about_current(row: Row, revision: int) -> Refusal | None:
    """An editor speaks of what there is."""
    if not row.revision:
        return Refusal("ruled_before_received", "no such submission stands before an editor's ruling")
    if revision != row.revision:
        return Refusal("ruled_on_another_revision", f"revision {revision} is ruled on, and {row.revision} stands")
    return Refusal("ruled_on_withdrawn", "the submission was withdrawn") if row.withdrawn else None


def _ruled(row: Row, record: Record, data: e.SubmissionRuled) -> Refusal | None:
    if data.ruled_by == row.writer:
        return Refusal("ruled_by_writer", "nobody decides on a text of their own")
    return _about_current(row, data.revision)


def _taken_back(row: Row, record: Record, data: e.SubmissionReopened) -> Refusal | None:
    refusal = _about_current(row, data.revision)
    if refusal is None and row.verdict is not None:
        row.verdict, row.floor = None, row.live + 1
    return refusal


_Handler = Callable[[Row, Record, Any], Refusal | None]

HANDLERS: dict[type, _Handler] = {
    e.SubmissionReceived: _received,
    e.SubmissionEdited: _edited,
    e.SubmissionWithdrawn: _withdrawn,
    e.SubmissionAnalysed: _analysed,
    e.SubmissionRuled: _ruled,
    e.SubmissionReopened: _taken_back,
    e.VoteCast: _voted,
    e.VoteRetracted: _retracted,
    e.GoldenAnswerSet: _golden,
}

#: Why an earlier verdict no longer stands, by what happened. After these its judgements stay: they were about
#: an earlier revision, or about a text that is gone.
_SETTLED: dict[type, str] = {e.SubmissionEdited: "edited", e.SubmissionWithdrawn: "withdrawn"}
#: After a retraction a verdict must be supported again; after a vote only where the policy says so.
_REASONS: dict[type, str] = {
    e.VoteCast: "voted",
    e.VoteRetracted: "retracted",
    e.SubmissionRuled: "ruled",
    e.SubmissionReopened: "reopened",
}


class Review:
    """The projection of `assay.events.v1` by submission."""

    name = "review"
    version = 3
    source = EVENTS

    def empty(self) -> ReviewState:
        return State(control=Control())

    def apply(self, state: ReviewState, record: Record) -> ReviewStep:
        if record.offset <= state.position:
            return Step(state, [])
        state.position = record.offset
        data = record.event.data
        handler = HANDLERS.get(type(data))
        if handler is not None:
            return _apply_to_row(state, record, data, handler)
        if type(data) in preferences.HANDLERS:
            return preferences.apply(state, record, partial(preferring_in, state))
        control = CONTROLS.get(type(data))
        done = [] if control is None else control(state, record, data)
        return Step(state, [], done) if isinstance(done, Refusal) else Step(state, done)

    def pack(self, row: Row) -> list[Any]:
        return pack(row)

    def unpack(self, packed: list[Any]) -> Row:
        return unpack(packed)

    def pack_control(self, control: Control) -> Json:
        return {"policies": pack_policies(control.policies), "hour": control.hour}

    def unpack_control(self, packed: Json) -> Control:
        control = Control()
        control.policies, control.hour = unpack_policies(packed["policies"]), packed["hour"]
        return control


# --- one subject -------------------------------------------------------------------------------


def _apply_to_row(state: ReviewState, record: Record, data: Any, handler: _Handler) -> ReviewStep:
    event = record.event
    subject = event.subject
    row = state.rows.get(subject)
    if row is None:
        return _apply_to_new(state, record, handler)
    if event.id in row.seen:
        return Step(state, [], same_id(row.seen, record))
    if row.events >= MAX_EVENTS:
        return Step(state, [], TOO_MANY)
    if handler is _voted and data.voter not in row.votes:
        effects = _first_vote(state, subject, record, row, data)
    else:
        revision, before = row.revision, standing(row)
        refusal = handler(row, record, data)
        if refusal is not None:
            return Step(state, [], refusal)
        effects = _settle(state, record, row, revision, before)
    row.offset = record.offset
    row.events += 1
    row.seen += mark(record)
    state.touched[subject] = None
    return _step((state, effects, None))


def _apply_to_new(state: ReviewState, record: Record, handler: _Handler) -> ReviewStep:
    """The first event of a submission: it decides nothing, so that nothing need be compared."""
    row = Row()
    refusal = handler(row, record, record.event.data)
    if refusal is not None:
        return Step(state, [], refusal)
    subject = record.event.subject
    state.rows[subject] = row
    state.touched[subject] = None
    row.offset, row.events, row.seen = record.offset, 1, mark(record)
    return Step(state, [submitted(subject, row)] if row.revision else [])


def _may_turn(key: str, row: Row, rules: Rules) -> bool:
    return bool(rules.policy.late_votes_reopen) or is_rechecked(key, row, rules)


def _settle(state: ReviewState, record: Record, row: Row, revision: int, before: Standing) -> list[Effect]:
    """Decide the row anew, and say what changed."""
    key, data = record.event.subject, record.event.data
    kind, rules = type(data), rules_in(state, row.project)
    if isinstance(data, e.SubmissionRuled):
        rule(row, rules, record.offset, data.verdict)
    else:
        decide(row, rules, record.offset, kind is e.VoteRetracted or _may_turn(key, row, rules))
    after = standing(row)
    settled = _SETTLED.get(kind)
    if settled is not None:
        return _settled(Change(key, row, rules, revision, before, after, settled))
    change = Change(key, row, rules, row.revision, before, after, _REASONS.get(kind, "voted"))
    if kind is e.SubmissionReceived:
        return [submitted(key, row), *difference(change)]
    return difference(change)


def _settled(change: Change) -> list[Effect]:
    """Judgements stay: only the verdict and the place in the slice are taken back."""
    spoken = change.before._replace(verdict=None, label="", credits={})
    effects = [reopened(change._replace(after=NOTHING))] if change.before.verdict else []
    if change.row.revision == change.revision:
        # A withdrawn text keeps its golden answer, which has been said already.
        return effects + difference(change._replace(before=spoken))
    effects += difference(change._replace(before=spoken._replace(known=0, golden=None), after=NOTHING))
    return effects + difference(change._replace(revision=change.row.revision, before=NOTHING))


def _first_vote(state: ReviewState, key: str, record: Record, row: Row, data: e.VoteCast) -> list[Effect]:
    """A voter's first vote on the row, as nearly every event is one: only what a vote can change is looked at."""
    rules = state.control.rules.get(row.project) or rules_in(state, row.project)
    vote, verdict, label, credits, unsure_votes = _vote(record, data), row.verdict, row.label, row.credits, row.unsure_votes
    row.votes[vote.voter] = vote
    if row.weighed != rules.weighed:
        weigh(row, rules)
    elif counts(row, vote) and (voted := rules.places.get(vote.label)) is not None:
        row.live += 1
        row.scores = summed(row.scores, rules.weights.get(vote.voter, rules.default)[voted])
    if verdict is None and row.live < rules.policy.overlap_min and not credits and not row.floor:
        # Too few to say anything, as `decide` would find.
        row.unsure_votes = 0
        return [] if row.golden is None else of_vote(key, row, standing(row), vote)
    decide(row, rules, record.offset, verdict is not None and _may_turn(key, row, rules))
    if verdict is None and row.verdict is not None and not credits and row.golden is None and row.analysis is None:
        return decided(key, row, rules, row.verdict)
    if row.credits is not credits or row.verdict != verdict or row.label != label:
        told = standing_as(row, Said(verdict, label, credits, unsure_votes), len(row.votes) - 1)
        return difference(Change(key, row, rules, row.revision, told, standing(row), "voted"))
    judged = [] if not credits and row.golden is None else of_vote(key, row, standing(row), vote)
    if row.unsure_votes and row.unsure_votes != unsure_votes:
        return [requested(key, row, rules), *judged]
    return judged


# --- control records ---------------------------------------------------------------------------


def _apply_policy(state: ReviewState, record: Record, data: e.PolicyApplied) -> list[Effect]:
    """The project's open subjects and comparisons, as the new policy sees the votes that were already cast."""
    project = data.project
    if data.version <= state.control.policies.get(project, NO_POLICY).version:
        return []
    state.control.policies[project] = InForce(data.version, data.policy, record.offset)
    state.control.rules.pop(project, None)
    state.control.preferring.pop(project, None)
    effects = _reconsider(state, record, _of_project(state, project), "policy")
    return effects + preferences.reconsider(state, record, project, preferring_in(state, project), "policy")


def _apply_skills(state: ReviewState, record: Record, data: e.SkillsEstimated) -> list[Effect] | Refusal:
    """The project's open subjects (or comparisons), and in a sweep also the decided ones, as the new weights see their votes."""
    refusal = misshapen(data)
    if refusal is not None:
        return refusal
    project, for_review = data.project, data.task == "review"
    rules_for, known = (rules_in, state.control.rules) if for_review else (preferring_in, state.control.preferring)
    before = rules_for(state, project)
    key = take_skills(state.shared, record.offset, data)
    if key is None:
        return []
    state.touched[key] = None
    known.pop(project, None)
    rules = rules_for(state, project)
    if data.more or data.model not in (before.model, rules.model):
        return []
    swept = data.sweep and bool(rules.policy.late_votes_reopen)
    if for_review:
        return _reconsider(state, record, _of_project(state, project, decided=swept), "skills")
    return preferences.reconsider(state, record, project, rules, "skills", closed=swept)


def _apply_clock(state: ReviewState, record: Record, data: e.ClockTicked) -> list[Effect]:
    """What is undecided past its project's deadline goes to an editor. The clock is looked at by the full hour."""
    hour = unix_milliseconds(data.until) // HOUR_MILLISECONDS
    if hour <= state.control.hour:
        return []
    state.control.hour = hour
    hours = {project: one.policy.deadline_hours for project, one in state.control.policies.items() if one.policy.deadline_hours}
    if not hours:
        return []
    overdue = [
        key
        for key, row in state.rows.items()
        if _is_open(row) and row.project in hours and row.revised + hours[row.project] <= hour
    ]
    effects: list[Effect] = []
    for key in sorted(overdue):
        effects += _overdue(state, record, key, state.rows[key])
    return effects


def _overdue(state: ReviewState, record: Record, key: str, row: Row) -> list[Effect]:
    rules, before = rules_in(state, row.project), standing(row)
    escalate(row, rules, record.offset, "deadline")
    row.offset = record.offset
    state.touched[key] = None
    return difference(Change(key, row, rules, row.revision, before, standing(row), "voted"))


def _is_open(row: Row) -> bool:
    return row.verdict is None and row.revision > 0 and not row.withdrawn


def _of_project(state: ReviewState, project: str, decided: bool = False) -> list[str]:
    """Keys of a project's open subjects, in order; with `decided` of all that have a text."""
    # Picked, then sorted: most rows of a long log are decided.
    return sorted(
        key for key, row in state.rows.items() if (decided or row.verdict is None) and row.revision and row.project == project
    )


def _reconsider(state: ReviewState, record: Record, keys: Iterable[str], reason: str) -> list[Effect]:
    effects: list[Effect] = []
    for key in keys:
        row = state.rows[key]
        rules, before = rules_in(state, row.project), standing(row)
        decide(row, rules, record.offset, may_turn=True, credit_unsure=reason == "skills")
        row.offset = record.offset
        state.touched[key] = None
        effects += difference(Change(key, row, rules, row.revision, before, standing(row), reason))
    return effects


CONTROLS: dict[type, Callable[[ReviewState, Record, Any], list[Effect] | Refusal]] = {
    e.PolicyApplied: _apply_policy,
    e.SkillsEstimated: _apply_skills,
    e.ClockTicked: _apply_clock,
}

REVIEW = Review()
