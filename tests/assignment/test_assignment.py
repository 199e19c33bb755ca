"""The desk's state as a pure structure: what must hold of every choice, whatever was told and asked before.

The rules are written here a second time, over the raw list of what happened, by code that shares nothing with it.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events as e
from schemas.events import AnyEvent
from schemas.identity import unix_milliseconds
from schemas.words import Frozen
from streams.assignable import Lease
from streams.assigning import apply
from streams.assignment import Ask, Assignment, Choice
from streams.candidates import LAST, Candidates, Rank
from streams.projection import Record
from tests.assignment.worlds import (
    SLICE,
    START,
    applied,
    cleared,
    enrolled,
    event,
    flagged,
    golden,
    reached,
    received,
    requested,
    vote,
)

PEOPLE = ("anna", "ben", "chloe", "dev", "wendy")
SUBJECTS = ("s-1", "s-2", "s-3")
NOW = unix_milliseconds(START) + 86_400_000
LATER = 10**15


def record(said: AnyEvent, offset: int = 0, partition: int = 0) -> Record:
    return Record(partition, offset, 0, unix_milliseconds(said.time), said)


def told(*facts: tuple[str, Frozen], into: Assignment | None = None) -> Assignment:
    """A desk's state that was told these facts, a second apart."""
    state = into or Assignment()
    for number, (subject, data) in enumerate(facts):
        apply(state, record(event(subject, data, number)))
    return state


def subject_for(state: Assignment, person: str, draw: int = 999, now: int = NOW, **wish: Any) -> str:
    """What this person would get, or why nothing."""
    found = state.choose(Ask(person, **wish), draw, now)
    return found.subject if isinstance(found, Choice) else found


def hand_out(state: Assignment, person: str, number: int, draw: int = 999) -> Lease | None:
    found = state.choose(Ask(person), draw, NOW)
    if not isinstance(found, Choice):
        return None
    lease = Lease(f"l-{number}", found.subject, found.project, person, found.revision, found.serves, NOW + found.lease_ms)
    state.grant(lease)
    return lease


# --- any history -------------------------------------------------------------------------------

ACTIONS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(PEOPLE), st.integers(0, 999)),
    st.tuples(st.just("ask"), st.sampled_from(PEOPLE), st.integers(0, 999)),
    st.tuples(st.just("work"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from(["released", "expired"])),
    st.tuples(st.just("uninvited"), st.sampled_from(SUBJECTS), st.sampled_from(PEOPLE)),
    st.tuples(st.just("request"), st.sampled_from(SUBJECTS)),
    st.tuples(st.just("verdict"), st.sampled_from(SUBJECTS), st.sampled_from(["approved", "rejected", "escalated"])),
    st.tuples(st.just("reopen"), st.sampled_from(SUBJECTS)),
    st.tuples(st.just("edit"), st.sampled_from(SUBJECTS), st.sampled_from(PEOPLE)),
    st.tuples(st.just("golden"), st.sampled_from(SUBJECTS)),
    st.tuples(st.just("flag"), st.sampled_from(PEOPLE), st.sampled_from(["notify", "deprioritise", "restrict"])),
    st.tuples(st.just("policy"), st.integers(2, 4)),
)


@dataclass
class Shadow:
    """What happened, the naive way."""

    revision: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUBJECTS, 1))
    editor: dict[str, str] = field(default_factory=dict[str, str])
    votes: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in SUBJECTS})
    wanted: dict[str, int] = field(default_factory=dict[str, int])
    decided: dict[str, str] = field(default_factory=dict[str, str])
    golden: set[str] = field(default_factory=set[str])
    open: list[Lease] = field(default_factory=list[Lease])
    gone: set[tuple[str, str, int]] = field(default_factory=set[tuple[str, str, int]])
    controlled: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    flags: dict[str, str] = field(default_factory=dict[str, str])
    overlap_min: int = 2
    policies: int = 0

    def judge(self, lease: Lease) -> None:
        """Whether this lease may be granted now."""
        name, person = lease.subject, lease.annotator
        assert person not in ("wendy", self.editor.get(name)), "own text"
        assert person not in self.votes[name], "voted on"
        assert (name, person) not in {(one.subject, one.annotator) for one in self.open}, "held"
        assert (name, person, lease.revision) not in self.gone, "given back"
        assert lease.revision == self.revision[name]
        assert self.flags.get(person) not in ("restrict", "deprioritise"), "flagged"
        assert (lease.serves == "control") == (name in self.golden)
        if lease.serves == "control":
            assert (name, person) not in self.controlled, "controlled twice"
            self.controlled.add((name, person))
            return
        claims = len(self.votes[name] - {"wendy"}) + len(self.holders(name) - self.votes[name])
        assert name not in self.decided, "decided"
        assert claims < max(self.overlap_min, self.wanted.get(name, 0)), "overlap exceeded"

    def holders(self, name: str) -> set[str]:
        current = (one for one in self.open if one.subject == name and one.revision == self.revision[name])
        return {one.annotator for one in current if one.serves != "control"}


