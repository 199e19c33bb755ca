"""review: revisions, votes and checks of a submission -> its verdict, and what follows from it.

Every event changes a submission's row; what the row then stands for (`Standing`) is compared with what it stood
for before, and the difference is the effects. So a verdict turned over takes back exactly what it had said.
"""

from collections.abc import Callable
from itertools import islice
from sys import intern
from typing import Any, NamedTuple

from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.policy import Policy
from schemas.topics import EVENTS, JUDGEMENTS, SLICES, VERDICTS
from schemas.words import Verdict
from streams.projection import Effect, Json, Record, Refusal, State, Step, effect, maker
from streams.weights import milli_nats

#: Events that one submission may have. Beyond it they are refused, so that a row stays within a Kafka message.
MAX_EVENTS_PER_SUBMISSION = 5_000

HOUR_MILLISECONDS = 3_600_000


class Vote(NamedTuple):
    """A live vote: the last that this voter cast on this revision."""

    voter: str
    good: int
    revision: int
    offset: int
    hour: int
    milliseconds: int | None


_made_vote = maker(Vote)


class Analysis(NamedTuple):
    """What was recorded about a revision's text."""

    revision: int
    model: str
    words: int
    embedding: str


class Row:
    """All that the fold keeps about one submission. `revision` 0: votes came before the submission itself."""

    __slots__ = (
        "analysis", "decided_under", "events", "golden", "good", "hour", "kind", "live", "log_odds", "offset", "project",
        "prompt", "reached", "revision", "seen", "slice", "unsure_votes", "verdict", "votes", "withdrawn", "writer",
    )  # fmt: skip

    def __init__(self) -> None:
        self.offset = -1
        self.project = ""
        self.kind = ""
        self.writer = ""
        self.slice = ""
        self.prompt: str | None = None
        self.revision = 0
        self.hour = 0
        self.withdrawn = 0
        #: Each voter's vote on the newest revision that they voted on; `live` and `good` count those that count.
        self.votes: dict[str, Vote] = {}
        self.live = 0
        self.good = 0
        self.golden: tuple[int, Verdict] | None = None
        self.analysis: Analysis | None = None
        self.verdict: Verdict | None = None
        #: Offset of the record that decided, and the policy version it was decided under.
        self.reached = -1
        self.decided_under = 0
        self.log_odds = 0
        #: Live votes when more were asked for; 0 while nothing is asked.
        self.unsure_votes = 0
        #: How many events were folded, and `id:checksum ` of each: one string, where a list of ids would be
        #: half of the memory of all rows.
        self.events = 0
        self.seen = ""


class Rules(NamedTuple):
    """A policy as the fold uses it."""

    version: int
    policy: Policy
    weight: int
    approve: int
    reject: int


class Standing(NamedTuple):
    """What a row says to the world; its judgements follow from the verdict, the golden answer and the votes.

    `votes` is the row's own dict, of which the first `known` count: votes are only ever added to it, and where one
    is replaced or taken out the row gets a new dict.
    """

    verdict: Verdict | None
    unsure_votes: int
    golden: Verdict | None
    analysis: Analysis | None
    votes: dict[str, Vote]
    known: int


Control = dict[str, Rules]
ReviewState = State[Row, Control]
ReviewStep = Step[Row, Control]
_step: Callable[[tuple[Any, ...]], ReviewStep] = maker(Step)

NOTHING = Standing(None, 0, None, None, {}, 0)


def rules_of(version: int, policy: Policy) -> Rules:
    return Rules(
        version,
        policy,
        milli_nats(policy.voter_accuracy_permille),
        milli_nats(policy.approve_confidence_permille),
        milli_nats(policy.reject_confidence_permille),
    )


DEFAULT_RULES = rules_of(0, Policy())


# --- deciding ----------------------------------------------------------------------------------


def counts(row: Row, vote: Vote) -> bool:
    """Votes count on the current revision, and not by its writer."""
    return vote.revision == row.revision and vote.voter != row.writer


def recount(row: Row) -> None:
    counted = [vote.good for vote in row.votes.values() if counts(row, vote)]
    row.live, row.good = len(counted), sum(counted)


