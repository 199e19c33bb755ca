"""A worker process with one oddity, by name: `python -m tests.agents.odd_worker NAME`. The rest is what is shipped."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar, cast

from faust.transport.drivers import TRANSPORTS
from faust.types import TP
from faust.types.tuples import Message

from agents.app import App, create_app, run_app
from agents.partition import Partition
from agents.runner import Runner
from agents.settings import WorkerSettings
from agents.topology import AGENT_BY_NAME, Agent
from agents.transport import SCHEME, BatchConsumer, BatchTransport
from streams.review import REVIEW


class NeverAcknowledges(Runner):
    """Folds, and makes nothing durable."""

    async def flush(self) -> None:
        self._relieved.set()


class Stalled(Runner):
    """Its flushes wait until the file `ASSAY_TEST_GATE` is there; until then it tells what waits, in `ASSAY_TEST_HELD`."""

    async def flush(self) -> None:
        while not self._open():  # noqa: ASYNC110  the gate is a file
            await asyncio.sleep(0.2)
        await super().flush()

    def _open(self) -> bool:
        Path(os.environ["ASSAY_TEST_HELD"]).write_text(json.dumps(self._held()))
        return Path(os.environ["ASSAY_TEST_GATE"]).exists()

    def _held(self) -> dict[str, int]:
        app, consumer = APPS[0], cast(BatchConsumer, APPS[0].consumer)
        fetched = consumer._thread._ensure_consumer()._fetcher._records.values()
        parts = [result._partition_records for result in fetched]
        channels = {channel for found in app.topics._tp_index.values() for channel in found}  # type: ignore[attr-defined]
        return {
            "fetched_bytes": max((part._records.size_in_bytes() for part in parts if part is not None), default=0),
            "handed_over": max((channel.queue.qsize() for channel in channels), default=0),
            "unflushed_bytes": self.unflushed_bytes,
            "unflushed_rows": self.unflushed_rows,
            "full_batches": len(self._publisher._full),
        }


class RecoversLate(Runner):
    """Partition 0 is not live before the file `ASSAY_TEST_GATE` is there."""

    async def _catch_up(self, partition: Partition, end: int) -> None:
        while partition.number == 0 and not Path(os.environ["ASSAY_TEST_GATE"]).exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.1)
        await super()._catch_up(partition, end)


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


RUNNERS: dict[str, type[Runner]] = {
    "never-acknowledges": NeverAcknowledges,
    "slow": Slow,
    "deaf": Runner,
    "stalled": Stalled,
    "recovers-late": RecoversLate,
}
#: The one app of this process.
APPS: list[App] = []


def review(runner: type[Runner]) -> Agent:
    shipped = AGENT_BY_NAME["review"]

    def make(settings: WorkerSettings, fatal: Callable[[BaseException], None]) -> Runner:
        return runner(REVIEW, settings, fatal)

    return Agent(shipped.name, shipped.source, shipped.derives, make)


def main(oddity: str) -> None:
    if oddity == "deaf":
        TRANSPORTS.aliases[SCHEME] = f"{DeafTransport.__module__}:DeafTransport"
    APPS.append(create_app(WorkerSettings.from_environment(), [review(RUNNERS[oddity])]))
    run_app(APPS[0], "warn")


if __name__ == "__main__":
    main(sys.argv[1])
