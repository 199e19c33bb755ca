"""Any event that a JSON Schema allows: strategies made from the generated schemas, so that no field is forgotten."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from schemas.catalogue import EVENT_TYPES, EventType

Schema = dict[str, Any]

_TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(
    lambda time: time.isoformat().replace("+00:00", "Z")
)
_CHARACTERS = st.characters(exclude_categories=["Cs"])
#: Long enough to meet every kind of value, short enough for a test.
_MOST = 20


def events(entry: EventType) -> st.SearchStrategy[Schema]:
    """Events of this type, as JSON values."""
    schema = entry.event.model_json_schema()
    return _value(schema, schema.get("$defs", {}))


def any_event() -> st.SearchStrategy[Schema]:
    return st.one_of([events(entry) for entry in EVENT_TYPES.values()])


def _agreeing(policy: Schema) -> Schema:
    """The policy with the rules between fields, which a JSON Schema cannot say."""
    for what in ("overlap", "preference_overlap"):
        if (low := policy.get(f"{what}_min", 2)) > policy.get(f"{what}_max", 5):
            policy[f"{what}_max"] = low
    if "labels" in policy or "approving" in policy:
        labels = policy.get("labels", ["good", "bad"])
        policy["approving"] = labels[: len(policy.get("approving", labels))]
    return policy


def _value(schema: Schema, defs: dict[str, Schema]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _value(defs[schema["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in schema:
        return st.one_of([_value(one, defs) for one in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    return _OF_KIND[schema["type"]](schema, defs)


def _object(schema: Schema, defs: dict[str, Schema]) -> st.SearchStrategy[Schema]:
    if "properties" in schema:
        fields = {name: _value(field, defs) for name, field in schema["properties"].items()}
        required = {name: fields[name] for name in schema["required"]} if "required" in schema else {}
        optional = {name: field for name, field in fields.items() if name not in required}
        made = st.fixed_dictionaries(required, optional=optional)
        return made.map(_agreeing) if "overlap_min" in fields else made
    keys = [st.from_regex(pattern, fullmatch=True) for pattern in schema.get("patternProperties", {})]
    values = next(iter(schema["patternProperties"].values())) if keys else schema["additionalProperties"]
    return st.dictionaries(keys[0] if keys else st.text(_CHARACTERS, max_size=_MOST), _value(values, defs), max_size=5)


def _array(schema: Schema, defs: dict[str, Schema]) -> st.SearchStrategy[Any]:
    items = schema["items"]
    # A policy names no label and no criterion twice.
    return st.lists(
        _value(items, defs),
        min_size=schema.get("minItems", 0),
        max_size=min(schema["maxItems"], _MOST),
        unique=items.get("type") == "string",
    )


def _text(schema: Schema, _: dict[str, Schema]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return _TIMES
    if schema.get("minLength", 0) == schema.get("maxLength", -1):
        # An embedding: any base64 of its length will do.
        return st.binary(min_size=48, max_size=48).map(lambda seed: (seed.hex() * 6)[: schema["maxLength"]])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return st.text(_CHARACTERS, min_size=schema.get("minLength", 0), max_size=min(schema["maxLength"], 200))


_OF_KIND = {
    "array": _array,
    "boolean": lambda *_: st.booleans(),
    "integer": lambda schema, _: st.integers(schema["minimum"], schema["maximum"]),
    "null": lambda *_: st.none(),
    "object": _object,
    "string": _text,
}
