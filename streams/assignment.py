"""assignment: facts about subjects, people and leases -> who may be handed what next.

It is fed each topic in its order, and the topics in any order among themselves; `choose` changes nothing that another
answer rests on. Times and chance come from the caller, so that a log and its questions give the same answers again.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby
from typing import Literal, NamedTuple

from schemas import events as e
from schemas.policy import Policy
from schemas.words import Origin
from streams.assignable import COMPARISON, Lease, Place, Pool, Serves, Subject
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

Opened = tuple[int, str]
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
        self.desks: dict[int, Opened] = {}
        #: Subjects with leases that something happened to since `endings` was asked.
        self.stirred: dict[str, None] = {}
        self._dependents: dict[str, list[str]] = {}
        self._origins: dict[tuple[str, int], Origins] = {}

    # --- facts ---------------------------------------------------------------------------------

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

    def erase(self, name: str, erased: bool = True) -> None:
        """Nobody can read the subject's text any more (or a later text of it again): nobody is handed it, nor what needs it."""
        row = self.subject(name)
        if row.erased != erased:
            row.erased = erased
            self.refresh(name)
            for other in self._dependents.get(name, ()):
                self.refresh(other)

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

    def opened(self, partition: int, desk: Opened) -> None:
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
        if not row.revision or row.withdrawn or row.erased:
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
        rows = [self.subjects.get(one) for one in before if one]
        return all(row is not None and row.approved and not row.erased for row in rows)

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
