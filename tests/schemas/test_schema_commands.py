"""assay schema list | show | check | asyncapi."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.cli import run
from infra.schema_files import ROOT, asyncapi_by_reference, asyncapi_whole, json_schema
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


@pytest.mark.parametrize(
    ("name", "type_"),
    [("VoteCast", "assay.VoteCast.v2"), ("VoteCast.v2", "assay.VoteCast.v2"), ("assay.VoteCast.v1", "assay.VoteCast.v1")],
)
def test_show(schema: Schema, name: str, type_: str) -> None:
    expected = json_schema(EVENT_TYPES[type_])
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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The committed files, to be spoiled."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def _spoil(path: Path, old: str, new: str) -> str:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    return path.read_text("utf-8")


def test_check_names_what_is_stale_and_writes_it_anew(schema: Schema, checkout: Path) -> None:
    assert json.loads(schema("check", "--json", "--root", str(checkout))[1])["holds"]
    _spoil(checkout / "docs" / "events.md", "VoteCast", "VoteThrown")
    code, out, _ = schema("check", "--root", str(checkout))
    assert (code, "docs/events.md" in out, "assay schema check --write" in out) == (1, True, True)
    assert schema("check", "--write", "--root", str(checkout))[0] == 0
    assert schema("check", "--root", str(checkout))[0] == 0


def test_check_writes_nothing_over_an_incompatible_change(schema: Schema, checkout: Path) -> None:
    """The committed schema took a label that the code no longer takes: such votes may stand in a log."""
    vote = checkout / "schemas" / "json" / "VoteCast.v1.json"
    spoiled = _spoil(vote, '"good",', '"good",\n            "unsure",')
    code, out, _ = schema("check", "--write", "--root", str(checkout))
    assert (code, "VoteCast.v1.json" in out, "make a new version" in out) == (1, True, True)
    assert vote.read_text("utf-8") == spoiled


def test_the_package_carries_its_files() -> None:
    declared = Path("pyproject.toml").read_text("utf-8")
    assert all(kind in declared for kind in ("asyncapi.yaml", "json/**/*", "examples/**/*", "demo_data/**/*"))
