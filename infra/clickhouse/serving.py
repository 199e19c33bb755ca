"""The process that owns the analytics store: migrations, then sink and gateway until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agents.collecting import spare_the_collector
from infra import ports
from infra.clickhouse import migrate
from infra.clickhouse.engine import GATEWAY, Embedded, Server, announced, open_store
from infra.clickhouse.gateway import Gateway
from infra.clickhouse.sink import Sink
from infra.http.serving import Uvicorn, listening_on, stopped_by_signals
from infra.kafka.topics import ensure_topics
from infra.settings import Settings

#: Requests get this long to end before their connections are closed.
GRACE_SECONDS = 3
Say = Callable[[str], None]


async def serve(settings: Settings, bootstrap: str, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C; raise AssayError where the store, the port or the log cannot be had.

    `say` is called once, when rows flow and the port answers.
    """
    store = open_store(settings)
    spare_the_collector()
    try:
        await asyncio.to_thread(migrate.up, store)
        await ensure_topics(bootstrap, settings)
        await _serve_open(settings, store, bootstrap, say)
    finally:
        # Here and not in a signal handler, where closing chDB would wait for ever.
        store.close()


async def _serve_open(settings: Settings, store: Embedded | Server, bootstrap: str, say: Say) -> None:
    sink = Sink(store, bootstrap)
    with contextlib.ExitStack() as closing:
        app, where = _status_app(sink.status), settings.clickhouse.url or ""
        if isinstance(store, Embedded):
            token = settings.clickhouse.token
            gateway = Gateway(store, token.get_secret_value() if token else None, sink.status)
            closing.callback(gateway.close)
            app = gateway.app
        port = ports.choose(settings.data_dir, GATEWAY, settings.clickhouse.port)
        stop = asyncio.Event()
        closing.enter_context(stopped_by_signals(stop))
        server = Uvicorn(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off"))
        listening = closing.enter_context(listening_on(port, GATEWAY))
        await _run(sink, server, listening, stop, lambda: _announce(settings, closing, port, say, where))


def _announce(settings: Settings, closing: contextlib.ExitStack, port: int, say: Say, where: str) -> None:
    closing.enter_context(announced(settings))
    at = f"http://{ports.HOST}:{port}"
    say(f"ready: sink to {where.rpartition('@')[2]}, status on {at}" if where else f"ready: ClickHouse on {at}")


async def _run(sink: Sink, server: Uvicorn, listening: socket.socket, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    stored = asyncio.create_task(sink.run(stop), name="sink")
    served = asyncio.create_task(server.serve([listening]), name="gateway")
    waiting = asyncio.create_task(_when_ready(sink, server, ready), name="ready")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([stored, served, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        server.should_exit = True
        for task in (waiting, stopped):
            task.cancel()
        results = await asyncio.gather(stored, served, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _when_ready(sink: Sink, server: Uvicorn, ready: Callable[[], None]) -> None:
    await sink.started.wait()
    while not server.started:  # noqa: ASYNC110  # uvicorn has a flag and no event
        await asyncio.sleep(0.02)
    ready()


def _status_app(status: Callable[[], dict[str, Any]]) -> Starlette:
    async def show(_: Request) -> Response:
        return Response(orjson.dumps(status()), media_type="application/json")

    return Starlette(routes=[Route("/assay/status", show)])
