"""Bytes in, events and problems out: how the tests of adapters call them."""

import io
from collections.abc import Sequence
from typing import Any

import orjson

from infra.importing.facts import Imported, Options
from infra.importing.formats import FORMAT_BY_NAME
from infra.importing.lines import Problem, text_lines
from schemas.events import AnyEvent


def lines(content: bytes | str) -> Any:
    return text_lines(io.BytesIO(content.encode() if isinstance(content, str) else content))


def adapted(name: str, content: bytes | str, options: Options | None = None) -> tuple[list[AnyEvent], list[Problem]]:
    found = list(FORMAT_BY_NAME[name].adapter(lines(content), options or Options("p")))
    return [one.event for one in found if isinstance(one, Imported)], [one for one in found if isinstance(one, Problem)]


def codes(problems: Sequence[Problem]) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in problems]


def kinds(events: Sequence[AnyEvent]) -> list[str]:
    return [type(event.data).__name__ for event in events]


def json_lines(*objects: object) -> bytes:
    return b"".join(orjson.dumps(one) + b"\n" for one in objects)
