"""A worker process with one oddity, by name: `python -m tests.agents.odd_worker NAME`. The rest is what is shipped."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

from faust.transport.drivers import TRANSPORTS
from faust.types import TP
from faust.types.tuples import Message

from agents.app import create_app, run_app
from agents.runner import Runner
from agents.settings import WorkerSettings
from agents.topology import AGENT_BY_NAME, Agent
from agents.transport import SCHEME, BatchConsumer, BatchTransport
from streams.review import REVIEW


class NeverAcknowledges(Runner):
    """Folds, and makes nothing durable."""

    async def flush(self) -> None:
        self._relieved.set()


class Slow(Runner):
    """Takes its time over each batch."""

    async def process(self, event: Any) -> None:
        await asyncio.sleep(0.5)
        await super().process(event)


class DeafConsumer(BatchConsumer):
    """Is told of no record, as if a fetch never returned."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        await asyncio.sleep(timeout)
        for nothing in ():
            yield nothing


class DeafTransport(BatchTransport):
    Consumer: ClassVar[type[BatchConsumer]] = DeafConsumer


RUNNERS: dict[str, type[Runner]] = {"never-acknowledges": NeverAcknowledges, "slow": Slow, "deaf": Runner}


def review(runner: type[Runner]) -> Agent:
    shipped = AGENT_BY_NAME["review"]

    def make(settings: WorkerSettings, fatal: Callable[[BaseException], None]) -> Runner:
        return runner(REVIEW, settings, fatal)

    return Agent(shipped.name, shipped.source, shipped.derives, make)


def main(oddity: str) -> None:
    if oddity == "deaf":
        TRANSPORTS.aliases[SCHEME] = f"{DeafTransport.__module__}:DeafTransport"
    run_app(create_app(WorkerSettings.from_environment(), [review(RUNNERS[oddity])]), "warn")


if __name__ == "__main__":
    main(sys.argv[1])
