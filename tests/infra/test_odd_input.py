"""What people and programs send that is no policy, no answer and no preview: said, and never a fault of ours."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import orjson
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from infra.cli.whatif import _values
from infra.datasets.snapshots import load
from infra.errors import AssayError
from infra.folders import sweep
from infra.http.problems import MOST_CHARACTERS, Problem, problem, said_as_problems
from infra.policies.previews import digest_of, keep, kept
from infra.policies.tuning import read_toml
from infra.settings import Settings
from infra.times import utc

BAD_TOML = [
    b"policy = " + b"9" * 5_000,
    b"[policy]\noverlap_min = " + b"[" * 20_000,
    'project = "p"'.encode("utf-16"),
    b"\xff\xfe",
    b"project = 1",
    b"[[policy]]\n[[policy]]",
    b"surprise = 1",
]


@pytest.mark.parametrize("content", BAD_TOML, ids=range(len(BAD_TOML)))
def test_what_is_no_policy_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(AssayError, match=r"this is no (TOML|policy)"):
        read_toml(path)


async def test_a_problem_says_whatever_was_sent() -> None:
    app = FastAPI()
    said_as_problems(app)

    @app.get("/")
    async def refuse() -> object:
        return problem(Problem(422, "refused", "no such threshold", "\ud800"), got="\ud800" + "x" * 3_000_000, of=[{"\udfff": 1}])

    async with AsyncClient(transport=ASGITransport(app), base_url="http://desk") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["title"]) == (422, "no such threshold")
    assert len(answer.json()["got"]) == MOST_CHARACTERS


def _said() -> dict[str, object]:
    said: dict[str, object] = {"control": {"holds": True}, "differs": False}
    return said | {"digest": digest_of(said)}


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda content: content[:-9],
    lambda content: content.replace(b"false", b"true"),
    lambda content: b"[]",
    lambda content: b"{}",
    lambda content: b"\xff",
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_a_kept_preview_that_was_changed_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = keep(tmp_path, "key", _said())
    assert kept(tmp_path, "key") == _said()
    path.write_bytes(damage(path.read_bytes()))
    assert kept(tmp_path, "key") is None


@pytest.mark.parametrize("digest", ["../elsewhere", "", "\xff", "no\0path"])
def test_a_key_that_names_no_preview_is_none(tmp_path: Path, digest: str) -> None:
    keep(tmp_path, "key", _said())
    (tmp_path / "elsewhere.json").write_bytes(orjson.dumps(_said()))
    (tmp_path / "previews" / "key.key").write_text(digest)
    assert kept(tmp_path, "key") is None


def test_a_snapshot_goes_by_its_own_name(tmp_path: Path) -> None:
    own = Settings(data_dir=tmp_path)
    for name in ("../other", "/etc", ".", "a/../b", "No", "nul\0"):
        with pytest.raises(AssayError, match="no such snapshot"):
            load(own, name)


def test_what_is_no_left_part_of_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".x.part").mkdir()
    (tmp_path / ".999999999.part").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".x.part"]


@pytest.mark.parametrize("span", ["2..9999999999999999999:1", "1..2:0", "2..1", "a..b", "1..201", "", "..", "1..2:3:4"])
def test_a_sweep_of_too_many_values_is_refused_before_they_are_made(span: str) -> None:
    with pytest.raises(AssayError, match="no values to sweep"):
        _values(f"overlap_min={span}")


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_utc_does_not_have_is_refused(time: str) -> None:
    with pytest.raises(AssayError, match="no time in UTC"):
        utc(datetime.fromisoformat(time))
