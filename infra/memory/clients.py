"""The clients of a broker in memory, and how an address leads to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from agents.clients import Consumer, Producer, registered
from infra.memory.broker import MemoryBroker
from infra.memory.consumer import MemoryConsumer
from infra.memory.network import Direct, Network
from infra.memory.producer import MemoryProducer


@dataclass
class InMemory:
    """Makes clients of this broker over this network; each is a connection of its own, CLIENT/1, CLIENT/2 and so on."""

    broker: MemoryBroker
    network: Network = field(default_factory=Direct)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def producer(self, client: str, options: Mapping[str, Any]) -> Producer:
        return MemoryProducer(self.broker, self.network, self._connection(client), options)

    def consumer(self, client: str, options: Mapping[str, Any]) -> Consumer:
        return MemoryConsumer(self.broker, self.network, self._connection(client), options)

    def _connection(self, client: str) -> str:
        return f"{client}/{next(self._numbers)}"


@contextmanager
def serving(name: str, broker: MemoryBroker) -> Iterator[str]:
    """The address of this broker, as long as the context lasts."""
    with registered(name, InMemory(broker)) as address:
        yield address
