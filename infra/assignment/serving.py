"""The process of the desk: it reads the log, and answers HTTP from the start, with 503 until it has caught up."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

import uvicorn

from agents.collecting import spare_the_collector
from infra import ports
from infra.assignment.desk import Desk
from infra.assignment.overview import known_to
from infra.assignment.quick import answered_quickly
from infra.assignment.routes import queue_routes, taken
from infra.errors import AssayError
from infra.http.application import application
from infra.http.explanations import explanation_routes
from infra.http.policies import policy_routes
from infra.http.serving import Uvicorn, listening_on, stopped_by_signals
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.wiring import key_store

HTTP = "http interface"
GRACE_SECONDS = 3
Say = Callable[[str], None]


async def serve(settings: Settings, bootstrap: str, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `infra.assignment.desk.Fenced` where another desk takes over, and what the log
    refuses. `say` is called once, when work is handed out."""
    await ensure_topics(bootstrap, settings)
    desk = Desk(bootstrap, key_store(settings), settings.queue.patience_seconds * 1_000)
    secret = settings.http.operator_token
    token = secret.get_secret_value() if secret else ""
    targets = slice_targets(settings.queue.slice_targets)
    queues = queue_routes(desk, targets, token)
    policies = policy_routes(bootstrap, lambda project, slice_: known_to(desk, project, slice_), token, settings.data_dir)
    app = application([queues, explanation_routes(bootstrap), policies], desk.report)
    answered_quickly(app, partial(taken, desk, targets))
    port = ports.choose(settings.data_dir, HTTP, settings.http.port)
    stop = asyncio.Event()
    with stopped_by_signals(stop), listening_on(port, HTTP) as listening, contextlib.closing(desk.texts):
        server = Uvicorn(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off"))
        spare_the_collector()
        works = (desk.run(), server.serve([listening]), stop.wait())
        tasks = [asyncio.create_task(work) for work in works]
        saying = asyncio.create_task(_when_ready(desk, lambda: say(f"ready: http://{ports.HOST}:{port}/v1/queue")))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            for task in (saying, tasks[0], tasks[2]):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result


async def _when_ready(desk: Desk, say: Callable[[], None]) -> None:
    await desk.ready.wait()
    # All that came from the log stays, and nobody waits for its first look at it while they are served.
    spare_the_collector()
    say()


def slice_targets(said: str) -> dict[str, int]:
    """`en/poetry/haiku=500,de/legal/rewriting=200` as numbers by slice. Raises AssayError."""
    found: dict[str, int] = {}
    for part in filter(None, said.split(",")):
        name, _, number = part.strip().partition("=")
        if name.count("/") != 2 or not number.isdecimal():
            hint = "write slice=number, with commas between: en/poetry/haiku=500,de/legal/rewriting=200"
            raise AssayError("a slice's target cannot be read", where="queue.slice_targets", got=part, hint=hint)
        found[name] = int(number)
    return found
