"""assignment: facts about subjects, people and leases -> who may be handed what next.

It is fed each topic in its order, and the topics in any order among themselves; `choose` changes nothing that another
answer rests on. Times and chance come from the caller, so that a log and its questions give the same answers again.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby
from typing import Any, Literal, NamedTuple

from schemas import events as e
from schemas.identity import unix_milliseconds
from schemas.policy import Policy
from schemas.words import Origin
from streams.assignable import COMPARISON, Lease, Place, Pool, Request, Serves, Subject, Vote
from streams.candidates import LAST, Candidates, Rank
from streams.projection import Origins, Record, counts_first
from streams.weighing import Policies

Role = Literal["voter", "editor"]
KINDS = ("prompt", "completion", "context", COMPARISON)
_HARSHER = ("notify", "deprioritise", "restrict")


class Person:
    """What is known of one annotator."""

    __slots__ = ("enrolments", "flags", "leases")

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        #: By project: what they enrolled for, and by task and rule the action of what holds against them.
        self.enrolments: dict[str, e.AnnotatorEnrolled] = {}
        self.flags: dict[str, dict[tuple[str, str], str]] = {}

    def action(self, project: str) -> str | None:
        """The harshest thing that holds against them."""
        return max(self.flags.get(project, {}).values(), key=_HARSHER.index, default=None)


class Ask(NamedTuple):
    """What somebody wants to work on. Nothing named in `slices` or `kinds` means any; `targets`: approved texts by slice."""

    annotator: str
    role: Role = "voter"
    project: str | None = None
    slices: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    targets: Mapping[str, int] = {}


class Choice(NamedTuple):
    """A subject to be handed out, and for how long."""

    subject: str
    project: str
    revision: int
    serves: Serves
    lease_ms: int


#: Why somebody gets nothing. None of these says anything about control tasks.
Nothing = Literal["nothing_open", "nothing_for_you", "later", "restricted", "not_an_editor", "too_many"]
_FARTHEST: tuple[Nothing, ...] = ("not_an_editor", "nothing_open", "restricted", "later", "nothing_for_you")

Desk = tuple[int, str]
Slot = tuple[str, str]


class Assignment:
    """All that the desk knows. Whoever is served last gets only what has waited for `patience_ms`."""

    def __init__(self, patience_ms: int = 600_000) -> None:
        self.patience_ms = patience_ms
        self.subjects: dict[str, Subject] = {}
        self.people: dict[str, Person] = {}
        self.leases: dict[str, Lease] = {}
        #: Policies in force; by project, pool, kind and slice who waits; approved texts by slice.
        self.policies = Policies()
        self.waiting: dict[tuple[str, Pool], dict[Slot, Candidates]] = {}
        self.stock: dict[tuple[str, str], int] = {}
        #: Partition of the leases' topic -> the desk whose leases count there.
        self.desks: dict[int, Desk] = {}
        #: Subjects with leases that something happened to since `endings` was asked.
        self.stirred: dict[str, None] = {}
        self._dependents: dict[str, list[str]] = {}
        self._origins: dict[tuple[str, int], Origins] = {}

    # --- facts ---------------------------------------------------------------------------------

    def apply(self, record: Record) -> None:
        """Take in one record of any topic that it is fed; others mean nothing to it."""
        handler = _HANDLERS.get(type(record.event.data))
        if handler is not None:
            handler(self, record, record.event.data)

    def subject(self, name: str) -> Subject:
        row = self.subjects.get(name)
        if row is None:
            row = self.subjects[name] = Subject()
        return row

    def person(self, name: str) -> Person:
        one = self.people.get(name)
        if one is None:
            one = self.people[name] = Person()
        return one

    def policy(self, row: Subject) -> Policy:
        """The one that decides about this subject."""
        return self.policies.of(self.policies.scope_of(row.project, row.slice)).policy

    def new(self, record: Record, origin: Origin) -> bool:
        """Whether a derived fact was not here yet."""
        return counts_first(self._origins.setdefault((record.event.source, record.partition), {}), origin)

    def depend(self, name: str, *on: str) -> None:
        for one in on:
            self._dependents.setdefault(one, []).append(name)

    # --- leases --------------------------------------------------------------------------------

    def grant(self, lease: Lease) -> None:
        row = self.subject(lease.subject)
        row.leases[lease.id] = self.leases[lease.id] = self.person(lease.annotator).leases[lease.id] = lease
        if lease.serves == "control":
            row.controlled.add(lease.annotator)
        self.refresh(lease.subject)

    def end(self, lease_id: str, reason: str, time_ms: int) -> None:
        lease = self.leases.pop(lease_id, None)
        if lease is None:
            return
        row = self.subject(lease.subject)
        del row.leases[lease_id], self.person(lease.annotator).leases[lease_id]
        if reason == "released":
            row.declined[lease.annotator] = max(lease.revision, row.declined.get(lease.annotator, 0))
        if reason in ("released", "expired"):
            row.freed_ms = max(row.freed_ms, time_ms)
        self.refresh(lease.subject)
        if row.place is not None and reason in ("expired", "moot"):
            self._candidates(row.place).forget(lease.annotator)

    def opened(self, partition: int, desk: Desk) -> None:
        self.desks[partition] = max(desk, self.desks.get(partition, desk))

    def counts(self, partition: int, desk_id: str) -> bool:
        """Whether this desk's leases count from here on."""
        return partition in self.desks and self.desks[partition][1] == desk_id

    def endings(self) -> Iterator[tuple[Lease, Literal["done", "moot"]]]:
        """Leases that hold no longer by what happened since this was asked last."""
        stirred, self.stirred = self.stirred, {}
        for name in stirred:
            row = self.subjects[name]
            for lease in list(row.leases.values()):
                if (reason := row.over(lease)) is not None:
                    yield lease, reason

    # --- who waits where -----------------------------------------------------------------------

    def refresh(self, name: str) -> None:
        """Put a subject where it belongs after anything about it changed, and those that wait for its approval."""
        row = self.subjects[name]
        if row.leases:
            self.stirred[name] = None
        self._put(row, self._place_of(name, row))
        if row.approved != row.stocked:
            row.stocked = row.approved
            at = (row.project, row.slice)
            self.stock[at] = self.stock.get(at, 0) + (1 if row.stocked else -1)
            for other in self._dependents.get(name, ()):
                self.refresh(other)

    def _put(self, row: Subject, place: Place | None) -> None:
        old, row.place = row.place, place
        if old == place:
            return
        if old is not None:
            candidates = self._candidates(old)
            candidates.wanted[min(old.wants, 3) - 1] -= 1
            if place is None or place[:5] != old[:5]:
                candidates.remove(old.rank)
        if place is not None:
            candidates = self._candidates(place)
            candidates.wanted[min(place.wants, 3) - 1] += 1
            if old is None or place[:5] != old[:5]:
                candidates.add(place.rank)

    def _candidates(self, place: Place) -> Candidates:
        slots = self.waiting.setdefault((place.project, place.pool), {})
        found = slots.get((place.kind, place.slice))
        if found is None:
            found = slots[place.kind, place.slice] = Candidates()
        return found

    def _place_of(self, name: str, row: Subject) -> Place | None:
        if not row.revision or row.withdrawn:
            return None
        if row.to_edit():
            rank = (0 if row.decided == "escalated" else 1, 0, row.since_ms, name)
            editing = any(lease.serves == "edit" for lease in row.leases.values())
            return None if editing else Place(row.project, "edit", row.kind, row.slice, rank, 1)
        if not self._is_due(row):
            return None
        if row.is_golden:
            return Place(row.project, "control", row.kind, row.slice, (0, 0, row.since_ms, name), 1)
        policy = self.policy(row)
        free = row.wanted(policy) - row.live(policy) - row.held()
        return Place(row.project, "vote", row.kind, row.slice, row.rank(name, policy), free) if free > 0 else None

    def _is_due(self, row: Subject) -> bool:
        """Prompts come first, then the completions of approved ones, then comparisons of approved completions."""
        before = (row.left, row.right) if row.kind == COMPARISON else (row.prompt,) if row.kind == "completion" else ()
        return all(one in self.subjects and self.subjects[one].approved for one in before if one)

    # --- choosing ------------------------------------------------------------------------------

    def held_by(self, ask: Ask) -> list[Lease]:
        """The open leases that answer this question already, oldest first."""
        one = self.people.get(ask.annotator) or _NOBODY
        return [lease for lease in one.leases.values() if self._asked(ask, lease)]

    def open_leases(self, annotator: str) -> int:
        return len((self.people.get(annotator) or _NOBODY).leases)

    def _asked(self, ask: Ask, lease: Lease) -> bool:
        if (lease.serves == "edit") != (ask.role == "editor") or ask.project not in (None, lease.project):
            return False
        row = self.subjects[lease.subject]
        return (not ask.slices or row.slice in ask.slices) and (not ask.kinds or row.kind in ask.kinds)

    def choose(self, ask: Ask, draw: int, now_ms: int) -> Choice | Nothing:
        """What to hand out next, or why there is nothing. `draw`, any number that the person cannot foresee, says whether
        a control task is served."""
        projects = sorted({project for project, _ in self.waiting}) if ask.project is None else [ask.project]
        why: Nothing = _FARTHEST[0] if projects else "nothing_open"
        for project in projects:
            found = self._choose_in(project, ask, draw, now_ms)
            if isinstance(found, Choice):
                return found
            why = _FARTHEST[max(_FARTHEST.index(why), _FARTHEST.index(found))]
        return why

    def _choose_in(self, project: str, ask: Ask, draw: int, now_ms: int) -> Choice | Nothing:
        one = self.people.get(ask.annotator) or _NOBODY
        enrolled, action = one.enrolments.get(project), one.action(project)
        if action == "restrict":
            return "restricted"
        if ask.role == "editor" and (enrolled is None or not enrolled.edits):
            return "not_an_editor"
        pool: Pool = "edit" if ask.role == "editor" else "vote"
        slots = self._slots(project, pool, ask, enrolled)
        if not slots:
            return "nothing_open"
        until = now_ms - self.patience_ms if action == "deprioritise" else None
        name = self._first(project, slots, ask, until)
        if name is None:
            return "nothing_for_you" if until is None else "later"
        return self._chosen(name if ask.role == "editor" else self._or_control(name, ask, draw, enrolled), ask)

    def _slots(self, project: str, pool: Pool, ask: Ask, enrolled: e.AnnotatorEnrolled | None) -> dict[Slot, Candidates]:
        """Where somebody waits for this person."""
        return {
            (kind, slice_): candidates
            for (kind, slice_), candidates in self.waiting.get((project, pool), {}).items()
            if candidates
            and (not ask.kinds or kind in ask.kinds)
            and (not ask.slices or slice_ in ask.slices)
            and (enrolled is None or suits(enrolled, slice_))
        }

    def _first(self, project: str, slots: Mapping[Slot, Candidates], ask: Ask, until: int | None) -> str | None:
        """The most urgent subject that is open to this person, of the emptiest slices."""
        is_open = self._open_to(ask, until)

        def emptiness(slot: Slot) -> int:
            return _fullness(self.stock.get((project, slot[1]), 0), ask.targets.get(slot[1]))

        for _, alike in groupby(sorted(slots, key=emptiness), emptiness):
            best: Rank = LAST
            heads = ((slots[slot].head(ask.annotator), slots[slot]) for slot in alike)
            for head, candidates in sorted(heads, key=_rank_of):
                if head >= best:
                    break
                best = min(
                    best,
                    candidates.first(ask.annotator, is_open)
                    if until is None
                    else candidates.first_of_few(ask.annotator, is_open),
                )
            if best < LAST:
                return best[-1]
        return None

    def _open_to(self, ask: Ask, until: int | None) -> Callable[[str], bool]:
        def is_open(name: str) -> bool:
            row = self.subjects[name]
            if ask.role == "editor":
                return not row.closed_to_editor(ask.annotator) and (until is None or row.waits_since() <= until)
            return not self._is_closed(row, ask.annotator) and (until is None or row.waits_since() <= until)

        return is_open

    def _is_closed(self, row: Subject, person: str) -> bool:
        if row.closed_to(person):
            return True
        compared = (self.subjects[one] for one in (row.left, row.right) if one in self.subjects)
        return any(person in (one.writer, one.editor) for one in compared)

    def _or_control(self, name: str, ask: Ask, draw: int, enrolled: e.AnnotatorEnrolled | None) -> str:
        """This subject, or in its stead a control task: of its kind and slice where there is one."""
        row = self.subjects[name]
        if draw % 1_000 >= self.policy(row).control_share_permille:
            return name

        def is_open(golden: str) -> bool:
            one = self.subjects[golden]
            return ask.annotator not in one.controlled and not self._is_closed(one, ask.annotator)

        slots = self._slots(row.project, "control", ask, enrolled)
        for _, candidates in sorted(slots.items(), key=lambda slot: (slot[0] != (row.kind, row.slice), slot[0])):
            found = candidates.turned(draw // 1_000, is_open)
            if found < LAST:
                return found[-1]
        return name

    def _chosen(self, name: str, ask: Ask) -> Choice:
        row = self.subjects[name]
        serves: Serves = "edit" if ask.role == "editor" else "control" if row.is_golden else row.serves()
        return Choice(name, row.project, row.revision, serves, self.policy(row).lease_seconds * 1_000)


_NOBODY = Person()


def drawn(desk: str, lease: str) -> int:
    """A number that follows from the log, and that nobody knows to whom only the lease's id was told."""
    return int.from_bytes(blake2b(lease.encode(), key=desk.encode(), digest_size=7).digest(), "big")


def suits(enrolled: e.AnnotatorEnrolled, slice_: str) -> bool:
    named = (enrolled.languages, enrolled.domains, enrolled.skills)
    return all(not some or part in some for some, part in zip(named, slice_.split("/"), strict=True))


def _fullness(stock: int, target: int | None) -> int:
    """Permille of the target; slices without one come after those that lack something, and before the full."""
    if target is None:
        return 1_000
    return min(999, stock * 1_000 // target) if stock < target else 1_001


def _rank_of(head: tuple[Rank, Candidates]) -> Rank:
    return head[0]


# --- what each fact does -----------------------------------------------------------------------


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
