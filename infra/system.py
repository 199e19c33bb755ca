"""The parts of the whole system, as `assay up` and `assay demo` run them."""

import asyncio
import sys
from collections.abc import Mapping

from infra.kafka.broker import STOP_SECONDS, Broker
from infra.settings import Settings, environment
from infra.supervisor import Part, Started, program

BROKER, REST = 0, 1
ANALYSIS = {"ASSAY_WORKER__AGENTS": "analysis"}


def parts(settings: Settings, *, skills: bool = True) -> tuple[Part, ...]:
    """Broker (unless one is named or runs already), then workers, estimator of skills, sink and gateway, desk. Topics exist
    before these start."""
    env, count = environment(settings), settings.worker.processes
    workers = (command(f"worker-{number + 1}", ["worker"], env | _health(settings, number)) for number in range(count))
    # By itself, since it brings in a model and must not hold up the folds.
    analysis = command("analysis", ["worker"], env | ANALYSIS | _health(settings, count))
    estimator = (command("skills", ["skills"], env),) if skills else ()
    desk = command("desk", ["queue", "serve"], env)
    audit = (command("audit", ["audit"], env),) if settings.audit.enabled else ()
    ours = (*workers, analysis, *estimator, command("serve", ["serve"], env), desk, *audit)
    if settings.kafka.brokers or Broker(settings).record():
        return ours
    return (broker(settings), *ours)


def _health(settings: Settings, number: int) -> dict[str, str]:
    """A port each: the first worker has the one of the settings, and so on; the analysis has the last."""
    port = settings.worker.health_port
    return {"ASSAY_WORKER__HEALTH_PORT": str(port + number)} if port else {}


def command(name: str, arguments: list[str], env: Mapping[str, str]) -> Part:
    return program(name, REST, [sys.executable, "-m", "infra.cli", *arguments], env)


def broker(settings: Settings) -> Part:
    managed = Broker(settings)

    def launch() -> Started:
        return Started(managed.launch(bound=True), None, lambda: managed.answering() is not None)

    return Part("broker", BROKER, launch, lambda: create_topics(settings), STOP_SECONDS)


def create_topics(settings: Settings) -> None:
    """Create the topics that are missing, on whichever broker it is. Blocks, and not for a running event loop."""
    from infra.kafka.topics import ensure_topics
    from infra.wiring import bootstrap

    asyncio.run(ensure_topics(bootstrap(settings), settings))
