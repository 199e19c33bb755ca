"""Previews and sweeps of a log on a broker, and what the command line says of them."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.cli import run
from infra.history.choosing import At
from infra.settings import Settings
from infra.whatif.preview import Request, preview
from infra.whatif.sweep import Point, sweep
from schemas.policy import Policy
from schemas.topics import VERDICTS
from streams.consequences import STANDS
from streams.projection import Fact
from tests.whatif.conftest import LOADED, publish


def asked(**changes: Any) -> Request:
    return Request("bench", Policy(**changes), flips=5)


def test_the_policy_in_force_changes_nothing(handled: Settings) -> None:
    said = preview(handled, asked()).said
    assert said["control"]["holds"]
    assert said["control"]["reproduced"] == said["control"]["expected"] > 100
    assert (said["events"], said["differs"], said["people"]) == (LOADED, False, [])
    assert said["nothing_flips_because"] == "0 verdicts change, because the policy is the one in force"
    assert all(one["before"] == one["low"] == one["high"] for one in said["stands"].values())


def test_a_preview_is_kept_under_its_digest(handled: Settings) -> None:
    request = asked(approve_confidence_permille=950, overlap_max=4)
    first, again = preview(handled, request), preview(handled, request)
    assert (first.cached, again.cached) == (False, True)
    assert first.said == again.said
    assert isinstance(first.path, Path)
    kept = orjson.loads(first.path.read_bytes())
    assert first.path.name == f"{kept['digest']}.json"
    assert kept["predicted"]["approved"] == {name: kept["stands"]["approved"][name] for name in ("before", "low", "high")}
    assert not preview(handled, request._replace(cache=False)).cached
    assert preview(handled, request._replace(cache=False)).said == first.said


def test_flips_are_told_with_texts_and_reasons(handled: Settings) -> None:
    said = preview(handled, asked(approve_confidence_permille=950, overlap_max=4)).said
    assert said["differs"]
    assert len(said["flips"]["shown"]) == 5
    for one in said["flips"]["shown"]:
        assert one["text"].startswith("The quick answer")
        assert one["why_old"] != one["why_new"]
    rows = said["matrix"]
    assert sum(sum(row.values()) for row in rows.values()) == said["subjects"]
    assert sum(row["undetermined"] for row in rows.values()) == said["undetermined"]["subjects"] > 0
    assert said["votes"]["needed_high"] >= said["votes"]["needed_low"] == said["undetermined"]["subjects"]
    assert sum(one["approved"]["before"] for one in said["slices"]) == said["stands"]["approved"]["before"]


def test_a_sweep_says_of_each_value_what_a_preview_says(handled: Settings) -> None:
    values = (800, 900, 950)
    points = [Point(value, asked(approve_confidence_permille=value)) for value in values]
    found = sweep(handled, "approve_confidence_permille", points)
    for value, point in zip(values, found["points"], strict=True):
        said = preview(handled, asked(approve_confidence_permille=value)).said
        assert point["yield"] == [said["stands"]["approved"]["low"], said["stands"]["approved"]["high"]]
        for stand in STANDS:
            assert point[stand] == [said["stands"][stand]["share_low"], said["stands"][stand]["share_high"]]
    assert found["in_force"] == 900


def test_a_window_is_what_came_since(handled: Settings) -> None:
    said = preview(handled, asked(overlap_max=4)._replace(since=At(offset=400))).said
    assert said["control"]["holds"]
    assert {start for start, _ in said["window"].values()} == {400}


@pytest.fixture
def there(handled: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    from infra import wiring

    monkeypatch.setenv("ASSAY_KAFKA__BROKERS", str(handled.kafka.brokers))
    monkeypatch.setenv("ASSAY_DATA_DIR", str(handled.data_dir))
    wiring.settings.cache_clear()
    return handled


def test_exit_codes_say_whether_anything_would_change(there: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["policy", "preview", "--project", "bench", "--set"]
    assert run([*command, "overlap_max=5"]) == 0
    assert run([*command, "approve_confidence_permille=950"]) == 3
    assert "verdicts reproduced" in capsys.readouterr().out
    assert run(["policy", "sweep", "--project", "bench", "--set", "overlap_max=2..5", "--json"]) == 0
    assert [one["value"] for one in orjson.loads(capsys.readouterr().out)["points"]] == [2, 3, 4, 5]
    assert run(["policy", "sweep", "--project", "bench", "--set", "overlap_max=5"]) == 2


def test_z_what_production_said_and_a_replay_does_not_is_refused(there: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The last one, since it spoils the log."""
    origin = {"partition": 0, "offset": 3, "index": 9}
    data = {"origin": origin, "project": "bench", "revision": 1, "verdict": "approved", "reason": "voted"}
    type_, id_ = "assay.VerdictReopened.v2", "01800000-0000-7000-8000-000000000000"
    envelope = {"specversion": "1.0", "id": id_, "type": type_, "source": "assay/review", "subject": KEY}
    value = orjson.dumps({**envelope, "time": "2026-01-01T00:00:00Z", "data": data})
    asyncio.run(publish(str(there.kafka.brokers), [Fact(VERDICTS.name, KEY, id_, type_, value)]))
    refused = preview(there, asked(overlap_max=4)._replace(cache=False))
    assert refused.path is None
    assert refused.said["control"]["unexpected"] == 1
    assert run(["policy", "preview", "--project", "bench", "--set", "overlap_max=4", "--no-cache"]) == 1
    assert "does not reproduce production" in capsys.readouterr().out


#: A subject whose facts are in partition 0.
KEY = "s-0000001"
