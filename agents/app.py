"""The Faust app: `faust -A agents.app worker` runs the agents that `ASSAY_WORKER__AGENTS` names."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import faust
import structlog
from faust.tables import TableManager

from agents.collecting import spare_the_collector
from agents.condition import Condition
from agents.health import Health
from agents.rebalancing import hand_back, take_over
from agents.settings import WorkerSettings
from agents.stopping import EXIT_USAGE, Worker, end_process, leave
from agents.topology import AGENT_BY_NAME, Agent, AgentRunner
from agents.transport import SCHEME, BatchSchema
from agents.watchdog import Standstill, Watchdog

log = structlog.get_logger(__name__)

#: How long a rebalance waits for what is folded to become durable; all members wait for each.
REVOKE_SECONDS = 5.0


class NoTables(TableManager):
    """Faust waits a second for tables to be declared before it joins the group. There are none."""

    async def sleep(self, n: object) -> None:
        await asyncio.sleep(0)


class App(faust.App):
    """A Faust app that makes its own folder, spares the garbage collector, and watches itself."""

    condition: Condition
    watchdog: Watchdog
    health: Health | None = None

    async def on_first_start(self) -> None:
        await asyncio.to_thread(Path(self.conf.datadir).mkdir, parents=True, exist_ok=True)
        spare_the_collector()
        self._start_health()
        self.add_future(self.condition.beat())
        self.add_future(self._watch())
        await super().on_first_start()

    def _start_health(self) -> None:
        try:
            if self.health is not None:
                self.health.start()
        except OSError as error:
            log.error("cannot answer on worker.health_port", got=str(error), hint="choose another port; 0 is off")
            leave(EXIT_USAGE)

    async def on_stop(self) -> None:
        self.condition.stopping = True
        await super().on_stop()

    async def _watch(self) -> None:
        try:
            await self.watchdog.run()
        except Standstill as error:
            end_process(error)


def create_app(settings: WorkerSettings, agents: Sequence[Agent] | None = None) -> App:
    """An app with these agents; without them, with those that the settings name."""
    chosen = agents or [AGENT_BY_NAME[name] for name in settings.names]
    app = App(
        settings.group,
        broker=[f"{SCHEME}://{address}" for address in settings.brokers.split(",")],
        store="memory://",
        datadir=settings.data_dir / "faust",
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=min(settings.batch_records, *(agent.batch_records for agent in chosen)),
        consumer_max_fetch_size=4 * 1024 * 1024,
        broker_commit_interval=0.5,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=20.0,
        # Nothing is fetched while a recovery is under way, however long; that it moves is the watchdog's to see.
        broker_max_poll_interval=86_400.0,
        stream_buffer_maxsize=4,
        # What is folded is flushed at a revocation and at a stop; waiting for all that is in a buffer has no bound.
        stream_wait_empty=False,
        web_enabled=bool(settings.web_port),
        web_port=settings.web_port or 6066,
        web_in_thread=False,
        TableManager=NoTables,
        Worker=Worker,
    )
    running = {agent: _add(app, agent, settings) for agent in chosen}
    app.condition = Condition(list(running.values()))
    app.watchdog = Watchdog(settings, lambda: app.condition.assigned, app.condition.recovered)
    if settings.health_port:
        app.health = Health(settings.health_host, settings.health_port, lambda: app.condition.report(app.watchdog.seen))
    _follow_rebalances(app, running)
    return app


def _add(app: App, agent: Agent, settings: WorkerSettings) -> AgentRunner:
    runner = agent.runner(settings, end_process)
    topic = app.topic(agent.source.name, schema=BatchSchema())

    async def handle(stream: Any) -> None:
        await runner.run(stream.noack().events())

    app.agent(topic, name=agent.name, concurrency=1)(handle)
    return runner


def _follow_rebalances(app: App, running: Mapping[Agent, AgentRunner]) -> None:
    async def on_revoked(*_: Any, **__: Any) -> None:
        await hand_back(running.values(), app.consumer.commit, REVOKE_SECONDS)

    async def on_assigned(_: Any, /, *arguments: Any, **__: Any) -> None:
        assigned = frozenset((tp.topic, tp.partition) for tp in arguments[0])
        await take_over([(agent.source.name, runner) for agent, runner in running.items()], assigned)
        app.condition.assigned = assigned

    async def on_shutdown(*_: Any, **__: Any) -> None:
        await asyncio.gather(*(runner.close() for runner in running.values()))

    app.on_partitions_revoked.connect(on_revoked, weak=False)
    app.on_partitions_assigned.connect(on_assigned, weak=False)
    app.on_before_shutdown.connect(on_shutdown, weak=False)


def run(settings: WorkerSettings, loglevel: str) -> NoReturn:
    """Run these agents until SIGTERM or SIGINT, then finish, flush, commit and leave; ends the process."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    run_app(create_app(settings), loglevel)


def run_app(app: App, loglevel: str) -> NoReturn:
    try:
        Worker(app, loglevel=loglevel, quiet=True, redirect_stdouts=False).execute_from_commandline()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))


app = create_app(WorkerSettings.from_environment())
