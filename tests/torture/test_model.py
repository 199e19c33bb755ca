"""hypothesis acts on the whole engine; a planted bug is found, and told step by step."""

import subprocess
import sys

import orjson
import pytest

from infra.torture.simulation.model import run_model


def test_the_engine_agrees_with_a_replay_whatever_happens_to_it() -> None:
    found = run_model(actions=1_200, seed_number=1)
    assert found.broken is None, found.steps
    assert found.actions.total() >= 1_200
    assert {"receive", "vote", "edit", "withdraw", "retract", "policy", "duplicate", "delay", "poison"} <= set(found.actions)
    assert {"crash", "crash at a request", "stall", "rebalance", "replay and compare"} <= set(found.actions)


@pytest.mark.parametrize("bug", ["ack-before-delivery", "zombie-fence-off"])
def test_a_planted_bug_is_found(bug: str) -> None:
    found = run_model(actions=10_000, seed_number=1, bug=bug, shrink=False)
    assert found.broken is not None
    assert any("state." in step for step in found.steps)


def test_the_command_counts_what_it_did() -> None:
    command = [sys.executable, "-m", "infra.cli", "torture", "model", "--actions", "200", "--seed", "7", "--json"]
    found = orjson.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["holds"] is True
    assert found["actions"] == sum(found["by_kind"].values()) >= 200
