"""The log folded into all worlds at once: a process a core, each with some of the partitions.

Processes are forked, so that nothing need be sent to them; whoever calls must not have opened what a fork breaks (chDB, a loop).
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from zlib import crc32

from infra.errors import AssayError, explain
from infra.history.source import History, decoded
from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.topics import EVENTS, VERDICTS
from schemas.wire import Undecodable, decode
from schemas.words import Origin
from streams.consequences import Compared, Flip, Restricted, base, compared, flips, nearest
from streams.projection import facts
from streams.review import REVIEW
from streams.whatif import Proposal, ReviewFold, Worlds

#: What production said, and a replay must say as well.
CONTROLLED = frozenset({TYPE_OF[e.VerdictReached], TYPE_OF[e.VerdictReopened]})
_BY_BYTES = {type_.encode() for type_ in CONTROLLED}
#: Differences that are told one by one.
SHOWN = 20


class Window(NamedTuple):
    """One partition's records: start <= offset < end; `verdicts` is where the facts derived from them end."""

    partition: int
    start: int
    end: int
    verdicts: int


@dataclass
class Control:
    """Whether the replay of what was equals what production said: facts by id and checksum."""

    expected: int = 0
    reproduced: int = 0
    missing: int = 0
    altered: int = 0
    unexpected: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def holds(self) -> bool:
        return self.missing == self.altered == self.unexpected == 0

    def add(self, other: "Control") -> None:
        for name in ("expected", "reproduced", "missing", "altered", "unexpected", "differences"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def differs(self, what: str, partition: int, id_: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.differences) < SHOWN:
            self.differences.append({"what": what, "partition": partition, "id": id_})


@dataclass
class Found:
    """What some partitions came to: one `Compared` a proposal."""

    control: Control = field(default_factory=Control)
    events: int = 0
    compared: list[Compared] = field(default_factory=list[Compared])
    flips: list[Flip] = field(default_factory=list[Flip])
    nearest: tuple[int | None, int | None] = (None, None)

    def add(self, other: "Found") -> None:
        self.control.add(other.control)
        self.events += other.events
        if not self.compared:
            self.compared = [Compared() for _ in other.compared]
        for mine, theirs in zip(self.compared, other.compared, strict=True):
            mine.add(theirs)
        self.flips = sorted([*self.flips, *other.flips])
        unders = [one for one in (self.nearest[0], other.nearest[0]) if one is not None]
        overs = [one for one in (self.nearest[1], other.nearest[1]) if one is not None]
        self.nearest = max(unders, default=None), min(overs, default=None)


class Job(NamedTuple):
    """What is asked of the log. `sweep`: counts alone are wanted, of every proposal."""

    history: History
    windows: tuple[Window, ...]
    proposals: tuple[Proposal, ...]
    flips: int = 20
    sweep: bool = False
    too_new: str = "stop"
    fold: ReviewFold = REVIEW
    #: Where no confidence lies if nothing flips: low <= permille < high, on the approving side or the other.
    between: tuple[int, int, bool] | None = None

    async def work(self, watch: Callable[[int], None]) -> Callable[[Restricted | None], Found]:
        """Fold and check these partitions; what they came to, when so many people would have been handed no more work."""
        partitions = [Partition(self, window) for window in self.windows]
        for partition in partitions:
            await partition.fold(watch)

        def found(restricted: Restricted | None) -> Found:
            whole = Found()
            for partition in partitions:
                whole.add(partition.found(restricted))
            return whole

        return found


class Plain(NamedTuple):
    """The log folded once, with nothing beside it: what a replay costs that asks no more."""

    history: History
    windows: tuple[Window, ...]
    too_new: str = "stop"
    fold: ReviewFold = REVIEW

    async def work(self, watch: Callable[[int], None]) -> Callable[[Restricted | None], Found]:
        found = Found()
        for window in self.windows:
            place, state = (EVENTS.name, window.partition), self.fold.empty()
            async for stretch in self.history.stretches(*place, window.end):
                for record in decoded(place, stretch, self.too_new):
                    state = self.fold.apply(state, record).state
                found.events += len(stretch.offsets)
                watch(len(stretch.offsets))
        return lambda restricted: found


# --- one partition -----------------------------------------------------------------------------


class Partition:
    """One partition, folded into all worlds."""

    def __init__(self, job: Job, window: Window) -> None:
        self.job, self.window = job, window
        self.worlds = Worlds(job.proposals, window.partition, window.start, job.fold)
        self.control = Control()
        self.events = 0
        self._expected: dict[str, int] = {}
        self._texts: dict[str, int] = {}

    async def fold(self, watch: Callable[[int], None]) -> None:
        place, end = (EVENTS.name, self.window.partition), self.window.end
        feed, start, expect, texts = self.worlds.feed, self.window.start, self._expect, self._texts
        async for stretch in self.job.history.stretches(*place, end):
            for record in decoded(place, stretch, self.job.too_new):
                step = feed(record)
                if type(record.event.data) in _TEXTS:
                    texts[record.event.subject] = record.offset
                if step.effects and record.offset >= start:
                    expect(record, step.effects)
            self.events += len(stretch.offsets)
            watch(len(stretch.offsets))
        self.worlds.done()
        await self._check()

    def _expect(self, record: Any, effects: Any) -> None:
        for effect in effects:
            if effect.type in CONTROLLED:
                for fact in facts(self.job.fold, record, effects, CONTROLLED):
                    self._expected[fact.id] = crc32(fact.value)
                return

    async def _check(self) -> None:
        """Every fact that was derived from the window against the one on the log."""
        control, expected, number = self.control, self._expected, self.window.partition
        control.expected = len(expected)
        seen: set[str] = set()
        async for batch in self.job.history.raw(VERDICTS.name, number, self.window.verdicts):
            for raw in batch:
                headers = dict(raw.headers)
                if headers.get("ce_type") not in _BY_BYTES:
                    continue
                id_ = (headers.get("ce_id") or b"").decode()
                checksum = expected.get(id_)
                if checksum is None:
                    if self._is_of_window(raw.value):
                        control.differs("unexpected", number, id_)
                elif id_ not in seen:
                    seen.add(id_)
                    if checksum != crc32(raw.value or b""):
                        control.differs("altered", number, id_)
        for id_ in expected.keys() - seen if len(seen) < len(expected) else ():
            control.differs("missing", number, id_)
        control.reproduced = len(expected) - control.missing - control.altered

    def _is_of_window(self, value: bytes | None) -> bool:
        with contextlib.suppress(Undecodable):
            origin: Origin | None = getattr(decode(value or b"").data, "origin", None)
            return (
                origin is not None
                and origin.partition == self.window.partition
                and self.window.start <= origin.offset < self.window.end
            )
        return False

    def found(self, restricted: Restricted | None) -> Found:
        worlds, sweep = self.worlds, self.job.sweep
        ground = base(worlds)
        found = Found(self.control, self.events)
        for variant in worlds.variants:
            one = compared(worlds, variant, ground, restricted, counts_only=sweep)
            found.compared.append(one)
            if not sweep:
                shown = flips(worlds, variant, one.moved, self.job.flips)
                found.flips += [flip._replace(place=self._texts.get(flip.moved.subject, -1)) for flip in shown]
        if self.job.between is not None and not any(one.moves for one in found.compared):
            found.nearest = nearest(worlds, *self.job.between)
        return found


_TEXTS = frozenset({e.SubmissionReceived, e.SubmissionEdited})


# --- processes ---------------------------------------------------------------------------------


class Replay:
    """A running replay. Use as a context: what it started ends with it."""

    def __init__(self, job: Job | Plain, processes: int | None = None) -> None:
        self.job = job
        self.total = sum(window.end for window in job.windows)
        count = max(1, min(len(job.windows), processes or len(os.sched_getaffinity(0))))
        context = multiprocessing.get_context("fork")
        self._done = [context.Value("q", 0, lock=False) for _ in range(count)]
        self._pipes: list[Connection] = []
        self._children: list[Any] = []
        for number, windows in enumerate(shared_out(job.windows, count)):
            ours, theirs = context.Pipe()
            target = (job._replace(windows=windows), theirs, self._done[number])
            self._children.append(context.Process(target=_child, args=target, daemon=True))
            self._pipes.append(ours)

    def __enter__(self) -> "Replay":
        for child in self._children:
            child.start()
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.terminate()
            child.join()

    @property
    def done(self) -> int:
        """Events folded so far."""
        return sum(one.value for one in self._done)

    def found(self, restricted: Restricted | None, watch: Callable[[int], None] = lambda done: None) -> Found:
        """What all partitions came to, when these people would have been handed no more work. May be asked again."""
        for pipe in self._pipes:
            pipe.send(restricted)
        result = Found()
        for pipe, child in zip(self._pipes, self._children, strict=True):
            while not pipe.poll(0.1):
                watch(self.done)
                if not child.is_alive() and not pipe.poll(0):
                    raise AssayError("a process of the replay is gone", got=f"exit code {child.exitcode}")
            answer = pipe.recv()
            if isinstance(answer, AssayError):
                raise answer
            result.add(answer)
        watch(self.done)
        return result


def shared_out(windows: Sequence[Window], count: int) -> Iterator[tuple[Window, ...]]:
    """The partitions, the longest first, each to whom has least."""
    piles: list[list[Window]] = [[] for _ in range(count)]
    for window in sorted(windows, key=lambda one: -one.end):
        min(piles, key=lambda pile: sum(one.end for one in pile)).append(window)
    return (tuple(pile) for pile in piles)


def _child(job: Job | Plain, pipe: Connection, done: Any) -> None:
    # Ctrl-C is for the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Rows hold no cycles, and looking for them in a million rows takes longer than the fold.
    gc.freeze()
    gc.disable()

    def watch(events: int) -> None:
        done.value += events

    try:
        restricted = pipe.recv()
        work = asyncio.run(job.work(watch))
        while True:
            pipe.send(work(restricted))
            restricted = pipe.recv()
    except EOFError:
        return
    except Exception as error:
        pipe.send(_sendable(explain(error)))


def _sendable(error: AssayError) -> AssayError:
    return AssayError(error.what, str(error.where), str(error.got), str(error.hint), error.exit_code)
