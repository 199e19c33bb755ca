"""A whole world in one process: broker, workers with a supervisor, and the hands that hurt them."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, ProducerFenced

from agents.clients import registered
from agents.publishing import partition_of
from agents.runner import Fenced
from agents.settings import WorkerSettings
from infra.memory.clients import InMemory
from infra.memory.log import Message
from infra.memory.transactions import Identity
from infra.torture.load import Sent
from infra.torture.simulation.bugs import Engine
from infra.torture.simulation.checks import WatchedBroker, compare, recount
from infra.torture.simulation.clock import NOBODY, Process, VirtualLoop
from infra.torture.simulation.crowd import Said
from infra.torture.simulation.network import Doom, Moment, SimulatedNetwork, Trace, Weather
from infra.torture.simulation.worker import SimulatedWorker
from schemas.topics import EVENTS, TOPICS
from streams.projection import AnyProjection

T = TypeVar("T")

PARTITIONS = 2
RESTART_SECONDS = 1.0
FETCH_RECORDS = 60
#: Virtual time after which work that is not done never will be.
PATIENCE_SECONDS = 240.0
#: Virtual time in which all workers must have left.
LEAVE_SECONDS = 30.0
#: What a worker may rightly end of: everything else is a fault of the engine.
DEADLY = (ProducerFenced, Fenced, KafkaTimeoutError)


@dataclass
class Slot:
    """Where a worker runs: when one has died there, the supervisor starts another."""

    number: int
    wanted: bool = True
    starts: int = 0
    process: Process | None = None
    worker: SimulatedWorker | None = None

    @property
    def runs(self) -> bool:
        return self.process is not None and not self.process.is_dead


@dataclass
class World:
    """Everything that happens follows from the seed and from what is called here, in that order."""

    seed: int
    projections: tuple[AnyProjection, ...]
    engine: Engine = field(default_factory=Engine)
    weather: Weather = field(default_factory=Weather)
    flush_seconds: float = 0.5
    unflushed_rows: int = 200_000
    keep_trace: bool = False

    def __post_init__(self) -> None:
        self.loop = VirtualLoop()
        self.trace = Trace(self.keep_trace)
        self.broker = WatchedBroker(self.projections, FETCH_RECORDS)
        self._network_chance = Random(f"{self.seed}/network")
        self.network = SimulatedNetwork(self.loop, self._network_chance, self.trace, self.weather)
        self.slots: list[Slot] = []
        self.crashes: list[str] = []
        self.violations = self.broker.violations
        self._address = f"memory://world-{id(self)}"
        self._writer = Identity(0)
        self._meant: list[Sent] = []
        self._agents = ",".join(projection.name for projection in self.projections)
        self.group = self.broker.group(WorkerSettings(agents=self._agents).group)
        for topic in TOPICS:
            self.broker.create_topic(topic.name, PARTITIONS, topic.compacted)

    @contextlib.contextmanager
    def running(self) -> Iterator["World"]:
        """The world, as long as it lasts; at its end every process is dead."""
        with registered(self._address.removeprefix("memory://"), InMemory(self.broker, self.network)), _silent():
            try:
                yield self
            finally:
                self._end()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._run(asyncio.sleep(seconds))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(self.loop.create_task(work, context=NOBODY.copy()))

    def _end(self) -> None:
        for slot in self.slots:
            slot.wanted = False
            if slot.process is not None:
                slot.process.kill()
        self.wait(0)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    # --- workers -------------------------------------------------------------------------------

    def add_worker(self) -> Slot:
        slot = Slot(len(self.slots))
        self.slots.append(slot)
        self._start(slot)
        return slot

    def _start(self, slot: Slot) -> None:
        if slot.runs or not slot.wanted or self.loop.is_closed():
            return
        slot.starts += 1
        process = Process(self.loop, f"worker-{slot.number}.{slot.starts}")
        settings = WorkerSettings(
            brokers=f"{self._address}/{process.name}",
            agents=self._agents,
            flush_seconds=self.flush_seconds,
            unflushed_rows=self.unflushed_rows,
        )
        projections = [self.engine.projection(projection) for projection in self.projections]
        worker = SimulatedWorker(
            settings, projections, self.engine.runner, self._fatal_in(slot, process), Random(f"{self.seed}/{process.name}")
        )
        slot.process, slot.worker = process, worker
        process.run(worker.run()).add_done_callback(lambda _: self._ended(slot, process), context=NOBODY.copy())

    def _fatal_in(self, slot: Slot, process: Process) -> Callable[[BaseException], None]:
        def fatal(error: BaseException) -> None:
            """As os._exit: nothing of the process runs after it."""
            self._note(f"{process.name} ends: {type(error).__name__}")
            if not isinstance(error, DEADLY):
                self.violations.append(f"{process.name} ended by {error!r}")
            self.crashes.append(type(error).__name__)
            process.kill()
            self._restart(slot)
            raise asyncio.CancelledError

        return fatal

    def _ended(self, slot: Slot, process: Process) -> None:
        """It left by itself."""
        process.kill()
        self._restart(slot)

    def _restart(self, slot: Slot) -> None:
        self.loop.call_later(RESTART_SECONDS, self._start, slot, context=NOBODY.copy())

    def kill(self, slot: Slot) -> None:
        """`kill -9`, and the supervisor starts another."""
        if slot.process is not None and slot.runs:
            self._die(slot)(slot.process)

    def _die(self, slot: Slot) -> Callable[[Process], None]:
        def die(process: Process) -> None:
            self._note(f"{process.name} is killed")
            process.kill()
            self._restart(slot)

        return die

    def kill_at(self, slot: Slot, moment: Moment) -> None:
        if slot.process is not None:
            self.network.doom(slot.process, Doom(moment, self._die(slot)))

    def stop(self, slot: Slot, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        if slot.process is not None and slot.runs:
            self._note(f"{slot.process.name} stops for {seconds:.3f}")
            slot.process.stop(seconds)

    def stop_at(self, slot: Slot, moment: Moment, seconds: float) -> None:
        if slot.process is not None:
            self.network.doom(slot.process, Doom(moment, lambda _: self.stop(slot, seconds)))

    def restart(self, slot: Slot) -> None:
        """SIGTERM, and the supervisor starts another: two rebalances."""
        if slot.worker is not None and slot.process is not None and slot.runs:
            self._note(f"{slot.process.name} leaves")
            self.loop.call_soon(slot.worker.leave, context=NOBODY.copy())

    def freeze(self, seconds: float) -> None:
        self._note(f"the broker stops for {seconds:.3f}")
        self.network.freeze(seconds)

    # --- the log -------------------------------------------------------------------------------

    def append(self, said: Said) -> None:
        """Write what somebody said to where it belongs."""
        places = [TopicPartition(EVENTS.name, partition_of(said.subject, PARTITIONS))]
        if said.everywhere:
            places = [TopicPartition(topic.name, at) for topic in said.everywhere for at in range(PARTITIONS)]
        for topic, partition in places:
            self._run(self._append(Sent(topic, partition, said.subject.encode(), said.value, 1, said.refused_as)))

    async def _append(self, sent: Sent) -> None:
        self._meant.append(sent)
        message = Message(sent.time_ms, sent.key, sent.value, ())
        self.broker.produce(self._writer, TopicPartition(sent.topic, sent.partition), [message])

    def compact(self) -> None:
        self._note("compaction")
        self.broker.compact()

    # --- what must hold ------------------------------------------------------------------------

    def compare(self, final: bool = False) -> None:
        """Fold the log again, and note where live is not what comes out."""
        self.violations += self._run(compare(f"{self._address}/checks", self.projections, final))

    def settle(self) -> None:
        """End the faults and wait until all is folded and committed; never ending is a violation as well."""
        self.network.spare()
        patience = self.loop.time() + PATIENCE_SECONDS
        quiet = 0
        while quiet < 3 and self.loop.time() < patience:
            self.wait(1.0)
            busy = self.backlog() or any(slot.process is not None and slot.process.is_stopped for slot in self.slots)
            quiet = 0 if busy else quiet + 1
        if quiet < 3:
            self.violations.append(f"stands still with {self.backlog()} not committed")

    def backlog(self) -> dict[str, int]:
        """Records that are not committed, by partition."""
        committed = self.group.committed
        left = {}
        for projection in self.projections:
            for at in range(PARTITIONS):
                place = TopicPartition(projection.source.name, at)
                behind = self.broker.log(place).end - committed.get(place, 0)
                if behind:
                    left[f"{place.topic}/{at}"] = behind
        return left

    def finish(self) -> None:
        """Settle, let every worker leave, and check all that must hold in the end."""
        self._settle_and_leave()
        # What was on its way from one who slept may come after all others are gone: a repetition, but a record.
        for _ in range(2):
            if self.backlog():
                self._come_back()
                self._settle_and_leave()
        if any(slot.runs for slot in self.slots):
            self.violations.append("a worker that was told to leave is still there")
        self.compare(final=True)
        self.violations += self._run(recount(f"{self._address}/checks", self._meant, self.projections))

    def _settle_and_leave(self) -> None:
        self.settle()
        for slot in self.slots:
            slot.wanted = False
            self.restart(slot)
        self.wait(LEAVE_SECONDS)

    def _come_back(self) -> None:
        for slot in self.slots:
            slot.wanted = True
            self.loop.call_soon(self._start, slot, context=NOBODY.copy())

    def _note(self, what: str) -> None:
        self.trace.add(self.loop.time(), what)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The workers' logs of what is done to them on purpose are nobody's interest."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    try:
        yield
    finally:
        structlog.configure(**before)
