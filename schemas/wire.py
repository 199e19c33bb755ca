"""Between events and bytes: strict JSON in, compact JSON out, old versions upcast, too-new ones named."""

from collections.abc import Callable
from typing import Any, cast

import orjson
from pydantic import ValidationError

from schemas.catalogue import EVENT_TYPES, split_type
from schemas.events import EVENT, AnyEvent

#: `type` of an old version -> a function from its JSON object to the next version's. Chains run to the newest.
UPCASTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

NEWEST: dict[str, int] = {}
for _entry in EVENT_TYPES.values():
    NEWEST[_entry.name] = max(_entry.version, NEWEST.get(_entry.name, 0))


class Undecodable(ValueError):
    """Bytes that are no event; `code` is one of not_json, unknown_type, too_new, invalid."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


_validate_json = EVENT.validator.validate_json


def decode(value: bytes) -> AnyEvent:
    """The event in these bytes, upcast to its newest version. Raises Undecodable, and nothing else."""
    try:
        event: AnyEvent = _validate_json(value)
        return event
    except ValidationError as refused:
        return _decode_slowly(value, refused)


def _decode_slowly(value: bytes, refused: ValidationError) -> AnyEvent:
    try:
        loaded: Any = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Undecodable("not_json", str(error)) from None
    raw = cast(dict[str, Any], loaded) if isinstance(loaded, dict) else {}
    type_ = raw.get("type")
    if not isinstance(type_, str):
        raise Undecodable("invalid", "no CloudEvents object: `type` is missing")
    if type_ not in UPCASTS:
        raise _refusal(type_, refused) from None
    while type_ in UPCASTS:
        raw = UPCASTS[type_](raw)
        type_ = raw["type"]
    try:
        return EVENT.validate_json(orjson.dumps(raw))
    except ValidationError as error:
        raise _refusal(type_, error) from None


def _refusal(type_: str, error: ValidationError) -> Undecodable:
    if type_ in EVENT_TYPES:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/" + "/".join(str(part) for part in first["loc"][1:])
        return Undecodable("invalid", f"{type_}: {where}: {first['msg']}"[:1_000])
    try:
        name, version = split_type(type_)
    except ValueError:
        return Undecodable("unknown_type", f"unknown event type {type_[:128]!r}")
    if version > NEWEST.get(name, version):
        return Undecodable("too_new", f"{name} v{version} is newer than v{NEWEST[name]}, the newest that this version reads")
    return Undecodable("unknown_type", f"unknown event type {type_[:128]!r}")


def encode(event: AnyEvent) -> bytes:
    """The event as compact JSON, without fields that are absent."""
    return EVENT.dump_json(event, exclude_none=True)


def headers(id_: str, type_: str) -> list[tuple[str, bytes]]:
    """The Kafka headers that let tools filter without parsing the value."""
    return [("ce_id", id_.encode()), ("ce_type", type_.encode())]
