"""Where a changed JSON Schema takes other events than the committed one: what older versions wrote stays in the log for ever,
and older workers read what newer ones write."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Breach(NamedTuple):
    """A narrowing at one place of a schema."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"incompatible at {self.where or '/'}: {self.reason}"


class Document(NamedTuple):
    """A whole schema, for its references."""

    root: Schema

    def resolve(self, schema: Schema) -> Schema:
        while (ref := schema.get("$ref")) is not None:
            schema = self.root["$defs"][ref.removeprefix("#/$defs/")]
        return schema


class Pair(NamedTuple):
    """The same place in both documents."""

    where: str
    old: Schema
    new: Schema


def breaches(old: Schema, new: Schema) -> list[Breach]:
    """Every narrowing from the committed schema to the new one, among the forms that pydantic generates."""
    return list(_compare(Pair("", old, new), Document(old), Document(new)))


def widenings(old: Schema, new: Schema) -> list[Breach]:
    """Every place where the new schema takes what the committed one refused, and so a worker of an earlier version."""
    return [Breach(one.where, "it takes more than it did, which older workers refuse") for one in breaches(new, old)]


def _compare(pair: Pair, before: Document, after: Document) -> Iterator[Breach]:
    where, old, new = pair.where, before.resolve(pair.old), after.resolve(pair.new)
    if "anyOf" in old or "anyOf" in new:
        yield from _alternatives(Pair(where, old, new), before, after)
        return
    for check in _CHECKS:
        yield from (Breach(where, reason) for reason in check(old, new))
    yield from _object(Pair(where, old, new), before, after)
    yield from _keys(Pair(where, old, new), before, after)
    for name in ("items", "additionalProperties"):
        if isinstance(old.get(name), dict) and isinstance(new.get(name), dict):
            yield from _compare(Pair(f"{where}/*", old[name], new[name]), before, after)


def _object(pair: Pair, before: Document, after: Document) -> Iterator[Breach]:
    olds, news = pair.old.get("properties", {}), pair.new.get("properties", {})
    for name, schema in olds.items():
        if name in news:
            yield from _compare(Pair(f"{pair.where}/{name}", schema, news[name]), before, after)
        elif pair.new.get("additionalProperties") is False:
            yield Breach(f"{pair.where}/{name}", "the field is gone, and unknown fields are refused")
    for name in pair.new.get("required", []):
        if name not in pair.old.get("required", []):
            yield Breach(f"{pair.where}/{name}", "the field is required now")


def _keys(pair: Pair, before: Document, after: Document) -> Iterator[Breach]:
    """Objects whose keys follow a pattern: the same pattern, and values that are not narrower."""
    olds, news = pair.old.get("patternProperties", {}), pair.new.get("patternProperties", {})
    if olds.keys() != news.keys():
        yield Breach(pair.where, f"keys were {', '.join(olds) or 'free'} and are {', '.join(news) or 'free'}")
        return
    for pattern, schema in olds.items():
        yield from _compare(Pair(f"{pair.where}/*", schema, news[pattern]), before, after)


def _alternatives(pair: Pair, before: Document, after: Document) -> Iterator[Breach]:
    """Each old alternative must fit into one new alternative."""
    olds, news = pair.old.get("anyOf", [pair.old]), pair.new.get("anyOf", [pair.new])
    for schema in olds:
        tried = [list(_compare(Pair(pair.where, schema, candidate), before, after)) for candidate in news]
        if not any(not found for found in tried):
            yield min(tried, key=len)[0]


def _types(old: Schema, new: Schema) -> Iterator[str]:
    if "type" in new and new["type"] != old.get("type") and (old.get("type"), new["type"]) != ("integer", "number"):
        yield f"the type was {old.get('type', 'any')} and is {new['type']}"


def _values(old: Schema, new: Schema) -> Iterator[str]:
    olds, news = _enumerated(old), _enumerated(new)
    if news is not None and (olds is None or not set(olds) <= set(news)):
        gone = "any value" if olds is None else ", ".join(str(value) for value in olds if value not in news)
        yield f"values are refused now: {gone}"


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _tighter(name: str, is_tighter: Callable[[Any, Any], bool]) -> Callable[[Schema, Schema], Iterator[str]]:
    def check(old: Schema, new: Schema) -> Iterator[str]:
        if name in new and (name not in old or is_tighter(new[name], old[name])):
            yield f"{name} was {old.get(name, 'free')} and is {new[name]}"

    return check


def _is_above(new: Any, old: Any) -> bool:
    return bool(new > old)


def _is_below(new: Any, old: Any) -> bool:
    return bool(new < old)


def _is_other(new: Any, old: Any) -> bool:
    return bool(new != old)


_CHECKS = (
    _types,
    _values,
    *(_tighter(name, _is_above) for name in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")),
    *(_tighter(name, _is_below) for name in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")),
    *(_tighter(name, _is_other) for name in ("pattern", "format")),
)
