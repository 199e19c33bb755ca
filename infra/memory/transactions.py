"""Who writes in which transaction: producer ids and epochs, fences, and what a time-out ends."""

import asyncio
from dataclasses import dataclass, field

from aiokafka.errors import ProducerFenced

from infra.memory.log import PartitionLog


@dataclass(frozen=True)
class Identity:
    """What a producer was given at its start; transactional ones are fenced by the next with their id."""

    producer: int
    epoch: int = 0
    transactional_id: str | None = None


@dataclass
class _Transactional:
    producer: int
    timeout_seconds: float
    epoch: int = 0
    #: Logs written to in the transaction that is open, in the order of their first message.
    logs: list[PartitionLog] = field(default_factory=list[PartitionLog])
    timer: asyncio.TimerHandle | None = None


class Transactions:
    """The coordinator of all transactional ids."""

    def __init__(self) -> None:
        self._ids: dict[str, _Transactional] = {}
        self._producers = 0

    def begin_producer(self, transactional_id: str | None, timeout_seconds: float) -> Identity:
        """A new identity. With a transactional id, earlier ones are fenced and their open transaction is aborted."""
        if transactional_id is None or transactional_id not in self._ids:
            self._producers += 1
        if transactional_id is None:
            return Identity(self._producers)
        one = self._ids.setdefault(transactional_id, _Transactional(self._producers, timeout_seconds, epoch=-1))
        one.timeout_seconds = timeout_seconds
        self._fence(one)
        return Identity(one.producer, one.epoch, transactional_id)

    def join(self, who: Identity, log: PartitionLog) -> None:
        """The log is written to in this producer's transaction. Raises ProducerFenced."""
        one = self._current(who)
        if one.timer is None:
            one.timer = asyncio.get_running_loop().call_later(one.timeout_seconds, self._fence, one)
        if log not in one.logs:
            one.logs.append(log)

    def end(self, who: Identity, committed: bool) -> None:
        """Commit or abort; nothing where nothing was written. Raises ProducerFenced."""
        self._finish(self._current(who), committed)

    def _current(self, who: Identity) -> _Transactional:
        one = self._ids[str(who.transactional_id)]
        if one.epoch != who.epoch:
            raise ProducerFenced(f"{who.transactional_id}: epoch {who.epoch} is over, {one.epoch} is in force")
        return one

    def _fence(self, one: _Transactional) -> None:
        one.epoch += 1
        self._finish(one, committed=False)

    def _finish(self, one: _Transactional, committed: bool) -> None:
        if one.timer is not None:
            one.timer.cancel()
        logs, one.logs, one.timer = one.logs, [], None
        for log in logs:
            log.finish(one.producer, committed)