class Play:
    """One history, told to the desk's state and to the shadow."""

    def __init__(self) -> None:
        self.shadow = Shadow()
        self.state = Assignment()
        self.told: list[Record] = []
        self.count = 0
        for name in SUBJECTS:
            self._tell(name, received())

    def turn(self, action: tuple[Any, ...]) -> None:
        self.count += 1
        getattr(self, f"_{action[0]}")(*action[1:])

    def _tell(self, subject: str, data: Frozen) -> None:
        # All of it just now: nothing has waited for long.
        self.told.append(record(event(subject, data, 86_400), self.count))
        apply(self.state, self.told[-1])

    def _ask(self, person: str, draw: int) -> None:
        lease = hand_out(self.state, person, self.count, draw)
        if lease is not None:
            self.shadow.judge(lease)
            self.shadow.open.append(lease)

    def _work(self, which: int) -> None:
        if self.shadow.open:
            lease = self.shadow.open[which % len(self.shadow.open)]
            self._cast(lease.subject, lease.annotator, lease.revision)

    def _cast(self, name: str, person: str, revision: int) -> None:
        self._tell(name, vote(person, revision))
        if revision == self.shadow.revision[name]:
            self.shadow.votes[name].add(person)
        self._settle()

    def _settle(self) -> None:
        for lease, reason in list(self.state.endings()):
            self.state.end(lease.id, reason, NOW)
            self.shadow.open.remove(lease)

    def _end(self, which: int, reason: str) -> None:
        if self.shadow.open:
            lease = self.shadow.open.pop(which % len(self.shadow.open))
            self.state.end(lease.id, reason, NOW)
            if reason == "released":
                self.shadow.gone.add((lease.subject, lease.annotator, lease.revision))

    def _uninvited(self, name: str, person: str) -> None:
        self._cast(name, person, self.shadow.revision[name])

    def _request(self, name: str) -> None:
        live = len(self.shadow.votes[name] - {"wendy"})
        if name not in self.shadow.decided and live >= self.shadow.overlap_min:
            self._tell(name, requested(live, revision=self.shadow.revision[name]))
            self.shadow.wanted[name] = live + 1

    def _verdict(self, name: str, verdict: str) -> None:
        self._tell(name, reached(verdict, self.shadow.revision[name]))
        self.shadow.decided[name] = verdict
        self.shadow.wanted.pop(name, None)
        self._settle()

    def _reopen(self, name: str) -> None:
        if verdict := self.shadow.decided.pop(name, None):
            about: Any = {"project": "p", "revision": self.shadow.revision[name], "verdict": verdict, "reason": "policy"}
            self._tell(name, e.VerdictReopened(origin=reached("approved").origin, **about))  # type: ignore[attr-defined]

    def _edit(self, name: str, editor: str) -> None:
        self.shadow.revision[name] += 1
        self._tell(name, e.SubmissionEdited(revision=self.shadow.revision[name], editor=editor, text="Another."))
        self.shadow.editor[name] = editor
        self.shadow.votes[name] = set()
        self.shadow.golden.discard(name)
        self.shadow.decided.pop(name, None)
        self.shadow.wanted.pop(name, None)
        self._settle()

    def _golden(self, name: str) -> None:
        self._tell(name, golden(self.shadow.revision[name]))
        self.shadow.golden.add(name)

    def _flag(self, person: str, action: str) -> None:
        self._tell(person, flagged(action))
        self.shadow.flags[person] = action

    def _policy(self, overlap_min: int) -> None:
        self.shadow.policies += 1
        self._tell("p", applied(self.shadow.policies, overlap_min=overlap_min, control_share_permille=500))
        self.shadow.overlap_min = overlap_min