def decide(row: Row, rules: Rules, offset: int, may_turn: bool) -> None:
    """Set the row's verdict from its votes. `may_turn`: a verdict that they contradict does not stand."""
    live, policy = row.live, rules.policy
    row.log_odds = odds = (2 * row.good - live) * rules.weight
    row.unsure_votes = 0
    if row.verdict is not None and (not may_turn or _still_supported(row.verdict, odds, live, policy)):
        return
    row.verdict = None
    if row.withdrawn or not row.revision or live < policy.overlap_min:
        return
    row.verdict = _verdict(odds, live, rules)
    if row.verdict is None:
        row.unsure_votes = live
    else:
        row.reached, row.decided_under = offset, rules.version


def _verdict(odds: int, live: int, rules: Rules) -> Verdict | None:
    if odds >= rules.approve:
        return "approved"
    if odds <= -rules.reject:
        return "rejected"
    return "escalated" if live >= rules.policy.overlap_max else None


def _still_supported(verdict: Verdict, odds: int, live: int, policy: Policy) -> bool:
    """A tie contradicts nobody; an escalation stands until the votes lean to one side."""
    if live < policy.overlap_min:
        return False
    return odds >= 0 if verdict == "approved" else odds <= 0 if verdict == "rejected" else odds == 0


# --- what a row says to the world --------------------------------------------------------------

_LABELS = ("bad", "good")
#: Verdicts that say who was right; an escalation does not.
_DECIDED = ("approved", "rejected")


def standing(row: Row) -> Standing:
    return _standing(row, row.verdict, row.unsure_votes, len(row.votes))


def _standing(row: Row, verdict: Verdict | None, unsure_votes: int, known: int) -> Standing:
    """The row's standing, were these its verdict, its call for votes, and the number of its votes."""
    analysis = row.analysis
    in_slice = verdict == "approved" and analysis is not None and analysis.revision == row.revision
    return Standing(verdict, unsure_votes, _golden_now(row), analysis if in_slice else None, row.votes, known)


def _golden_now(row: Row) -> Verdict | None:
    return row.golden[1] if row.golden is not None and row.golden[0] == row.revision else None


_VERDICT_REACHED = TYPE_OF[e.VerdictReached]
_VERDICT_REOPENED = TYPE_OF[e.VerdictReopened]
_OVERLAP_REQUESTED = TYPE_OF[e.OverlapRequested]
_JUDGEMENT_SCORED = TYPE_OF[e.JudgementScored]
_SLICE_ENTERED = TYPE_OF[e.SliceEntered]
_SLICE_LEFT = TYPE_OF[e.SliceLeft]


class _Change(NamedTuple):
    """One row between two standings; `revision` is the one that `before` spoke of."""

    key: str
    row: Row
    revision: int
    before: Standing
    after: Standing
    reason: str


def _difference(change: _Change) -> list[Effect]:
    """The facts that turn what was said into what is now said: first what is taken back, then what is new."""
    before, after = change.before, change.after
    if before == after:
        return []
    effects: list[Effect] = []
    if before.verdict != after.verdict:
        if before.verdict is not None:
            effects.append(_reopened(change, before.verdict))
        if after.verdict is not None:
            effects.append(_reached(change, after.verdict))
    if after.unsure_votes and before.unsure_votes != after.unsure_votes:
        effects.append(_requested(change.key, change.row))
    effects += _judged(change)
    if before.analysis != after.analysis:
        if before.analysis is not None:
            effects.append(_sliced(change, _SLICE_LEFT, before.analysis))
        if after.analysis is not None:
            effects.append(_sliced(change, _SLICE_ENTERED, after.analysis))
    return effects


def _reopened(change: _Change, verdict: Verdict) -> Effect:
    data: Json = {"project": change.row.project, "revision": change.revision, "verdict": verdict, "reason": change.reason}
    return effect((VERDICTS.name, change.key, _VERDICT_REOPENED, data))


def _reached(change: _Change, verdict: Verdict) -> Effect:
    row = change.row
    data: Json = {
        "project": row.project,
        "revision": row.revision,
        "verdict": verdict,
        "policy_version": row.decided_under,
        "log_odds_milli_nats": row.log_odds,
        "good_votes": row.good,
        "bad_votes": row.live - row.good,
        "decided_by": sorted([vote.offset for vote in row.votes.values() if counts(row, vote)])[:1_000],
    }
    return effect((VERDICTS.name, change.key, _VERDICT_REACHED, data))


