"""What lies between clients and the broker in memory: nothing by default, seeded delays and losses in a simulation."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Network(Protocol):
    """Carries requests, each of which is one step on the broker."""

    async def request(self, client: str, name: str, operation: Callable[[], T]) -> T:
        """Carry out one operation for this connection, named CLIENT/NUMBER; `name` says which, for traces."""
        ...


class Direct:
    """A network on which nothing happens."""

    async def request(self, client: str, name: str, operation: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        return operation()
