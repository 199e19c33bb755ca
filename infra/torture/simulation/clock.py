"""Virtual time and simulated processes: an event loop that leaps to its next timer, and can stop or kill a process."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)
#: Where nothing belongs to a process: the broker, the network, the world.
NOBODY = Context()


def current_process() -> "Process | None":
    return _PROCESS.get()


class Process:
    """What one operating-system process would be: its tasks run until it is stopped (SIGSTOP) or killed (SIGKILL)."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self._loop = loop
        self.name = name
        self.is_stopped = False
        self.is_dead = False
        self._tasks: list[asyncio.Task[Any]] = []
        self.held: list[asyncio.Handle] = []

    def run(self, main: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin this process, whose every task is known by its context."""
        context = Context()
        context.run(_PROCESS.set, self)
        return self._loop.create_task(main, context=context)

    def owns(self, task: asyncio.Task[Any]) -> None:
        self._tasks = [one for one in self._tasks if not one.done()] + [task]

    def stop(self, seconds: float) -> None:
        """Nothing of it runs for so long, and then all goes on as if nothing had happened."""
        if not self.is_dead and not self.is_stopped:
            self.is_stopped = True
            self._loop.call_later(seconds, self.go_on, context=NOBODY)

    def go_on(self) -> None:
        held, self.held, self.is_stopped = self.held, [], False
        self._loop.release(held)

    def kill(self) -> None:
        """It is gone: its network is cut, and no code of it does anything any more."""
        self.is_dead = True
        if self.is_stopped:
            self.go_on()
        for task in self._tasks:
            task.cancel()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without a clock, files or threads: time passes only when nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-6
        self._selector = self
        self.set_task_factory(_task)  # type: ignore[arg-type]
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulation stands still: everything waits, and nothing is due")
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    def call_soon(  # type: ignore[override]  # any arguments will do
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        process = context.get(_PROCESS)
        if process is None or not process.is_stopped:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        process.held.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        process = context.get(_PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, self._due, process, callback, args, context=context)

    def _due(self, process: Process, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        if process.is_stopped:
            self.call_soon(callback, *args)
        else:
            callback(*args)

    def release(self, handles: list[asyncio.Handle]) -> None:
        self._ready.extend(handles)  # type: ignore[attr-defined]


def _task(loop: VirtualLoop, coroutine: Any, context: Context | None = None) -> asyncio.Task[Any]:
    task = asyncio.Task(coroutine, loop=loop, context=context)
    process = _PROCESS.get() if context is None else context.get(_PROCESS)
    if process is not None:
        process.owns(task)
        if process.is_dead:
            task.cancel()
    return task