def _requested(key: str, row: Row) -> Effect:
    data: Json = {
        "project": row.project,
        "revision": row.revision,
        "votes_needed": 1,
        "votes_live": row.unsure_votes,
        "log_odds_milli_nats": row.log_odds,
    }
    return effect((VERDICTS.name, key, _OVERLAP_REQUESTED, data))


# --- judgements --------------------------------------------------------------------------------


def judgements(key: str, row: Row, said: Standing) -> list[Effect]:
    """What this standing says about the writer and about each voter whose vote counts."""
    if said.verdict not in _DECIDED and said.golden is None:
        return []
    made: list[Effect] = []
    if said.verdict in _DECIDED:
        made.append(_of_writer(key, row, said.verdict))
    for vote in islice(said.votes.values(), said.known):
        made += _of_vote(key, row, said.verdict, said.golden, vote)
    return made


def _judged(change: _Change) -> list[Effect]:
    """Judgements taken back, then judgements made."""
    key, row = change.key, change.row
    old, new = judgements(key, row, change.before), judgements(key, row, change.after)
    if not old:
        return new
    gone = [one._replace(data={**one.data, "change": -1}) for one in old if one not in new]
    return gone + [one for one in new if one not in old]


def _of_writer(key: str, row: Row, outcome: str) -> Effect:
    data: Json = {
        "project": row.project,
        "role": "writer",
        "outcome": outcome,
        "change": 1,
        "submission": key,
        "revision": row.revision,
        "hour": row.hour,
    }
    return effect((JUDGEMENTS.name, row.writer, _JUDGEMENT_SCORED, data))


def _of_vote(key: str, row: Row, verdict: Verdict | None, golden: Verdict | None, vote: Vote) -> list[Effect]:
    if not counts(row, vote):
        return []
    made: list[Effect] = []
    if verdict in _DECIDED:
        agreed = _of_voter(key, row, vote, "agreed" if vote.good == (verdict == "approved") else "disagreed")
        agreed.data["verdict"] = verdict
        made.append(agreed)
    if golden is not None:
        made.append(_of_voter(key, row, vote, "golden_right" if vote.good == (golden == "approved") else "golden_wrong"))
    return made


def _of_voter(key: str, row: Row, vote: Vote, outcome: str) -> Effect:
    data: Json = {
        "project": row.project,
        "role": "voter",
        "outcome": outcome,
        "change": 1,
        "submission": key,
        "revision": row.revision,
        "hour": vote.hour,
        "label": _LABELS[vote.good],
    }
    if vote.milliseconds is not None:
        data["duration_milliseconds"] = vote.milliseconds
    return effect((JUDGEMENTS.name, vote.voter, _JUDGEMENT_SCORED, data))


def _sliced(change: _Change, type_: str, analysis: Analysis) -> Effect:
    row = change.row
    data: Json = {
        "project": row.project,
        "submission": change.key,
        "revision": analysis.revision,
        "kind": row.kind,
        "writer": row.writer,
        "model": analysis.model,
        "words": analysis.words,
        "embedding": analysis.embedding,
    }
    return effect((SLICES.name, row.slice, type_, data))


# --- what each event does to a row -------------------------------------------------------------


def _received(row: Row, record: Record, data: e.SubmissionReceived) -> Refusal | None:
    if row.revision:
        return Refusal("received_twice", "the submission was already received under another event id")
    row.project, row.kind, row.writer, row.slice = intern(data.project), data.kind, intern(data.writer), intern(data.slice)
    row.prompt, row.revision, row.hour = data.prompt, 1, record.time_ms // HOUR_MILLISECONDS
    recount(row)
    return None


def _edited(row: Row, record: Record, data: e.SubmissionEdited) -> Refusal | None:
    if not row.revision:
        return Refusal("edited_before_received", "no such submission stands before this edit")
    if data.revision != row.revision + 1:
        return Refusal("revision_out_of_turn", f"revision {data.revision} does not follow revision {row.revision}")
    row.revision, row.verdict, row.withdrawn = data.revision, None, 0
    recount(row)
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
    good = 1 if data.label == "good" else 0
    # Voters are few and votes are many: one string for each voter saves half of a row's memory.
    voter, hour = intern(data.voter), record.time_ms // HOUR_MILLISECONDS
    return _made_vote((voter, good, data.revision, record.offset, hour, data.duration_milliseconds))


