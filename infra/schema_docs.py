"""docs/events.md, from the catalogue, the topics and the thresholds."""

from collections.abc import Iterator, Sequence
from typing import Any

from schemas.catalogue import EVENT_TYPES, NEWEST, EventType
from schemas.policy import THRESHOLDS, Threshold
from schemas.topics import TOPICS

_HEAD = """\
# Events

This page is generated from `schemas/` by `assay schema check --write`, and the tests keep it fresh.

Every event is a CloudEvents 1.0 object in JSON: `specversion`, `id` (a UUIDv7), `type` with its version, `source`,
`subject` (the record's key), `time` (UTC) and `data`. Unknown fields are refused. The record has the headers `ce_id`
and `ce_type`. `schemas/json` has the JSON Schema of each type, `schemas/asyncapi.yaml` all of them by topic, and
`schemas/examples` at least one example of each.
"""


_EVOLUTION = """\
## Evolution

What a version of an event takes never changes: the log holds it for ever, and workers of earlier versions of Assay read
what later ones write. A change is a new version:

1. The model in `schemas/events.py` changes, and its type in the union becomes `v<n+1>`.
2. The model as it was moves to `schemas/upcasts.py`, with a method `upcast_v<n>_v<n+1>` that makes the next version of it.
   A fold only ever sees the newest version.
3. `schemas/examples` gets an example of the new version. The old ones stay, and `schemas/golden.sha256` holds them to it.
4. `assay schema check --write` writes the rest. It refuses what would change a version that stands: a field that is gone, a
   narrower or a wider value, a required field without a new version, a version without its upcast, a golden example that is
   gone, changed, or not read any more. `make check` runs it.

Upgrade workers before producers. A worker that meets a later version of a type that it knows stops with exit code 70 and
acknowledges nothing: had it put the record aside, its state would lack what a replay by the next version counts. The
record waits in the log for a worker that reads it (docs/decisions/0007-too-new-stops.md). Old producers may go on for ever.
"""


def events_page() -> str:
    newest = [entry for entry in EVENT_TYPES.values() if entry.version == NEWEST[entry.name]]
    older = [entry for entry in EVENT_TYPES.values() if entry not in newest]
    parts = [_HEAD, _EVOLUTION, "## Topics\n", _topics(), "## Types\n", *map(_type, newest)]
    return "\n".join([*parts, "## Older versions\n", *map(_type, older), "## Thresholds\n", _thresholds()])


def _topics() -> str:
    rows = [(f"`{topic.name}`", topic.key, topic.holds, "compacted" if topic.compacted else "for ever") for topic in TOPICS]
    return _table(("topic", "key", "holds", "kept"), rows)


def _type(entry: EventType) -> str:
    topics = ", ".join(f"`{topic.name}`" for topic in entry.topics)
    return f"### {entry.name} v{entry.version}\n\n{_prose(entry)}\n\n`{entry.type}` on {topics}.\n\n{_fields(entry)}"


def _prose(entry: EventType) -> str:
    return " ".join(entry.doc.split())


def _fields(entry: EventType) -> str:
    schema = entry.data.model_json_schema()
    required = schema.get("required", [])
    rows = [
        (f"`{name}`", _shape(field, schema.get("$defs", {})), "required" if name in required else "may be absent")
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "value", ""), rows)


def _shape(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """One field's type and bounds in words."""
    if "$ref" in field:
        return _object(defs[field["$ref"].removeprefix("#/$defs/")])
    if "anyOf" in field:
        return " or ".join(_shape(one, defs) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_shape(field['items'], defs)}{_at_most(field, 'maxItems')}"
    if values := _values(field):
        return f"object of {_shape(values, defs)}{_at_most(field, 'maxProperties')}"
    return "".join(_simple(field))


def _object(schema: dict[str, Any]) -> str:
    return f"{schema['title'].lower()} ({', '.join(f'`{name}`' for name in schema['properties'])})"


def _simple(field: dict[str, Any]) -> Iterator[str]:
    yield {"date-time": "time"}.get(field.get("format", ""), field.get("type", "any"))
    if "minimum" in field:
        yield f", {field['minimum']:,} to {field['maximum']:,}"
    if "maxLength" in field:
        yield f", {field.get('minLength', 0):,} to {field['maxLength']:,} characters"
    if "pattern" in field:
        yield f", `{field['pattern']}`".replace("|", "\\|")


def _values(field: dict[str, Any]) -> dict[str, Any]:
    """What the values of an object with free keys are."""
    by_pattern: list[dict[str, Any]] = list(field.get("patternProperties", {}).values())
    others = field.get("additionalProperties")
    return by_pattern[0] if by_pattern else others if isinstance(others, dict) else {}


def _at_most(field: dict[str, Any], name: str) -> str:
    return f"; at most {field[name]:,}" if name in field else ""


def _thresholds() -> str:
    rows = [(f"`{one.name}`", _default(one), one.unit, _range(one), one.minimum_count or "", one.help) for one in THRESHOLDS]
    return _table(("threshold", "default", "unit", "range", "minimum count", ""), rows)


def _default(threshold: Threshold) -> str:
    default = threshold.default
    return f"{default:,}" if isinstance(default, int) else default if isinstance(default, str) else ", ".join(default)


def _range(threshold: Threshold) -> str:
    names = " names" if isinstance(threshold.default, tuple) else ""
    return ", ".join(threshold.choices) or f"{threshold.minimum:,} to {threshold.maximum:,}{names}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
