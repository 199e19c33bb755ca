"""The committed files that follow from the schemas: JSON Schemas, the AsyncAPI document, docs/events.md, golden examples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml
from pydantic.json_schema import GenerateJsonSchema

import schemas
from infra.golden_examples import LEDGER, broken, ledger, without_upcast
from infra.schema_compatibility import Breach, breaches, widenings
from infra.schema_docs import events_page
from schemas.catalogue import EVENT_TYPES, EventType
from schemas.topics import FACT_TOPICS, Topic

ROOT = Path(schemas.__file__).parent.parent
JSON = "schemas/json"
ASYNCAPI = "schemas/asyncapi.yaml"
EVENTS_PAGE = "docs/events.md"

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What is wrong with one committed file; `breaks` is true where events in the log would be refused."""

    file: str
    reason: str
    breaks: bool = False


def json_schema(entry: EventType) -> JsonObject:
    """The JSON Schema (2020-12) of an event type: envelope and data, as it stands on the wire."""
    about = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"urn:assay:event:{entry.name}:v{entry.version}",
        "title": f"{entry.name}.v{entry.version}",
        "description": entry.doc,
    }
    generated = entry.event.model_json_schema()
    return about | {name: value for name, value in generated.items() if name not in about}


def asyncapi_by_reference() -> JsonObject:
    """The AsyncAPI document as it is committed, beside the schemas that it names."""
    return _asyncapi(lambda entry: {"$ref": f"./json/{_message_name(entry)}.json"})


def asyncapi_whole() -> JsonObject:
    """The AsyncAPI document with every schema in it."""
    return _asyncapi(json_schema)


def _asyncapi(payload: Callable[[EventType], JsonObject]) -> JsonObject:
    from pydantic_asyncapi.v3 import AsyncAPI

    document: JsonObject = {
        "asyncapi": "3.0.0",
        "info": {"title": "Assay", "version": "1", "description": "Facts on Kafka: CloudEvents 1.0 as JSON, string keys."},
        "defaultContentType": "application/json",
        "channels": {topic.table: _channel(topic) for topic in FACT_TOPICS},
        "operations": {f"read_{topic.table}": _operation(topic) for topic in FACT_TOPICS},
        "components": {"messages": {_message_name(entry): _message(entry, payload) for entry in EVENT_TYPES.values()}},
    }
    AsyncAPI.model_validate(document)
    return document


def _channel(topic: Topic) -> JsonObject:
    messages = {_message_name(entry): {"$ref": f"#/components/messages/{_message_name(entry)}"} for entry in _on(topic)}
    about = {"address": topic.name, "description": f"{topic.holds}; key: {topic.key}", "messages": messages}
    return about | {"bindings": {"kafka": {"topic": topic.name, "bindingVersion": "0.5.0"}}}


def _operation(topic: Topic) -> JsonObject:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{topic.table}"}, "summary": f"Read {topic.holds}"}


def _message(entry: EventType, payload: Callable[[EventType], JsonObject]) -> JsonObject:
    from pydantic_asyncapi.v3 import MultiFormatSchema

    headers = {name: {"type": "string", "description": text} for name, text in _HEADERS.items()}
    # The schemas say only what both drafts understand alike, and AsyncAPI's tools know the older.
    schema = {"schemaFormat": "application/schema+json;version=draft-07", "schema": payload(entry)}
    MultiFormatSchema.model_validate(schema)
    return {
        "name": entry.type,
        "title": entry.name,
        "summary": entry.doc,
        "contentType": "application/json",
        "headers": {"type": "object", "properties": headers},
        "payload": schema,
    }


_HEADERS = {"ce_id": "the event's id, a UUIDv7", "ce_type": "the event's type with its version"}


def _on(topic: Topic) -> Iterator[EventType]:
    return (entry for entry in EVENT_TYPES.values() if topic in entry.topics)


def _message_name(entry: EventType) -> str:
    return f"{entry.name}.v{entry.version}"


def generated(root: Path = ROOT) -> dict[str, str]:
    """Path from the root of the checkout -> the text that the file must have."""
    files = {f"{JSON}/{_message_name(entry)}.json": _as_json(json_schema(entry)) for entry in EVENT_TYPES.values()}
    return files | {ASYNCAPI: as_yaml(asyncapi_by_reference()), EVENTS_PAGE: events_page(), LEDGER: ledger(root)}


def _as_json(schema: JsonObject) -> str:
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode() + "\n"


def as_yaml(document: JsonObject) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text


def findings(files: Mapping[str, str], root: Path = ROOT) -> list[Finding]:
    """What differs between these files and the committed ones, and which differences the log would not survive."""
    found = [finding for file, text in sorted(files.items()) for finding in _compare(root / file, file, text)]
    unknown = sorted(path.name for path in (root / JSON).glob("*") if f"{JSON}/{path.name}" not in files)
    # A type that is gone leaves its events in the log for ever.
    found += [Finding(f"{JSON}/{name}", "no event type has this schema any more", breaks=True) for name in unknown]
    found += [
        Finding(f"{JSON}/{_file(type_)}", "no upcast leads on from this version", breaks=True) for type_ in without_upcast()
    ]
    return found + [Finding(file, reason, breaks=True) for file, reason in broken(root)]


def _file(type_: str) -> str:
    return f"{_message_name(EVENT_TYPES[type_])}.json"


def _compare(path: Path, file: str, text: str) -> Iterator[Finding]:
    if not path.exists():
        # An installed package has no docs.
        if file != EVENTS_PAGE or (path.parents[1] / "pyproject.toml").exists():
            yield Finding(file, "missing")
        return
    committed = path.read_text("utf-8")
    if committed == text:
        return
    if path.suffix == ".json":
        yield from (Finding(file, str(breach), breaks=True) for breach in _breaches(committed, text))
    yield Finding(file, "stale")


def _breaches(committed: str, text: str) -> list[Breach]:
    try:
        old, new = orjson.loads(committed), orjson.loads(text)
        return breaches(old, new) or widenings(old, new)
    except orjson.JSONDecodeError:
        return []


def write(files: Mapping[str, str], stale: list[Finding], root: Path = ROOT) -> None:
    """Write the files that are missing or stale."""
    for finding in stale:
        path = root / finding.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[finding.file], "utf-8")
