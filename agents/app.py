"""The Faust app: `faust -A agents.app worker` runs the agents that `ASSAY_WORKER__AGENTS` names."""

import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

import faust
import structlog

from agents.readiness import ready
from agents.settings import WorkerSettings
from agents.topology import AGENT_BY_NAME, Agent, AgentRunner
from agents.transport import SCHEME, BatchSchema

log = structlog.get_logger(__name__)

#: Faults that only a restart can cure. The supervisor restarts a worker that ends with it.
EXIT_FATAL = 70


def end_process(error: BaseException) -> None:
    """End before anything is acknowledged that was not handled; Faust's own way out would wait for those."""
    log.error("worker stops", error=repr(error), hint="what was not acknowledged is handled after a restart")
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_FATAL)


class App(faust.App):
    """A Faust app that makes its own folder, and spares the garbage collector."""

    async def on_first_start(self) -> None:
        _prepare_process(Path(self.conf.datadir))
        await super().on_first_start()


def _prepare_process(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    # State is millions of long-lived objects: scanning them again and again is what the collector must not do.
    gc.freeze()
    gc.set_threshold(500_000, 20, 100)


def create_app(settings: WorkerSettings) -> faust.App:
    """An app with these agents."""
    app = App(
        settings.group,
        broker=[f"{SCHEME}://{address}" for address in settings.brokers.split(",")],
        store="memory://",
        datadir=settings.data_dir / "faust",
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=settings.batch_records,
        consumer_max_fetch_size=4 * 1024 * 1024,
        broker_commit_interval=0.5,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=20.0,
        stream_buffer_maxsize=4,
        web_enabled=bool(settings.web_port),
        web_port=settings.web_port or 6066,
        web_in_thread=False,
    )
    for name in settings.names:
        _add(app, AGENT_BY_NAME[name], settings)
    app.on_partitions_assigned.connect(_tell_ready, weak=False)
    app.on_rebalance_complete.connect(_tell_ready, weak=False)
    return app


def _add(app: faust.App, agent: Agent, settings: WorkerSettings) -> None:
    runner = agent.runner(settings, end_process)
    topic = app.topic(agent.source.name, schema=BatchSchema())

    async def handle(stream: Any) -> None:
        await runner.run(stream.noack().events())

    app.agent(topic, name=agent.name, concurrency=1)(handle)
    _follow_rebalances(app, agent, runner)


def _follow_rebalances(app: faust.App, agent: Agent, runner: AgentRunner) -> None:
    async def on_assigned(_: Any, /, *arguments: Any, signal: Any = None, **__: Any) -> None:
        assigned = arguments[0]
        await runner.keep({tp.partition for tp in assigned if tp.topic == agent.source.name})

    async def on_shutdown(*_: Any, **__: Any) -> None:
        await runner.close()

    app.on_partitions_assigned.connect(on_assigned, weak=False)
    app.on_before_shutdown.connect(on_shutdown, weak=False)


async def _tell_ready(*_: Any, **__: Any) -> None:
    ready()


def run(settings: WorkerSettings, loglevel: str) -> None:
    """Run these agents until SIGTERM or SIGINT, then finish, flush, commit and leave; ends the process."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    faust.Worker(create_app(settings), loglevel=loglevel, quiet=True, redirect_stdouts=False).execute_from_commandline()


app = create_app(WorkerSettings.from_environment())
