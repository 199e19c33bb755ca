"""The main job, whole: what `make demo` runs after its set-up."""

import json
from pathlib import Path

import psutil
import pytest

from tests.beside import Done


@pytest.mark.beside("demo", "--json")
def test_the_demo_holds_and_leaves_nothing_running(beside: Done) -> None:
    assert beside.returncode == 0, beside.stderr
    report = json.loads(beside.stdout)
    assert report["holds"] is True
    assert len(report["checks"]) == 6
    assert report["accuracy"]["accuracy"] >= report["accuracy"]["majority_vote_accuracy"] >= 0.88
    assert all(row["rows_in_log"] == row["rows_in_clickhouse"] for row in report["analytics"])
    assert [row["table"] for row in report["analytics"]][:3] == ["annotators", "assignments", "events"]
    assert report["evaluation"]["prompts"] >= 10
    assert not [process.pid for process in psutil.process_iter(["environ"]) if _ours(process, beside.home)]


def _ours(process: psutil.Process, home: Path) -> bool:
    return (process.info["environ"] or {}).get("ASSAY_DATA_DIR") == str(home)
