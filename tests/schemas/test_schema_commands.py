"""assay schema list | show | check | asyncapi."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import infra.cli.schemas as commands
from infra.cli import run
from infra.schema_files import Finding, asyncapi_by_reference, asyncapi_whole, json_schema
from schemas.catalogue import EVENT_TYPES
from schemas.topics import TOPICS

Schema = Callable[..., tuple[int, str, str]]


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> Schema:
    def call(*arguments: str) -> tuple[int, str, str]:
        return (run(["schema", *arguments]), *capsys.readouterr())

    return call


def test_list(schema: Schema) -> None:
    said = json.loads(schema("list", "--json")[1])
    assert [one["name"] for one in said["topics"]] == [topic.name for topic in TOPICS]
    assert [one["type"] for one in said["types"]] == list(EVENT_TYPES)
    assert all(type_ in schema("list")[1] for type_ in EVENT_TYPES)


@pytest.mark.parametrize("name", ["VoteCast", "VoteCast.v1", "assay.VoteCast.v1"])
def test_show(schema: Schema, name: str) -> None:
    expected = json_schema(EVENT_TYPES["assay.VoteCast.v1"])
    assert json.loads(schema("show", name, "--json")[1]) == expected
    assert yaml.safe_load(schema("show", name)[1]) == expected


def test_an_unknown_type_is_one_line(schema: Schema) -> None:
    code, out, err = schema("show", "Vote")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no such event type; got: Vote; hint: there are AnnotatorCleared" in err


def test_asyncapi(schema: Schema) -> None:
    assert yaml.safe_load(schema("asyncapi")[1]) == asyncapi_by_reference()
    assert json.loads(schema("asyncapi", "--json")[1]) == asyncapi_by_reference()
    assert json.loads(schema("asyncapi", "--bundle", "--json")[1]) == asyncapi_whole()


def test_check_is_an_exit_code(schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(schema("check", "--json")[1])["holds"]
    written: list[Any] = []
    stale, broken = Finding("a.json", "stale"), Finding("a.json", "incompatible at /x: [narrower]", breaks=True)
    monkeypatch.setattr(commands, "write", lambda files, found: written.extend(found))
    monkeypatch.setattr(commands, "findings", lambda files: [stale])
    code, out, _ = schema("check")
    assert (code, "a.json  stale" in out, "assay schema check --write" in out) == (1, True, True)
    assert schema("check", "--write")[0] == 0
    assert written == [stale]
    monkeypatch.setattr(commands, "findings", lambda files: [broken, stale])
    code, out, _ = schema("check", "--write")
    assert (code, "incompatible at /x: [narrower]" in out, "make a new version" in out) == (1, True, True)
    assert written == [stale], "nothing is written over an incompatible change"


def test_the_package_carries_its_files() -> None:
    declared = Path("pyproject.toml").read_text("utf-8")
    assert all(kind in declared for kind in ("asyncapi.yaml", "json/**/*", "examples/**/*", "demo_data/**/*"))
