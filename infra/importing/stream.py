"""A blocking source read by a thread of its own, so that its items can be sent as they come."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_WAITING = 10_000
MAX_BATCH = 5_000


class Feed(Generic[T]):
    """Gives the items of an iterator in batches: whatever has come since the last one, at least one item."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._waiting: deque[T] = deque()
        self._room = threading.Semaphore(MAX_WAITING)
        self._ended = False
        self._error: BaseException | None = None
        self._ready = asyncio.Event()

    async def batches(self) -> AsyncIterator[list[T]]:
        """Raises what the iterator raises, after the items before it."""
        loop = asyncio.get_running_loop()
        # A daemon: a read that waits for input cannot be interrupted, and must not keep the process alive.
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        while True:
            await self._ready.wait()
            self._ready.clear()
            ended = self._ended
            while batch := self._take():
                yield batch
            if ended:
                break
        if self._error is not None:
            raise self._error

    def _take(self) -> list[T]:
        batch: list[T] = []
        while self._waiting and len(batch) < MAX_BATCH:
            batch.append(self._waiting.popleft())
            self._room.release()
        return batch

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        # Once the loop is closed, nobody waits for more.
        with contextlib.suppress(RuntimeError):
            try:
                for item in self._items:
                    self._room.acquire()
                    self._waiting.append(item)
                    if not self._ready.is_set():
                        loop.call_soon_threadsafe(self._ready.set)
            except BaseException as error:
                self._error = error
            self._ended = True
            loop.call_soon_threadsafe(self._ready.set)
