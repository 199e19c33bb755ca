"""The lock file pins what pyproject.toml asks for, and names no host."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = [Requirement(text) for text in (ROOT / "requirements.lock").read_text().splitlines() if text and text[0] != "#"]
PINS = {canonicalize_name(each.name): each.specifier for each in LOCKED}
ASKED = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_for_is_locked(asked: str) -> None:
    wanted = Requirement(asked)
    pin = PINS[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(str(pin).removeprefix("=="), prereleases=True)


def test_every_line_is_one_exact_version() -> None:
    assert [str(each) for each in LOCKED if len(each.specifier) != 1 or not str(each.specifier).startswith("==")] == []
    assert [str(each) for each in LOCKED if each.url] == []


@pytest.mark.parametrize("heavy", ["torch", "ray", "transformers", "sentence-transformers"])
def test_the_core_asks_for_nothing_heavy(heavy: str) -> None:
    assert heavy not in {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
