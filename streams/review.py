"""review: revisions, votes and checks of a submission -> its verdict, and what follows from it.

Every event changes a submission's row; what the row then stands for (`Standing`) is compared with what it stood
for before, and the difference is the effects. So a verdict turned over takes back exactly what it had said.
"""

from collections.abc import Callable, Iterable, Iterator, Set
from functools import partial
from operator import add
from sys import intern
from typing import Any

from schemas import events as e
from schemas.identity import unix_milliseconds
from schemas.topics import EVENTS
from schemas.words import Task
from streams import preferences
from streams.deciding import RULED, decide, escalate, rule
from streams.once import MAX_EVENTS, TOO_MANY, mark, same_id
from streams.projection import HOUR_MILLISECONDS, NOWHERE, Effect, Json, Record, Refusal, State, Step, maker
from streams.redeciding import UNDECIDED, as_decided, decide_again, note, past_of, remember, stood_at, stood_of
from streams.standing import (
    NOTHING,
    Change,
    Said,
    Standing,
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
from streams.weighing import Policies, Rules, Scope, misshapen, rules_of, take_skills

#: What follows from policies and recorded weights, made when it is first asked for: by project where no slice has a policy of
#: its own, which is nearly everywhere and looked up for every vote; else by scope.
Made = dict[str | Scope, Rules]


class Control:
    """What control records said: policies, and the last full hour of the clock."""

    __slots__ = ("hour", "policies", "preferring", "rules")

    def __init__(self) -> None:
        self.policies = Policies()
        self.hour = 0
        #: For votes, and for choices in comparisons.
        self.rules: Made = {}
        self.preferring: Made = {}

    def forget(self, project: str) -> None:
        """Nothing that was made for this project holds any more."""
        for made in (self.rules, self.preferring):
            for key in [key for key in made if (key if isinstance(key, str) else key[0]) == project]:
                del made[key]


ReviewState = State[Row, Control]
ReviewStep = Step[Row, Control]
_step: Callable[[tuple[Any, ...]], ReviewStep] = maker(Step)


def rules_in(state: ReviewState, project: str, slice_: str) -> Rules:
    """How votes in this project and slice are weighed and when they decide, as of the state's position."""
    rules = state.control.rules.get(project)
    return _of_scope(state, project, slice_, "review") if rules is None else rules


def preferring_in(state: ReviewState, project: str, slice_: str) -> Rules:
    """The same for choices in comparisons."""
    rules = state.control.preferring.get(project)
    return _of_scope(state, project, slice_, "preference") if rules is None else rules


def _of_scope(state: ReviewState, project: str, slice_: str, task: Task) -> Rules:
    control = state.control
    policies, made = control.policies, control.rules if task == "review" else control.preferring
    scope = policies.scope_of(project, slice_)
    key = scope if project in policies.sliced else project
    rules = made.get(key)
    if rules is None:
        in_force = policies.of(scope)
        labels = in_force.policy.labels if task == "review" else preferences.CHOICES
        rules = rules_of(in_force, labels, state.shared, project, task)
        rules = made[key] = rules._replace(remembers=project in policies.remembering)
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
        return {**control.policies.pack(), "hour": control.hour}

    def unpack_control(self, packed: Json) -> Control:
        control = Control()
        control.policies, control.hour = Policies.unpack(packed), packed["hour"]
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
        revision, before, stood, votes = row.revision, standing(row), stood_of(row), row.votes
        refusal = handler(row, record, data)
        if refusal is not None:
            return Step(state, [], refusal)
        effects = _settle(state, record, row, revision, before)
        if row.project in state.control.policies.remembering:
            if row.revision == revision:
                note(state, subject, row, rules_in(state, row.project, row.slice), stood)
            remember(state, subject, record, row, votes)
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
    kind, rules = type(data), rules_in(state, row.project, row.slice)
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
    rules = state.control.rules.get(row.project) or rules_in(state, row.project, row.slice)
    vote, verdict, label, credits, unsure_votes = _vote(record, data), row.verdict, row.label, row.credits, row.unsure_votes
    stood = stood_of(row) if rules.remembers and (verdict is not None or credits or row.floor) else None
    row.votes[vote.voter] = vote
    if row.weighed != rules.weighed:
        weigh(row, rules)
    elif counts(row, vote) and (voted := rules.places.get(vote.label)) is not None:
        row.live += 1
        row.scores = tuple(map(add, row.scores, rules.weights.get(vote.voter, rules.default)[voted]))
    decide(row, rules, record.offset, verdict is not None and _may_turn(key, row, rules))
    if row.credits is not credits or row.verdict != verdict or row.label != label:
        if stood is not None:
            note(state, key, row, rules, stood)
        told = standing_as(row, Said(verdict, label, credits, unsure_votes), len(row.votes) - 1)
        return difference(Change(key, row, rules, row.revision, told, standing(row), "voted"))
    judged = [] if not credits and row.golden is None else of_vote(key, row, standing(row), vote)
    if row.unsure_votes and row.unsure_votes != unsure_votes:
        return [requested(key, row, rules), *judged]
    return judged


# --- control records ---------------------------------------------------------------------------


def _apply_policy(state: ReviewState, record: Record, data: e.PolicyApplied) -> list[Effect]:
    """The open subjects and comparisons of a project or slice, as the new policy sees the votes that were already cast. With
    `redecide_since` also what was decided, one vote after another; with `undoes` as if that policy had never been."""
    if not state.control.policies.take(data, record.offset):
        return []
    state.control.forget(data.project)
    scope = (data.project, data.slice or "")
    began = None if data.undoes is None else state.control.policies.of(scope).began(data.undoes)
    if began is not None:
        effects = _decide_again(state, record, _touched_since(state, scope, began), began)
        return effects + preferences.decide_again(state, record, _compared(state, {scope}, {scope}), began)
    hour = None if data.redecide_since is None else unix_milliseconds(data.redecide_since) // HOUR_MILLISECONDS
    again = _revised_since(state, scope, hour)
    effects = _decide_again(state, record, again, NOWHERE)
    effects += _reconsider(state, record, [key for key in _of_scopes(state, {scope}) if key not in again], "policy")
    return effects + _compare_again(state, record, scope, hour)


def _revised_since(state: ReviewState, scope: Scope, hour: int | None) -> dict[str, None]:
    """Keys of what is decided again, in order: an editor's word and a withdrawal stand."""
    keys = [] if hour is None else _of_scopes(state, {scope}, {scope})
    return {key: None for key in keys if (row := state.rows[key]).revised >= (hour or 0) and not _is_settled(row)}


def _touched_since(state: ReviewState, scope: Scope, offset: int) -> list[str]:
    keys = _of_scopes(state, {scope}, {scope})
    return [key for key in keys if (row := state.rows[key]).offset >= offset and not row.withdrawn]


def _is_settled(row: Row) -> bool:
    return bool(row.withdrawn) or (row.verdict is not None and row.because == RULED)


def _decide_again(state: ReviewState, record: Record, keys: Iterable[str], start: int) -> list[Effect]:
    """These rows as the policy now in force had decided them, from what they stood for at an offset."""
    effects: list[Effect] = []
    for key in keys:
        row = state.rows[key]
        rules, before, stood = rules_in(state, row.project, row.slice), standing(row), stood_of(row)
        past = past_of(state, key, row.revision)
        base = UNDECIDED if start == NOWHERE else stood_at(row, past, start)
        decide_again(row, past, rules, record.offset, _may_turn(key, row, rules), start, base)
        note(state, key, row, rules, stood, by_policy=True)
        row.offset = record.offset
        state.touched[key] = None
        shown = as_decided(row, past, rules) if row.verdict is not None and row.reached < record.offset else None
        effects += difference(Change(key, row, rules, row.revision, before, standing(row), "policy", shown))
    return effects


def _compare_again(state: ReviewState, record: Record, scope: Scope, hour: int | None) -> list[Effect]:
    """The same for comparisons: those that were offered since an hour, and the others that are open."""
    known = {subject: row for subject, row in preferences.comparisons(state, scope[0])}
    again = {name for name, row in known.items() if hour is not None and row.offered_ms // HOUR_MILLISECONDS >= hour}
    compared = list(_compared(state, {scope}, {scope}))
    effects = preferences.decide_again(state, record, [one for one in compared if one[0] in again], NOWHERE)
    rest = [one for one in compared if one[0] not in again and known[one[0]].decision is None]
    return effects + preferences.reconsider(state, record, rest, "policy")


def _apply_skills(state: ReviewState, record: Record, data: e.SkillsEstimated) -> list[Effect] | Refusal:
    """The project's open subjects (or comparisons), and in a sweep also the decided ones, as the new weights see their votes."""
    refusal = misshapen(data)
    if refusal is not None:
        return refusal
    scopes = state.control.policies.scopes(data.project)
    before = {scope: _of_scope(state, *scope, data.task).model for scope in scopes}
    key = take_skills(state.shared, record.offset, data)
    if key is None:
        return []
    state.touched[key] = None
    state.control.forget(data.project)
    rules = {scope: _of_scope(state, *scope, data.task) for scope in scopes}
    concerned = {scope for scope in scopes if data.model in (before[scope], rules[scope].model)}
    if data.more or not concerned:
        return []
    swept = {scope for scope in concerned if data.sweep and rules[scope].policy.late_votes_reopen}
    if data.task == "review":
        return _reconsider(state, record, _of_scopes(state, concerned, swept), "skills")
    return preferences.reconsider(state, record, _compared(state, concerned, swept), "skills")


def _apply_clock(state: ReviewState, record: Record, data: e.ClockTicked) -> list[Effect]:
    """What is undecided past its project's deadline goes to an editor. The clock is looked at by the full hour."""
    hour = unix_milliseconds(data.until) // HOUR_MILLISECONDS
    if hour <= state.control.hour:
        return []
    state.control.hour = hour
    policies = state.control.policies
    scopes = [(project, "") for project in policies.of_projects] + list(policies.of_slices)
    hours = {scope: hours for scope in scopes if (hours := policies.of(scope).policy.deadline_hours)}
    if not hours:
        return []
    effects: list[Effect] = []
    for key in sorted(state.rows):
        row = state.rows[key]
        due = hours.get(policies.scope_of(row.project, row.slice))
        if due is not None and _is_open(row) and row.revised + due <= hour:
            effects += _overdue(state, record, key, row)
    return effects


def _overdue(state: ReviewState, record: Record, key: str, row: Row) -> list[Effect]:
    rules, before, stood = rules_in(state, row.project, row.slice), standing(row), stood_of(row)
    escalate(row, rules, record.offset, "deadline")
    note(state, key, row, rules, stood)
    row.offset = record.offset
    state.touched[key] = None
    return difference(Change(key, row, rules, row.revision, before, standing(row), "voted"))


def _is_open(row: Row) -> bool:
    return row.verdict is None and row.revision > 0 and not row.withdrawn


def _of_scopes(state: ReviewState, scopes: Set[Scope], decided: Set[Scope] = frozenset()) -> list[str]:
    """Keys of the open subjects of some scopes of one project, in order; and of those `decided` of all that have a text."""
    projects, scope_of = {project for project, _ in scopes}, state.control.policies.scope_of
    return [
        key
        for key in sorted(state.rows)
        if (row := state.rows[key]).project in projects
        and row.revision
        and (scope := scope_of(row.project, row.slice)) in scopes
        and (row.verdict is None or scope in decided)
    ]


def _compared(state: ReviewState, scopes: Set[Scope], decided: Set[Scope] = frozenset()) -> Iterator[tuple[str, Rules]]:
    """Comparisons of some scopes of one project, in order of their ids, with the rules for them."""
    scope_of = state.control.policies.scope_of
    for project in sorted({project for project, _ in scopes}):
        for subject, row in list(preferences.comparisons(state, project)):
            scope = scope_of(project, row.slice)
            if scope in scopes and (row.decision is None or scope in decided):
                yield subject, preferring_in(state, project, row.slice)


def _reconsider(state: ReviewState, record: Record, keys: Iterable[str], reason: str) -> list[Effect]:
    effects: list[Effect] = []
    for key in keys:
        row = state.rows[key]
        rules, before, stood = rules_in(state, row.project, row.slice), standing(row), stood_of(row)
        decide(row, rules, record.offset, may_turn=True, credit_unsure=reason == "skills")
        note(state, key, row, rules, stood, by_policy=reason == "policy")
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
