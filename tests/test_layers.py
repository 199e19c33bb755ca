"""The contracts on imports hold, and each of them catches a planted violation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "streams", "agents", "ray_jobs", "infra")

PLANTED = (
    ("infra/kafka/planted.py", "import ray_jobs\n", None),
    ("schemas/planted.py", "import streams\n", "layers"),
    ("streams/planted.py", "import agents\n", "layers"),
    ("ray_jobs/planted.py", "import agents\n", "layers"),
    ("agents/planted.py", "import infra\n", "layers"),
    ("streams/planted.py", "import time\n", "pure-core"),
    ("schemas/planted.py", "import random\n", "pure-core"),
    ("streams/planted.py", "import asyncio\n", "pure-core"),
    ("streams/planted.py", "import aiokafka\n", "pure-core"),
    ("ray_jobs/planted.py", "import faust\n", "faust"),
    ("agents/planted.py", "import ray\n", "ray"),
    ("infra/kafka/planted.py", "import infra.clickhouse.reconcile\n", "no-cycles"),
)


def lint(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layers")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            target = root / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


def test_the_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("path", "text", "contract"), PLANTED)
def test_a_planted_violation_is_caught(copy: Path, path: str, text: str, contract: str | None) -> None:
    planted = copy / path
    planted.write_text(text)
    try:
        done = lint(copy, *(("--contract", contract) if contract else ()))
    finally:
        planted.unlink()
    assert done.returncode == (1 if contract else 0), done.stdout
