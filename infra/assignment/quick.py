"""The one request that comes all day, `POST /v1/queue/next`, answered ahead of the application's routing.

Finding the route, its parameters and its models takes the desk as long as choosing what to hand out. What is not plain, and
what cannot be answered with leases, goes on to the application and is said there.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from pydantic import ValidationError

from infra.assignment.ledger import NotReady
from infra.assignment.routes import NEXT, Wish

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = b"application/json"


def answered_quickly(app: FastAPI, answer: Callable[[Wish], Awaitable[bytes]]) -> None:
    """Have plain requests answered by this, before the application looks for a route."""
    app.add_middleware(Quick, answer=answer)


class Quick:
    """A middleware of ASGI."""

    def __init__(self, app: App, answer: Callable[[Wish], Awaitable[bytes]]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        first = await receive()
        try:
            body = await self._answer(_wish(first))
        except (ValidationError, NotReady):
            await self._app(scope, _again(first, receive), send)
            return
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_plain(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"] != NEXT or scope["method"] != "POST":
        return False
    return any(name == b"content-type" and value == JSON for name, value in scope["headers"])


def _wish(first: Message) -> Wish:
    """What a body that came at once asks for. Raises ValidationError, also where more is to come."""
    return Wish.model_validate_json(b"" if first.get("more_body") else first.get("body", b""))


def _again(first: Message, receive: Receive) -> Receive:
    """What was received already, and then the rest."""
    received = [first]

    async def next_() -> Message:
        return received.pop() if received else await receive()

    return next_
