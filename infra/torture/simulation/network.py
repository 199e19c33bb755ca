"""The network between simulated processes and the broker: seeded delays, losses, and deaths at a chosen request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple, TypeVar

from aiokafka.errors import KafkaError, KafkaTimeoutError

from infra.torture.simulation.clock import NOBODY, Process, VirtualLoop, current_process

T = TypeVar("T")

#: What aiokafka gives up after a time-out, and Assay takes for fatal; reads it tries again by itself.
FALLIBLE = ("begin producer", "produce", "commit transaction", "abort transaction")

#: What a connection had taken when its process died still arrives, up to the first that does not.
LOST_IN_DEATH = 0.3
INSTANT = 1e-9


class Weather(NamedTuple):
    """How requests fare."""

    usual_seconds: float = 0.004
    slow_chance: float = 0.02
    slow_seconds: float = 0.6
    loss_chance: float = 0.001
    timeout_seconds: float = 5.0


class Moment(NamedTuple):
    """The n-th request of a process from now on (of this kind, where one is named), before it is sent or after."""

    requests: int
    before: bool
    kind: str = ""


@dataclass
class Doom:
    """What happens to a process at a moment."""

    moment: Moment
    strike: Callable[[Process], None]
    left: int = 0

    def __post_init__(self) -> None:
        self.left = self.moment.requests

    def comes(self, request: str) -> bool:
        self.left -= self.moment.kind in ("", request)
        return self.left <= 0


class Request(NamedTuple):
    """What is on its way, and who waits for its answer."""

    process: Process
    client: str
    name: str
    operation: Callable[[], Any]
    reply: "asyncio.Future[Any]"


class Trace:
    """Everything that happened, as one digest; the lines themselves only where somebody wants them."""

    def __init__(self, keep: bool = False) -> None:
        self._digest = sha256()
        self.lines: list[str] | None = [] if keep else None
        self.count = 0

    def add(self, time: float, what: str) -> None:
        line = f"{time:.6f} {what}"
        self.count += 1
        self._digest.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()


class SimulatedNetwork:
    """Requests of one connection arrive in the order in which they were sent, some time later."""

    def __init__(self, loop: VirtualLoop, chance: Random, trace: Trace, weather: Weather) -> None:
        self._loop = loop
        self._chance = chance
        self._trace = trace
        self._weather = weather
        self._dooms: dict[str, Doom] = {}
        self._last_arrival: dict[str, float] = {}
        self._frozen_until = 0.0
        #: Connections of dead processes on which nothing arrives any more.
        self._cut: set[str] = set()

    def doom(self, process: Process, doom: Doom) -> None:
        self._dooms[process.name] = doom

    def spare(self) -> None:
        """Nobody is struck any more."""
        self._dooms.clear()

    def freeze(self, seconds: float) -> None:
        """The broker answers nobody for so long."""
        self._frozen_until = self._loop.time() + seconds

    async def request(self, client: str, name: str, operation: Callable[[], T]) -> T:
        """What belongs to no process is the world's own, and happens at once."""
        process = current_process()
        if process is None:
            await asyncio.sleep(0)
            return operation()
        if process.is_dead:
            raise asyncio.CancelledError
        doom = self._due(process, name)
        if doom is not None and doom.moment.before:
            await self._strike(process, doom)
        reply: asyncio.Future[T] = self._loop.create_future()
        self._send(Request(process, client, name, operation, reply))
        if doom is not None and not doom.moment.before:
            await self._strike(process, doom)
        return await reply

    def _due(self, process: Process, request: str) -> Doom | None:
        doom = self._dooms.get(process.name)
        if doom is None or not doom.comes(request):
            return None
        return self._dooms.pop(process.name)

    async def _strike(self, process: Process, doom: Doom) -> None:
        self._trace.add(self._loop.time(), f"{process.name} is struck")
        self._loop.call_soon(doom.strike, process, context=NOBODY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _send(self, request: Request) -> None:
        # Of two timers at the very same time either may come first.
        following = self._last_arrival.get(request.client, 0.0) + INSTANT
        earliest = max(self._loop.time() + self._latency(), following, self._frozen_until)
        self._last_arrival[request.client] = earliest
        fate = self._chance.random() / self._weather.loss_chance if request.name in FALLIBLE else 2.0
        if fate < 1.0:
            self._later(self._weather.timeout_seconds, _answer, request.reply, None, KafkaTimeoutError(request.name))
        if fate >= 0.5:
            self._loop.call_at(earliest, self._arrive, request, fate < 1.0, context=NOBODY)

    def _arrive(self, request: Request, unheard: bool) -> None:
        if self._lost_in_death(request):
            return
        self._trace.add(self._loop.time(), f"{request.client} {request.name}")
        try:
            found, error = request.operation(), None
        except KafkaError as refused:
            found, error = None, refused
        if not unheard:
            self._later(self._latency(), _answer, request.reply, found, error)

    def _lost_in_death(self, request: Request) -> bool:
        if not request.process.is_dead:
            return False
        if self._chance.random() < LOST_IN_DEATH:
            self._cut.add(request.client)
        return request.client in self._cut

    def _later(self, seconds: float, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_later(seconds, callback, *arguments, context=NOBODY)

    def _latency(self) -> float:
        weather, chance = self._weather, self._chance
        longest = weather.slow_seconds if chance.random() < weather.slow_chance else weather.usual_seconds
        return chance.random() * longest


def _answer(reply: "asyncio.Future[Any]", found: Any, error: BaseException | None) -> None:
    if reply.done():
        return
    if error is None:
        reply.set_result(found)
    else:
        reply.set_exception(error)
