"""One partition of a projection in a worker: its state, where its rows go, and how far it has come."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from agents.state_log import Row, StateLog
from streams.projection import CONTROL_KEY, NOWHERE, AnyProjection, row_bytes

#: From the assignment on; only in the last stage is what arrives folded.
Stage = Literal["opening", "reading rows", "catching up", "live"]
Clock = Callable[[], float]


class Status(NamedTuple):
    """How far one partition has come, as `/readyz?verbose` shows it. Offsets are next offsets, times are in seconds."""

    agent: str
    topic: str
    partition: int
    state: Stage
    rows_read: int
    rows_expected: int
    log_have: int
    log_need: int
    eta_seconds: float | None
    durable: int
    last_commit_seconds_ago: float | None


class Course:
    """How much of a stretch lies behind, and when the rest will, at the pace so far."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.began(0, 0)

    def began(self, have: int, need: int) -> None:
        self.first, self.have, self.need, self._since = have, have, need, self._clock()

    @property
    def eta_seconds(self) -> float | None:
        done, left = self.have - self.first, max(0, self.need - self.have)
        if not left:
            return 0.0
        return round(left * (self._clock() - self._since) / done, 1) if done > 0 else None


class Flush(NamedTuple):
    """What one partition has to make durable, as of one instant between two batches."""

    partition: "Partition"
    rows: list[Row]
    events: list[Any]
    position: int
    bytes: int


class Partition:
    """One partition's state in memory, where its rows go, and the batches not acknowledged yet."""

    def __init__(self, projection: AnyProjection, number: int, rows: StateLog) -> None:
        self.projection = projection
        self.number = number
        self.rows = rows
        self.state = projection.empty()
        #: The last offset that was looked at; the state's own position leaves out what is no event.
        self.read = NOWHERE
        #: The position in the rows that are durable.
        self.durable = NOWHERE
        self.unacknowledged: list[Any] = []
        #: Of records folded since the last flush.
        self.bytes = 0
        #: Between a revocation and the next assignment another worker may open it, and so fence this one off.
        self.revoked = False
        #: Set once it is live, or never will be.
        self.settled = asyncio.Event()
        self.recovery: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time
        self._committed_at: float | None = None
        self.stage: Stage = "opening"
        self.reading, self.catching_up = Course(self._clock), Course(self._clock)

    @property
    def is_dirty(self) -> bool:
        """Whether a flush has anything to do here. What is being recovered without an event may have moved as well."""
        return bool(self.unacknowledged or self.bytes)

    def snapshot(self) -> Flush:
        """The rows changed since the last flush, encoded now: no await between them and the position they carry."""
        state = self.state
        rows: list[Row] = [(key.encode(), row_bytes(self.projection, state, key)) for key in state.touched]
        rows.append((CONTROL_KEY.encode(), row_bytes(self.projection, state, CONTROL_KEY)))
        state.touched = {}
        flush = Flush(self, rows, self.unacknowledged, state.position, self.bytes)
        self.unacknowledged, self.bytes = [], 0
        return flush

    def flushed(self, position: int) -> None:
        self.durable, self._committed_at = position, self._clock()

    def status(self) -> Status:
        """May be called from another thread."""
        course = self.reading if self.stage in ("opening", "reading rows") else self.catching_up
        committed = self._committed_at
        return Status(
            self.projection.name,
            self.projection.source.name,
            self.number,
            self.stage,
            self.reading.have,
            max(self.reading.have, self.reading.need),
            self.read + 1,
            max(self.catching_up.need, self.read + 1),
            _eta(self.stage, course),
            self.durable + 1,
            None if committed is None else round(self._clock() - committed, 1),
        )


def _eta(stage: Stage, course: Course) -> float | None:
    """Nothing is known before the topic is open."""
    return 0.0 if stage == "live" else None if stage == "opening" else course.eta_seconds
