"""What each fact does to an assignment: to its subjects, people, policies and leases."""

from collections.abc import Callable
from typing import Any

from schemas import events as e
from schemas.identity import unix_milliseconds
from schemas.words import Origin
from streams.assignable import COMPARISON, Lease, Request, Vote
from streams.assignment import Assignment
from streams.projection import Record


def apply(all_: Assignment, record: Record) -> None:
    """Take in one record of any topic that it is fed; others mean nothing to it."""
    handler = _HANDLERS.get(type(record.event.data))
    if handler is not None:
        handler(all_, record, record.event.data)


def _received(all_: Assignment, record: Record, data: e.SubmissionReceived) -> None:
    name = record.event.subject
    row = all_.subject(name)
    if row.revision:
        return
    row.project, row.kind, row.slice, row.writer = data.project, data.kind, data.slice, data.writer
    row.prompt, row.revision, row.since_ms = data.prompt, 1, record.time_ms
    if data.kind == "completion" and data.prompt is not None:
        all_.depend(name, data.prompt)
    all_.refresh(name)


def _compared(all_: Assignment, record: Record, data: e.ComparisonOffered) -> None:
    name = record.event.subject
    row = all_.subject(name)
    if row.revision:
        return
    row.project, row.kind, row.slice, row.prompt = data.project, COMPARISON, data.slice, data.prompt
    row.left, row.right, row.revision, row.since_ms = data.left, data.right, 1, record.time_ms
    all_.depend(name, data.left, data.right)
    all_.refresh(name)


def _edited(all_: Assignment, record: Record, data: e.SubmissionEdited) -> None:
    row = all_.subject(record.event.subject)
    if not row.revision or data.revision != row.revision + 1 or row.kind == COMPARISON:
        return
    row.handled[data.editor] = row.revision
    row.revision, row.since_ms, row.editor, row.withdrawn = data.revision, record.time_ms, data.editor, False
    all_.refresh(record.event.subject)


def _withdrawn(all_: Assignment, record: Record, data: e.SubmissionWithdrawn) -> None:
    row = all_.subject(record.event.subject)
    if row.revision and row.first_time(record.event.id):
        row.withdrawn = True
        all_.refresh(record.event.subject)


def _voted(all_: Assignment, record: Record, data: e.VoteCast) -> None:
    _said(all_, record, data.voter, Vote(data.revision, data.label, data.reason is not None))


def _preferred(all_: Assignment, record: Record, data: e.PreferenceCast) -> None:
    _said(all_, record, data.annotator, Vote(1, data.choice, data.reason is not None))


def _said(all_: Assignment, record: Record, person: str, vote: Vote) -> None:
    row = all_.subject(record.event.subject)
    earlier = row.votes.get(person)
    if row.first_time(record.event.id) and (earlier is None or earlier.revision <= vote.revision):
        row.votes[person] = vote
        all_.refresh(record.event.subject)


def _retracted(all_: Assignment, record: Record, data: e.VoteRetracted) -> None:
    """Who takes a vote back is not asked again."""
    row = all_.subject(record.event.subject)
    vote = row.votes.get(data.voter)
    if row.first_time(record.event.id) and vote is not None and vote.revision == data.revision:
        del row.votes[data.voter]
        row.declined[data.voter] = max(data.revision, row.declined.get(data.voter, 0))
        all_.refresh(record.event.subject)


def _golden(all_: Assignment, record: Record, data: e.GoldenAnswerSet) -> None:
    row = all_.subject(record.event.subject)
    if row.first_time(record.event.id):
        row.golden = data.revision
        all_.refresh(record.event.subject)


def _ruled(all_: Assignment, record: Record, data: e.SubmissionRuled) -> None:
    _handled(all_, record, data.ruled_by, data.revision)


def _reopened_by(all_: Assignment, record: Record, data: e.SubmissionReopened) -> None:
    _handled(all_, record, data.reopened_by, data.revision)


def _handled(all_: Assignment, record: Record, editor: str, revision: int) -> None:
    row = all_.subject(record.event.subject)
    row.handled[editor] = max(revision, row.handled.get(editor, 0))
    all_.refresh(record.event.subject)


