"""Errors over HTTP as RFC 9457 problems: a title, a code for programs, and a hint for people."""

from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from infra.errors import AssayError, explain

#: Of what a problem says in one place.
MOST_CHARACTERS = 2_000


class Problem(Exception):
    """What an endpoint raises to answer with anything but success."""

    def __init__(self, status: int, code: str, title: str, hint: str, retry_after: int | None = None) -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title
        self.hint = hint
        self.retry_after = retry_after


def problem(raised: Problem, **more: Any) -> Response:
    body = {"type": "about:blank", "title": raised.title, "status": raised.status, "code": raised.code, "hint": raised.hint}
    headers = {} if raised.retry_after is None else {"Retry-After": str(raised.retry_after)}
    return Response(orjson.dumps(_sayable(body | more)), raised.status, headers, "application/problem+json")


def _sayable(said: Any) -> Any:
    """The same without halves of surrogate pairs, which a request may hold and no answer can; and nobody's megabytes back."""
    if isinstance(said, dict):
        return {_sayable(name): _sayable(value) for name, value in said.items()}
    if isinstance(said, list | tuple):
        return [_sayable(value) for value in said]
    return said[:MOST_CHARACTERS].encode("utf-8", "replace").decode() if isinstance(said, str) else said


def said_as_problems(app: FastAPI) -> None:
    """Whatever goes wrong in this application is answered as a problem."""

    @app.exception_handler(Problem)
    async def ours(_: Request, raised: Problem) -> Response:
        return problem(raised)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        pointer = "/" + "/".join(str(part) for part in first["loc"][1:])
        hint = f"{pointer}: {first['msg']}; /docs has what it takes"
        return problem(Problem(422, "invalid", "The request is not as it should be", hint), pointer=pointer)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        code = "not_found" if error.status_code == 404 else "refused"
        return problem(Problem(error.status_code, code, str(error.detail), "/docs lists all endpoints"))

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        told = explain(error)
        known = isinstance(error, AssayError)
        return problem(Problem(500, "failed", told.what, str(told.hint) if known else "its log says more"))
