"""Between events and bytes: strict JSON in, compact JSON out, old versions upcast, too-new ones named."""

from collections.abc import Iterable
from typing import Annotated, Any, Union, cast

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from schemas.catalogue import EVENT_OF, EVENT_TYPES, TYPE_OF, EventType, split_type
from schemas.events import AnyEvent
from schemas.upcasts import OLD_EVENTS, UPCASTS, ToldEvent, remade
from schemas.words import Frozen


class Undecodable(ValueError):
    """Bytes that are no event; `code` is one of not_json, unknown_type, too_new, invalid."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class TooNew(Undecodable):
    """A later version of an event type that is known: whoever wrote it is ahead of us, and the event counts."""

    def __init__(self, reason: str) -> None:
        super().__init__("too_new", reason)


_OLD = frozenset(OLD_EVENTS)


class Wire:
    """Reads and writes the versions of events that it is given."""

    def __init__(self, types: Iterable[EventType]) -> None:
        self._types = {entry.type: entry for entry in types}
        self._newest: dict[str, int] = {}
        for entry in self._types.values():
            self._newest[entry.name] = max(entry.version, self._newest.get(entry.name, 0))
        union: Any = Union[tuple(entry.event for entry in self._types.values())]  # noqa: UP007
        tagged: Any = Annotated[union, Field(discriminator="type")]
        self._adapter = TypeAdapter[Any](tagged)
        self._validate_json = self._adapter.validator.validate_json

    def told(self, value: bytes) -> ToldEvent:
        """The event in these bytes, in the version that it was told in. Raises Undecodable, and nothing else."""
        try:
            event: ToldEvent = self._validate_json(value)
            return event
        except ValidationError as refused:
            raise self._undecodable(value, refused) from None

    def decode(self, value: bytes) -> AnyEvent:
        """The event in these bytes, upcast to its newest version. Raises Undecodable, and nothing else."""
        try:
            event = self._validate_json(value)
        except ValidationError as refused:
            raise self._undecodable(value, refused) from None
        return upcast(event) if type(event) in _OLD else event

    def encode(self, event: ToldEvent) -> bytes:
        """The event as compact JSON, without fields that are absent."""
        return self._adapter.dump_json(event, exclude_none=True)

    def _undecodable(self, value: bytes, refused: ValidationError) -> Undecodable:
        try:
            loaded: Any = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            return Undecodable("not_json", str(error))
        type_ = cast(dict[str, Any], loaded).get("type") if isinstance(loaded, dict) else None
        if not isinstance(type_, str):
            return Undecodable("invalid", "no CloudEvents object: `type` is missing")
        if type_ in self._types:
            first = refused.errors(include_url=False, include_input=False)[0]
            where = "/" + "/".join(str(part) for part in first["loc"][1:])
            return Undecodable("invalid", f"{type_}: {where}: {first['msg']}"[:1_000])
        return self._unread(type_)

    def _unread(self, type_: str) -> Undecodable:
        try:
            name, version = split_type(type_)
        except ValueError:
            return Undecodable("unknown_type", f"unknown event type {type_[:128]!r}")
        newest = self._newest.get(name, version)
        if version > newest:
            return TooNew(f"{name} v{version} is newer than v{newest}, the newest that this version reads")
        return Undecodable("unknown_type", f"unknown event type {type_[:128]!r}")


def upcast(event: ToldEvent) -> AnyEvent:
    """The same event in its newest version, through every version in between."""
    data: Frozen = event.data
    while (step := UPCASTS.get(type(data))) is not None:
        data = step(data)
    model = type(data)
    return cast(AnyEvent, remade(event, EVENT_OF[model], type=TYPE_OF[model], data=data))


ALL = Wire(EVENT_TYPES.values())
told, decode, encode = ALL.told, ALL.decode, ALL.encode


def headers(id_: str, type_: str) -> list[tuple[str, bytes]]:
    """The Kafka headers that let tools filter without parsing the value."""
    return [("ce_id", id_.encode()), ("ce_type", type_.encode())]
