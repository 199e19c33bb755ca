"""The main job, whole: what `make demo` runs after its set-up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil


def test_the_demo_holds_and_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.cli", "demo", "--json"]
    done = subprocess.run(
        command, env=os.environ | {"ASSAY_DATA_DIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["holds"] is True
    assert len(report["checks"]) == 6
    assert report["accuracy"]["accuracy"] >= report["accuracy"]["majority_vote_accuracy"] >= 0.88
    assert all(row["rows_in_log"] == row["rows_in_clickhouse"] for row in report["analytics"])
    assert [row["table"] for row in report["analytics"]][:3] == ["annotators", "assignments", "events"]
    assert report["evaluation"]["prompts"] >= 10
    assert not [process.pid for process in psutil.process_iter(["environ"]) if _ours(process, tmp_path)]


def _ours(process: psutil.Process, home: Path) -> bool:
    return (process.info["environ"] or {}).get("ASSAY_DATA_DIR") == str(home)
