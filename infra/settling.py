"""Whether the agents have caught up: what their groups committed, against where their sources end."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError

from agents.settings import WorkerOptions
from agents.topology import AGENT_BY_NAME
from infra.kafka.reading import ends

#: A fact on its way from one agent to the next is in no group's lag: lag must be nothing this often in a row.
QUIET_LOOKS = 3
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Lag:
    """Events of one agent's source that it has not made durable yet."""

    agent: str
    committed: int
    total: int

    @property
    def events(self) -> int:
        return self.total - self.committed


async def lags(brokers: str, workers: Sequence[WorkerOptions]) -> list[Lag]:
    """How far every agent of these workers has come."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    try:
        await admin.start()
        found: list[Lag] = []
        for worker in workers:
            committed = await _committed(admin, worker.group)
            for name in worker.names:
                total = await ends(brokers, AGENT_BY_NAME[name].source.name)
                done = sum(min(committed.get(place, 0), end) for place, end in total.items())
                found.append(Lag(name, done, sum(total.values())))
        return found
    finally:
        await admin.close()


async def committed_by(brokers: str, group: str) -> dict[tuple[str, int], int]:
    """The next offset of every partition where the group has committed one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        return await _committed(admin, group)
    finally:
        await admin.close()


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[tuple[str, int], int]:
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
        return {}  # a fresh broker has no coordinator until somebody asked for one
    return {(place.topic, place.partition): max(0, at.offset) for place, at in offsets.items()}


async def settled(brokers: str, workers: Sequence[WorkerOptions], watch: Callable[[list[Lag]], None]) -> None:
    """Wait until no agent has anything left to do. `watch` sees every look, and may raise to end the wait."""
    quiet = 0
    while quiet < QUIET_LOOKS:
        found = await lags(brokers, workers)
        watch(found)
        quiet = quiet + 1 if not any(lag.events for lag in found) else 0
        await asyncio.sleep(LOOK_SECONDS)