@given(st.lists(ACTIONS, min_size=20, max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_choice_breaks_a_rule_whatever_came_before(actions: list[tuple[Any, ...]]) -> None:
    play = Play()
    for action in actions:
        play.turn(action)


@given(st.lists(ACTIONS, min_size=20, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_topics_may_arrive_in_any_order_among_themselves(actions: list[tuple[Any, ...]], chance: Any) -> None:
    play = Play()
    for action in actions:
        if action[0] not in ("ask", "end", "work"):
            play.turn(action)
    queues: dict[str, list[Record]] = {}
    for one in play.told:
        queues.setdefault(_topic(one), []).append(one)
    shuffled = Assignment()
    while waiting := [queue for queue in queues.values() if queue]:
        apply(shuffled, chance.choice(waiting).pop(0))
    assert [choices(shuffled, person) for person in PEOPLE] == [choices(play.state, person) for person in PEOPLE]
    assert {name: row.place for name, row in shuffled.subjects.items()} == {n: r.place for n, r in play.state.subjects.items()}


def _topic(one: Record) -> str:
    name = type(one.event.data).__name__
    return "verdicts" if name[:3] in ("Ver", "Ove") else "annotators" if name.startswith("Annotator") else "events"


def choices(state: Assignment, person: str) -> list[str]:
    return [subject_for(state, person, draw) for draw in (0, 1_000, 999)]


# --- what is handed out first ------------------------------------------------------------------


def test_the_least_certain_come_first_then_the_oldest() -> None:
    facts: list[tuple[str, Frozen]] = [(name, received()) for name in ("old", "unsure", "surer")]
    for name, confidence in (("unsure", 550), ("surer", 800)):
        facts += [(name, vote("x")), (name, vote("y")), (name, requested(2, confidence))]
    assert in_order(told(*facts)) == ["unsure", "surer", "old"]
    assert in_order(told(*facts, ("p", applied(queue_order="oldest")))) == ["old", "unsure", "surer"]


def in_order(state: Assignment) -> list[str]:
    """All that one person gets, one after the other."""
    leases = iter(lambda: hand_out(state, "anna", len(state.leases)), None)
    return [lease.subject for lease in leases]


def test_the_emptiest_slice_comes_first() -> None:
    slices = ("en/a/x", "en/b/x", "en/c/x")
    state = told(*((f"{slice_[3]}-{number}", received(slice_=slice_)) for number in (1, 2) for slice_ in slices))
    told(("a-1", reached("approved")), into=state)
    assert subject_for(state, "anna") == "b-1"
    assert subject_for(state, "anna", targets={"en/a/x": 4, "en/c/x": 1}) == "c-1"
    assert subject_for(state, "anna", targets={"en/a/x": 4}) == "a-2"
    assert subject_for(state, "anna", targets={"en/a/x": 1}) == "b-1"


def test_enrolments_and_wishes_narrow_what_is_handed_out() -> None:
    state = told(("e", received()), ("d", received(slice_="de/legal/rewriting")), ("anna", enrolled(languages=("de",))))
    assert subject_for(state, "anna") == "d"
    assert subject_for(state, "anna", slices=(SLICE,)) == "nothing_open"
    assert subject_for(state, "ben", slices=("de/legal/rewriting",)) == "d"
    assert subject_for(state, "ben", kinds=("completion",)) == "nothing_open"


def test_who_is_served_last_gets_what_has_waited_and_who_is_restricted_gets_nothing() -> None:
    state = told(("s-1", received()), ("anna", flagged("deprioritise")), ("ben", flagged("restrict")))
    start = unix_milliseconds(START)
    assert subject_for(state, "anna", now=start + 599_000) == "later"
    assert subject_for(state, "anna", now=start + 601_000) == "s-1"
    assert subject_for(state, "ben", now=LATER) == "restricted"


def test_a_flag_for_texts_stands_when_the_same_rule_is_cleared_for_comparisons() -> None:
    rule = "disagreement"
    facts = [("ben", flagged("restrict", rule)), ("ben", flagged("notify", rule, "preference"))]
    state = told(("s-1", received()), *facts, ("ben", cleared(rule, "preference")))
    assert subject_for(state, "ben") == "restricted"


def test_a_recheck_is_wanted_of_what_is_approved() -> None:
    facts = [("s-1", received()), ("s-1", vote("anna")), ("s-1", vote("ben")), ("s-1", reached("approved"))]
    state = told(*facts, ("s-1", requested(2, because="recheck")))
    assert subject_for(state, "anna") == "nothing_for_you"
    lease = hand_out(state, "chloe", 1)
    assert lease is not None
    assert lease.serves == "recheck"
    assert subject_for(state, "dev") == "nothing_open"


@pytest.mark.parametrize("share", [100, 300])
def test_control_tasks_are_served_at_their_share_and_never_twice_to_one_person(share: int) -> None:
    texts = [(f"s-{number}", received()) for number in range(1_500)]
    state = told(
        ("p", applied(control_share_permille=share)), *texts, *((f"s-{number}", golden()) for number in range(0, 1_500, 3))
    )
    leases = [hand_out(state, "anna", number, number * 7_919) for number in range(1_000)]
    controls = [lease.subject for lease in leases if lease is not None and lease.serves == "control"]
    assert len(controls) == share
    assert len(set(controls)) == len(controls)


# --- candidates against the plainest way -------------------------------------------------------

RANKS = st.tuples(st.integers(0, 2), st.just(0), st.integers(0, 30), st.sampled_from("abcdefgh"))
MOVES = st.one_of(
    st.tuples(st.just("add"), RANKS),
    st.tuples(st.just("remove"), st.integers(0, 99)),
    st.tuples(st.just("close"), st.sampled_from("xy"), st.integers(0, 99)),
    st.tuples(st.just("first"), st.sampled_from("xy")),
)


@given(st.lists(MOVES, max_size=80))
@settings(max_examples=200, deadline=None)
def test_cursors_find_what_a_search_from_the_start_finds(moves: list[tuple[Any, ...]]) -> None:
    candidates, ranks = Candidates(), set[Rank]()
    closed: set[tuple[str, str]] = set()
    for kind, *more in moves:
        if kind == "add" and more[0] not in ranks:
            # Whatever is added again may be open to everybody again.
            if all(rank[3] != more[0][3] for rank in ranks):
                closed -= {(person, more[0][3]) for person in "xy"}
            ranks.add(more[0])
            candidates.add(more[0])
        elif kind == "remove" and ranks:
            gone = sorted(ranks)[more[0] % len(ranks)]
            ranks.remove(gone)
            candidates.remove(gone)
        elif kind == "close" and ranks:
            closed.add((more[0], sorted(ranks)[more[1] % len(ranks)][3]))
        elif kind == "first":
            barred = {name for person, name in closed if person == more[0]}
            is_open = [rank for rank in sorted(ranks) if rank[3] not in barred]
            assert candidates.first(more[0], partial(_is_open, barred)) == (is_open[0] if is_open else LAST)


def _is_open(barred: set[str], name: str) -> bool:
    return name not in barred


def test_a_lease_under_an_open_ones_id_is_none() -> None:
    """Only somebody who forges it writes one, and of two under one id only one could end."""
    opened = event("desk", e.DeskOpened(generation=1), 1)
    about: dict[str, Any] = {"desk": opened.id, "project": "p", "revision": 1, "serves": "overlap", "until": START}
    first = event("s-1", e.LeaseGranted(annotator="anna", **about), 2)
    forged = first.model_copy(update={"subject": "s-2", "data": e.LeaseGranted(annotator="ben", **about)})
    state = told(("s-1", received()), ("s-2", received()))
    for said in (opened, first, forged):
        apply(state, record(said))
    assert {name: [lease.annotator for lease in row.leases.values()] for name, row in state.subjects.items()} == {
        "s-1": ["anna"],
        "s-2": [],
    }
