"""The control check: a replay that does not reproduce what production said is refused; and processes change nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings

from infra.history.source import Stretch
from infra.whatif.replaying import Job, Partition, Replay, Window, shared_out
from schemas.events import VoteCast
from schemas.policy import Policy
from schemas.topics import EVENTS, VERDICTS
from schemas.wire import headers
from streams.consequences import STANDS
from streams.projection import Record, record_of
from streams.review import REVIEW, Review
from streams.whatif import Proposal
from tests.streams.histories import HISTORIES, SLICES, Action, effects_of, event_bytes


class Raw(NamedTuple):
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


class Written:
    """History as lists: what was sent, and what production derived from it."""

    def __init__(self, histories: Sequence[Sequence[Action]], derived_by: Any = REVIEW) -> None:
        self.topics: dict[tuple[str, int], list[Raw]] = {}
        for partition, history in enumerate(histories):
            sent = [event_bytes(action, number) for number, action in enumerate(history)]
            log = [record_of(partition, number, value) for number, value in enumerate(sent)]
            said = [fact for fact in effects_of(derived_by, log) if fact.topic == VERDICTS.name]
            self.topics[EVENTS.name, partition] = [Raw(at, 0, b"", value, ()) for at, value in enumerate(sent)]
            self.topics[VERDICTS.name, partition] = [
                Raw(at, 0, fact.key.encode(), fact.value, headers(fact.id, fact.type)) for at, fact in enumerate(said)
            ]

    def windows(self, start: int = 0) -> tuple[Window, ...]:
        return tuple(
            Window(number, min(start, len(rows)), len(rows), len(self.topics[VERDICTS.name, number]))
            for (topic, number), rows in self.topics.items()
            if topic == EVENTS.name
        )

    async def stretches(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Stretch]:
        rows = self.topics[topic, partition][start:end]
        yield Stretch([row.offset for row in rows], [row.value for row in rows])

    async def raw(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Sequence[Raw]]:
        yield self.topics[topic, partition][start:end]


def folded(history: Any, policy: Policy, fold: Any = REVIEW, start: int = 0) -> Partition:
    job = Job(history, history.windows(start), (Proposal("p", 5, policy),), fold=fold)
    made = Partition(job, job.windows[0])
    asyncio.run(made.fold(lambda events: None))
    return made


class Careless(Review):
    """A fold with a planted fault: it takes every bad vote for a good one."""

    def apply(self, state: Any, record: Record) -> Any:
        data = record.event.data
        if isinstance(data, VoteCast) and data.label == "bad":
            event = record.event.model_copy(update={"data": data.model_copy(update={"label": "good"})})
            record = record._replace(event=event)
        return super().apply(state, record)


VOTED: list[Action] = [
    ("receive", "s-1", SLICES[0]),
    ("receive", "s-2", SLICES[0]),
    *(("vote", "s-1", voter, "bad", 1) for voter in ("anna", "ben")),
    *(("vote", "s-2", voter, "good", 1) for voter in ("anna", "ben", "chloe")),
]


@settings(max_examples=50)
@given(history=HISTORIES)
def test_a_replay_reproduces_what_production_said(history: list[Action]) -> None:
    control = folded(Written([history]), Policy(overlap_min=3)).control
    assert control.holds
    assert control.expected == control.reproduced
    assert not control.differences


def test_a_planted_bug_makes_the_control_check_refuse() -> None:
    control = folded(Written([VOTED]), Policy(overlap_min=3), Careless()).control
    assert not control.holds
    assert (control.expected, control.reproduced, control.altered) == (2, 1, 1)
    assert control.differences[0]["what"] == "altered"


@pytest.mark.parametrize(("change", "told"), [("missing", (1, 0)), ("unexpected", (0, 1))])
def test_a_fact_that_is_missing_or_too_many_is_a_difference(change: str, told: tuple[int, int]) -> None:
    history, place = Written([VOTED]), (VERDICTS.name, 0)
    if change == "missing":
        del history.topics[place][-1]
    else:
        more = Written([[*VOTED[:2], *(("vote", "s-1", voter, "good", 1) for voter in ("chloe", "dev")), *VOTED[4:]]])
        other = next(row for row in more.topics[place] if row.key == b"s-1")
        value = other.value.replace(b'"index":0', b'"index":7')
        history.topics[place].append(other._replace(value=value, headers=headers("01800000-0000-7000-8000-000000000000", TYPE)))
    control = folded(history, Policy(overlap_min=3)).control
    assert (control.missing, control.unexpected) == told
    assert not control.holds


TYPE = "assay.VerdictReached.v2"


def test_what_production_said_before_the_window_is_no_difference() -> None:
    control = folded(Written([VOTED]), Policy(overlap_min=3), start=5).control
    assert control.holds
    assert control.expected == 1


def test_processes_come_to_what_one_comes_to() -> None:
    histories = [VOTED, VOTED[:4], [VOTED[0]], VOTED]
    history: Any = Written(histories)
    job = Job(history, history.windows(), (Proposal("p", 5, Policy(overlap_min=3)), Proposal("p", 5, Policy())))
    told = []
    for processes in (1, 2, 4):
        with Replay(job, processes) as replay:
            found = replay.found(None)
            assert replay.done == found.events == sum(map(len, histories))
            told.append((replace(found.control), [one.moves for one in found.compared], found.flips))
    assert told[0] == told[1] == told[2]
    found = told[0]
    assert found[0].reproduced == 5
    # s-2 has the third vote that the proposal asks for.
    assert sum(found[1][0].values()) == 3
    assert not found[1][1]


def test_work_of_somebody_who_would_be_held_back_is_undetermined() -> None:
    made = folded(Written([VOTED]), Policy())
    hour = made.worlds.truth.rows["s-1"].hour
    assert not made.found(None).compared[0].moves
    held_back = made.found({"chloe": hour}).compared[0]
    assert [(one.subject, one.unknown) for one in held_back.moved] == [("s-2", "person")]
    assert held_back.after("approved") == (0, 1)
    assert not made.found({"chloe": hour + 1}).compared[0].moves
    assert sum(held_back.before(one) for one in STANDS) == 2


def test_partitions_are_shared_out_by_their_length() -> None:
    windows = [Window(number, 0, end, 0) for number, end in enumerate((5, 90, 10, 80))]
    assert [[one.end for one in pile] for pile in shared_out(windows, 2)] == [[90, 5], [80, 10]]