def _voted(row: Row, record: Record, data: e.VoteCast) -> Refusal | None:
    vote, earlier = _vote(record, data), row.votes.get(data.voter)
    if earlier is None or earlier.revision <= vote.revision:
        row.votes = {**row.votes, vote.voter: vote}
        recount(row)
    return None


def _retracted(row: Row, record: Record, data: e.VoteRetracted) -> Refusal | None:
    row.votes = {voter: vote for voter, vote in row.votes.items() if voter != data.voter or vote.revision != data.revision}
    recount(row)
    return None


def _golden(row: Row, record: Record, data: e.GoldenAnswerSet) -> Refusal | None:
    row.golden = (data.revision, data.verdict)
    return None


_Handler = Callable[[Row, Record, Any], Refusal | None]

HANDLERS: dict[type, _Handler] = {
    e.SubmissionReceived: _received,
    e.SubmissionEdited: _edited,
    e.SubmissionWithdrawn: _withdrawn,
    e.SubmissionAnalysed: _analysed,
    e.VoteCast: _voted,
    e.VoteRetracted: _retracted,
    e.GoldenAnswerSet: _golden,
}

#: Why an earlier verdict no longer stands, by what happened. After these its judgements stay: they were about
#: an earlier revision, or about a text that is gone.
_SETTLED: dict[type, str] = {e.SubmissionEdited: "edited", e.SubmissionWithdrawn: "withdrawn"}
#: After a retraction a verdict must be supported again; after a vote only where the policy says so.
_REASONS: dict[type, str] = {e.VoteCast: "voted", e.VoteRetracted: "retracted"}


class Review:
    """The projection of `assay.events.v1` by submission."""

    name = "review"
    version = 2
    source = EVENTS

    def empty(self) -> ReviewState:
        return State(control={})

    def apply(self, state: ReviewState, record: Record) -> ReviewStep:
        if record.offset <= state.position:
            return Step(state, [])
        state.position = record.offset
        data = record.event.data
        if type(data) is e.PolicyApplied:
            return _apply_policy(state, record, data)
        handler = HANDLERS.get(type(data))
        return Step(state, []) if handler is None else _apply_to_row(state, record, data, handler)

    def pack(self, row: Row) -> list[Any]:
        """In the order of `Row`'s fields; an object would name them a million times, at twice the bytes and time."""
        return [
            row.offset,
            row.project,
            row.kind,
            row.writer,
            row.slice,
            row.prompt,
            row.revision,
            row.hour,
            row.withdrawn,
            [tuple(vote) for vote in row.votes.values()],
            row.live,
            row.good,
            row.golden,
            None if row.analysis is None else tuple(row.analysis),
            row.verdict,
            row.reached,
            row.decided_under,
            row.log_odds,
            row.unsure_votes,
            row.events,
            row.seen,
        ]

    def unpack(self, packed: list[Any]) -> Row:
        row = Row.__new__(Row)
        (
            row.offset,
            row.project,
            row.kind,
            row.writer,
            row.slice,
            row.prompt,
            row.revision,
            row.hour,
            row.withdrawn,
            votes,
            row.live,
            row.good,
            golden,
            analysis,
            row.verdict,
            row.reached,
            row.decided_under,
            row.log_odds,
            row.unsure_votes,
            row.events,
            row.seen,
        ) = packed
        row.votes = {
            (name := intern(voter)): _made_vote((name, good, revision, offset, hour, milliseconds))
            for voter, good, revision, offset, hour, milliseconds in votes
        }
        row.golden = None if golden is None else (golden[0], golden[1])
        row.analysis = None if analysis is None else Analysis(*analysis)
        return row

    def pack_control(self, control: Control) -> Json:
        return {project: [rules.version, rules.policy.model_dump()] for project, rules in sorted(control.items())}

    def unpack_control(self, packed: Json) -> Control:
        return {project: rules_of(version, Policy(**policy)) for project, (version, policy) in packed.items()}


