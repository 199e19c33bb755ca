"""A server of HTTP inside a process of ours: its own socket, and signals that one place handles."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine, Iterator
from typing import Any

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from infra import ports


class Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: one place decides when this process ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(main: Coroutine[Any, Any, None]) -> None:
    """As `asyncio.run`, on uvloop where that is installed, which spends less on each answer."""
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(main)


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C set the event while the block runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def listening_on(port: int, name: str) -> Iterator[socket.socket]:
    """A socket on loopback. Raises AssayError where the port is taken."""
    # With the protocol said, or asyncio leaves Nagle's algorithm on, and an answer of two packets takes 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((ports.HOST, port))
        except OSError as error:
            raise ports.taken(port, name) from error
        yield listening
