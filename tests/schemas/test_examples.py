"""Golden examples: one at least of every type and version, none that nobody knows, each the same after a round trip."""

from pathlib import Path

import jsonschema
import orjson
import pytest

import schemas
from infra.schema_files import json_schema
from schemas.catalogue import EVENT_TYPES
from schemas.wire import Undecodable, decode, encode, told

FOLDER = Path(schemas.__file__).parent / "examples"
FILES = sorted(FOLDER.iterdir())
NAMES = {type_.removeprefix("assay."): type_ for type_ in EVENT_TYPES}


def _type_name(path: Path) -> str:
    return ".".join(path.name.split(".")[:2])


def unknown_and_missing(files: list[Path]) -> tuple[list[str], set[str]]:
    unknown = [path.name for path in files if _type_name(path) not in NAMES or path.suffix != ".json"]
    return unknown, set(NAMES) - {path.stem for path in files}


def test_none_is_unused_and_none_is_missing() -> None:
    assert unknown_and_missing(FILES) == ([], set())


def test_an_unused_and_a_missing_one_are_seen() -> None:
    planted = [path for path in FILES if path.stem != "VoteCast.v1"] + [FOLDER / "VoteCounted.v1.json"]
    assert unknown_and_missing(planted) == (["VoteCounted.v1.json"], {"VoteCast.v1"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_decodes_and_encodes_to_the_same(path: Path) -> None:
    value = path.read_bytes()
    event = told(value)
    assert event.type == NAMES[_type_name(path)]
    assert orjson.loads(encode(event)) == orjson.loads(value)


@pytest.mark.parametrize("planted", [{"label": "superb"}, {"extra": 1}, {"revision": 0}])
def test_a_bad_one_is_caught(planted: dict[str, object]) -> None:
    raw = orjson.loads((FOLDER / "VoteCast.v1.json").read_bytes())
    raw["data"] |= planted
    with pytest.raises(Undecodable, match=next(iter(planted))):
        decode(orjson.dumps(raw))


@pytest.mark.parametrize("draft", [jsonschema.Draft7Validator, jsonschema.Draft202012Validator])
def test_both_drafts_of_json_schema_understand_the_schemas_alike(draft: type[jsonschema.Draft7Validator]) -> None:
    for path in FILES:
        validator = draft(json_schema(EVENT_TYPES[NAMES[_type_name(path)]]))
        raw = orjson.loads(path.read_bytes())
        validator.validate(raw)
        assert not validator.is_valid(raw | {"unheard_of": 1})
        assert not validator.is_valid({**raw, "data": {}})