def _apply_to_row(state: ReviewState, record: Record, data: Any, handler: _Handler) -> ReviewStep:
    event = record.event
    subject = event.subject
    row = state.rows.get(subject)
    if row is None:
        return _apply_to_new(state, record, handler)
    if event.id in row.seen:
        return Step(state, [], _same_id(row, record))
    if row.events >= MAX_EVENTS_PER_SUBMISSION:
        return Step(state, [], _TOO_MANY)
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
    row.seen += _mark(record)
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
    row.offset, row.events, row.seen = record.offset, 1, _mark(record)
    return Step(state, [_of_writer(subject, row, "submitted")] if row.revision else [])


_TOO_MANY = Refusal("too_many_events", f"more than {MAX_EVENTS_PER_SUBMISSION} events on one submission")


def _mark(record: Record) -> str:
    return f"{record.event.id}:{record.digest:x} "


def _same_id(row: Row, record: Record) -> Refusal | None:
    """The same id twice is one event; the same id with another body is refused."""
    if _mark(record) in row.seen:
        return None
    return Refusal("id_reused", "the same id with another body")


def _settle(state: ReviewState, record: Record, row: Row, revision: int, before: Standing) -> list[Effect]:
    """Decide the row anew, and say what changed."""
    key, kind = record.event.subject, type(record.event.data)
    rules = state.control.get(row.project, DEFAULT_RULES)
    may_turn = kind is e.VoteRetracted or bool(rules.policy.late_votes_reopen)
    decide(row, rules, record.offset, may_turn)
    after = standing(row)
    settled = _SETTLED.get(kind)
    if settled is not None:
        # Judgements stay: only the verdict and the place in the slice are taken back.
        spoken = before._replace(verdict=None)
        effects = [_reopened(_Change(key, row, revision, before, NOTHING, settled), before.verdict)] if before.verdict else []
        if row.revision == revision:
            # A withdrawn text keeps its golden answer, which has been said already.
            return effects + _difference(_Change(key, row, revision, spoken, after, settled))
        spoken = spoken._replace(known=0, golden=None)
        effects += _difference(_Change(key, row, revision, spoken, NOTHING, settled))
        return effects + _difference(_Change(key, row, row.revision, NOTHING, after, settled))
    change = _Change(key, row, row.revision, before, after, _REASONS.get(kind, "voted"))
    if kind is e.SubmissionReceived:
        return [_of_writer(key, row, "submitted"), *_difference(change)]
    return _difference(change)


def _first_vote(state: ReviewState, key: str, record: Record, row: Row, data: e.VoteCast) -> list[Effect]:
    """A voter's first vote on the row, as nearly every event is one: only what a vote can change is looked at."""
    vote, verdict, unsure_votes = _vote(record, data), row.verdict, row.unsure_votes
    row.votes[vote.voter] = vote
    if counts(row, vote):
        row.live += 1
        row.good += vote.good
    rules = state.control.get(row.project, DEFAULT_RULES)
    decide(row, rules, record.offset, bool(rules.policy.late_votes_reopen))
    if row.verdict != verdict:
        before = _standing(row, verdict, unsure_votes, len(row.votes) - 1)
        return _difference(_Change(key, row, row.revision, before, standing(row), "voted"))
    judged = [] if verdict is None and row.golden is None else _of_vote(key, row, verdict, _golden_now(row), vote)
    if row.unsure_votes and row.unsure_votes != unsure_votes:
        return [_requested(key, row), *judged]
    return judged


def _apply_policy(state: ReviewState, record: Record, data: e.PolicyApplied) -> ReviewStep:
    """The project's open subjects, in key order, as the new policy sees the votes that were already cast."""
    if data.version <= state.control.get(data.project, DEFAULT_RULES).version:
        return Step(state, [])
    rules = state.control[data.project] = rules_of(data.version, data.policy)
    effects: list[Effect] = []
    for key in sorted(state.rows):
        row = state.rows[key]
        if row.project == data.project and row.verdict is None and row.revision:
            effects += _reconsider(state, record, key, row, rules)
    return Step(state, effects)


def _reconsider(state: ReviewState, record: Record, key: str, row: Row, rules: Rules) -> list[Effect]:
    before = standing(row)
    decide(row, rules, record.offset, may_turn=True)
    row.offset = record.offset
    state.touched[key] = None
    return _difference(_Change(key, row, row.revision, before, standing(row), "policy"))


REVIEW = Review()
