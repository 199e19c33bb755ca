"""The one request that comes all day, `POST /v1/queue/next`, answered ahead of the application's routing.

Finding the route, its parameters and its models takes the desk longer than choosing what to hand out. What is not plain, and
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
        received = [await receive()]
        while received[-1].get("more_body"):
            received.append(await receive())
        try:
            body = await self._answer(Wish.model_validate_json(b"".join(part.get("body", b"") for part in received)))
        except (ValidationError, NotReady):
            await self._app(scope, _again(received, receive), send)
            return
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_plain(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"] != NEXT or scope["method"] != "POST":
        return False
    # Without it a page of another origin could ask in the name of whoever looks at it.
    return any(name == b"content-type" and value == JSON for name, value in scope["headers"])


def _again(received: list[Message], receive: Receive) -> Receive:
    """What was received already, and then the rest."""
    parts = iter(received)

    async def next_() -> Message:
        part = next(parts, None)
        return await receive() if part is None else part

    return next_