def _policy(all_: Assignment, record: Record, data: e.PolicyApplied) -> None:
    if not all_.policies.take(data, record.offset):
        return
    for name, row in all_.subjects.items():
        if row.project == data.project and data.slice in (None, row.slice):
            all_.refresh(name)


def _reached(all_: Assignment, record: Record, data: e.VerdictReached) -> None:
    _decided(all_, record, data.origin, (data.revision, data.verdict))


def _reopened(all_: Assignment, record: Record, data: e.VerdictReopened) -> None:
    _decided(all_, record, data.origin, None)


def _preference_reached(all_: Assignment, record: Record, data: e.PreferenceReached) -> None:
    _decided(all_, record, data.origin, (1, data.choice))


def _preference_reopened(all_: Assignment, record: Record, data: e.PreferenceReopened) -> None:
    _decided(all_, record, data.origin, None)


def _decided(all_: Assignment, record: Record, origin: Origin, verdict: tuple[int, str] | None) -> None:
    if all_.new(record, origin):
        row = all_.subject(record.event.subject)
        row.verdict, row.request = verdict, None
        all_.refresh(record.event.subject)


def _requested(all_: Assignment, record: Record, data: e.OverlapRequested) -> None:
    if not all_.new(record, data.origin):
        return
    row = all_.subject(record.event.subject)
    votes, confidence = data.votes_live + data.votes_needed, data.confidence_permille
    row.request = Request(data.revision, data.because, votes, data.votes_live, confidence, record.time_ms)
    all_.refresh(record.event.subject)


def _flagged(all_: Assignment, record: Record, data: e.AnnotatorFlagged) -> None:
    if all_.new(record, data.origin):
        all_.person(record.event.subject).flags.setdefault(data.project, {})[data.task, data.rule] = data.action


def _cleared(all_: Assignment, record: Record, data: e.AnnotatorCleared) -> None:
    if all_.new(record, data.origin):
        all_.person(record.event.subject).flags.get(data.project, {}).pop((data.task, data.rule), None)


def _enrolled(all_: Assignment, record: Record, data: e.AnnotatorEnrolled) -> None:
    all_.person(record.event.subject).enrolments[data.project] = data


def _desk_opened(all_: Assignment, record: Record, data: e.DeskOpened) -> None:
    all_.opened(record.partition, (data.generation, record.event.id))


def _granted(all_: Assignment, record: Record, data: e.LeaseGranted) -> None:
    # A lease under the id of one that is open would leave one of them without an end.
    if all_.counts(record.partition, data.desk) and record.event.id not in all_.leases:
        all_.grant(lease_of(record.event.id, record.event.subject, data))


def _ended(all_: Assignment, record: Record, data: e.LeaseEnded) -> None:
    if all_.counts(record.partition, data.desk):
        all_.end(data.lease, data.reason, record.time_ms)


def lease_of(id_: str, subject: str, data: e.LeaseGranted) -> Lease:
    until = unix_milliseconds(data.until)
    return Lease(id_, subject, data.project, data.annotator, data.revision, data.serves, until)


_Handler = Callable[[Assignment, Record, Any], None]

_HANDLERS: dict[type, _Handler] = {
    e.SubmissionReceived: _received,
    e.SubmissionEdited: _edited,
    e.SubmissionWithdrawn: _withdrawn,
    e.VoteCast: _voted,
    e.VoteRetracted: _retracted,
    e.ComparisonOffered: _compared,
    e.PreferenceCast: _preferred,
    e.GoldenAnswerSet: _golden,
    e.SubmissionRuled: _ruled,
    e.SubmissionReopened: _reopened_by,
    e.PolicyApplied: _policy,
    e.VerdictReached: _reached,
    e.VerdictReopened: _reopened,
    e.OverlapRequested: _requested,
    e.PreferenceReached: _preference_reached,
    e.PreferenceReopened: _preference_reopened,
    e.AnnotatorFlagged: _flagged,
    e.AnnotatorCleared: _cleared,
    e.AnnotatorEnrolled: _enrolled,
    e.DeskOpened: _desk_opened,
    e.LeaseGranted: _granted,
    e.LeaseEnded: _ended,
}
