"""The system under fire: broker, workers, estimator and sink as `assay up` runs them, and the faults that strike them."""

import asyncio
import contextlib
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen
from typing import IO, Self

from infra.errors import AssayError, Exit
from infra.kafka.broker import Broker
from infra.settings import Settings, environment
from infra.supervisor import Backoff, Part, Started, Supervisor
from infra.system import broker, command
from infra.torture.schedule import GUEST, SINK, Fault, worker_name

READY_SECONDS = 120.0
#: How long a worker may take to leave, or anything to be there again or be struck, before that is a finding of its own.
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.02
SKILLS_SECONDS = 2.0
#: Whatever dies is started again at once, and nothing is given up: a worker cannot start while the broker is down.
IMPATIENT = Backoff(first_seconds=0.1, most_seconds=0.5, hopeless_after=1_000)


@dataclass
class Fleet:
    """Runs while its block runs; `suffer` lets a fault strike. What the parts say goes to `log`."""

    settings: Settings
    log: Path
    patience_seconds: float = PATIENCE_SECONDS
    #: How processes ended that were not told to at the very end: by name and exit code.
    endings: Counter[str] = field(default_factory=Counter)
    #: Faults that met their target, by kind.
    struck: Counter[str] = field(default_factory=Counter)
    _launched: list[tuple[str, Popen[bytes]]] = field(default_factory=list)
    _guards: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _stopped: set[Popen[bytes]] = field(default_factory=set)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._lines: IO[str] = stack.enter_context(self.log.open("a", buffering=1))
            env = environment(self.settings)
            names = [worker_name(number) for number in range(1, self.settings.worker.processes + 1)]
            ours = [command(name, ["worker"], env) for name in names]
            # Nothing strikes the estimator but what strikes the broker; its weights are in the log that all is held against.
            estimator = command("skills", ["skills"], env | {"ASSAY_SKILLS__SECONDS": str(SKILLS_SECONDS)})
            parts = [broker(self.settings), *ours, command(SINK, ["serve"], env), estimator]
            self._supervisor = self._supervise(parts)
            stack.enter_context(self._supervisor)
            stack.callback(self._wake_all)
            self._supervisor.wait_ready(READY_SECONDS)
            # Told the address, since it may start while the broker is down.
            self._guest = command(GUEST, ["worker"], env | {"ASSAY_KAFKA__BROKERS": self.brokers})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._count_endings()
        self._stack.close()

    @property
    def brokers(self) -> str:
        found = Broker(self.settings).running()
        if found is None:
            raise AssayError("the broker does not run", where=self.settings.data_dir, exit_code=Exit.FAILED)
        return found

    async def suffer(self, fault: Fault) -> None:
        """Let it strike a target that works, and return once that is over. Faults on one target take turns."""
        async with self._guards[fault.target]:
            self._say("fault", f"{fault.kind} {fault.target} {fault.seconds}")
            if await self._strike(fault):
                self.struck[fault.kind] += 1
            else:
                self._say("fault", f"{fault.kind} {fault.target} struck nobody")

    # --- faults ---------------------------------------------------------------------------------

    async def _strike(self, fault: Fault) -> bool:
        name, seconds = fault.target, fault.seconds
        match fault.kind:
            case "join_worker":
                return await self._visit(seconds)
            case "stall_worker" | "zombie_worker" | "stall_sink" | "stall_broker":
                return await self._repeated(lambda: self._stall(name, seconds))
            case "leave_worker":
                return await self._repeated(lambda: self._end(name, signal.SIGTERM))
            case "kill_again":
                killed = await self._repeated(lambda: self._end(name, signal.SIGKILL))
                return killed and await self._repeated(lambda: self._end_early(name, seconds))
            case "kill_worker" | "kill_sink" | "kill_broker":
                return await self._repeated(lambda: self._end(name, signal.SIGKILL))

    async def _repeated(self, strike: Callable[[], Awaitable[bool]]) -> bool:
        """A target may end by itself just before it is struck; then its successor is. False where none ever was."""
        deadline = time.monotonic() + self.patience_seconds
        while not (struck := await strike()) and time.monotonic() < deadline:  # noqa: ASYNC110  no event
            await asyncio.sleep(LOOK_SECONDS)
        return struck

    async def _visit(self, seconds: float) -> bool:
        """A worker joins the group, works for so long, and leaves it again."""
        visitor = self._supervise([self._guest])
        await asyncio.to_thread(visitor.__enter__)
        try:
            await self._ready(visitor, GUEST)
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(visitor.__exit__)
        return True

    async def _stall(self, name: str, seconds: float) -> bool:
        process = await self._working(name)
        with self._asleep(process) as asleep:
            if asleep:
                await asyncio.sleep(seconds)
        return asleep

    @contextlib.contextmanager
    def _asleep(self, process: Popen[bytes]) -> Iterator[bool]:
        self._stopped.add(process)
        try:
            yield _send(process, signal.SIGSTOP)
        finally:
            _send(process, signal.SIGCONT)
            self._stopped.discard(process)

    async def _end_early(self, name: str, seconds: float) -> bool:
        """Kill it while it joins its group, recovers, or folds its first records."""
        while (process := self._process(name)) is None:  # noqa: ASYNC110  its supervisor is a thread
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.sleep(seconds)
        return await self._ended(name, process, signal.SIGKILL)

    async def _end(self, name: str, number: signal.Signals) -> bool:
        return await self._ended(name, await self._working(name), number)

    async def _ended(self, name: str, process: Popen[bytes], number: signal.Signals) -> bool:
        """Whether it was this signal that ended it."""
        if not _send(process, number):
            return False
        deadline = time.monotonic() + self.patience_seconds
        while self._supervisor.pid(name) == process.pid:
            if time.monotonic() > deadline:
                self._say("fault", f"{name} does not end: killed")
                self.endings[f"{name} had to be killed"] += 1
                deadline = float("inf")
                _send(process, signal.SIGKILL)
            await asyncio.sleep(LOOK_SECONDS)
        return number is signal.SIGTERM or process.returncode == -number

    async def _working(self, name: str) -> Popen[bytes]:
        """The process of a part, as soon as it is ready."""
        await self._ready(self._supervisor, name)
        return self._process(name) or await self._working(name)

    def _process(self, name: str) -> Popen[bytes] | None:
        pid = self._supervisor.pid(name)
        return next((process for _, process in reversed(self._launched) if process.pid == pid), None)

    async def _ready(self, supervisor: Supervisor, name: str) -> None:
        deadline = time.monotonic() + 2 * self.patience_seconds
        while not supervisor.is_ready(name):
            supervisor.check()
            if time.monotonic() > deadline:
                raise AssayError("a part does not come back", where=name, hint=f"see {self.log}", exit_code=Exit.FAILED)
            await asyncio.sleep(LOOK_SECONDS)

    def _wake_all(self) -> None:
        for process in self._stopped:
            _send(process, signal.SIGCONT)

    # --- what the parts do ----------------------------------------------------------------------

    def _supervise(self, parts: list[Part]) -> Supervisor:
        return Supervisor([self._noted(part) for part in parts], self._say, IMPATIENT)

    def _noted(self, part: Part) -> Part:
        def launch() -> Started:
            started = part.launch()
            self._launched.append((part.name, started.process))
            return started

        return replace(part, launch=launch)

    def _count_endings(self) -> None:
        for name, process in self._launched:
            if process.poll() is not None:
                kind = name.partition("-")[0]
                self.endings[f"{kind}: {_said(process.returncode)}"] += 1

    def _say(self, name: str, text: str) -> None:
        self._lines.write(f"{time.strftime('%H:%M:%S')} {name:>10} | {text}\n")


def _send(process: Popen[bytes], number: signal.Signals) -> bool:
    """Whether there was somebody to get it."""
    if process.poll() is not None:
        return False
    process.send_signal(number)
    return process.returncode is None


def _said(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
