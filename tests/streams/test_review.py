"""Golden stories: readable histories of submissions, and what the fold says at each step."""

from pathlib import Path

import orjson
import pytest

from infra.demo_data import demo_events, demo_policies
from schemas.wire import encode
from streams.projection import Step, record_of
from streams.review import REVIEW
from streams.submissions import Row
from tests.streams.histories import event_bytes

STORIES = Path(__file__).parent.parent / "stories"


def told(step: Step) -> list[str]:
    """A step in few words: `VerdictReached approved`, `JudgementScored anna agreed +1`."""
    said: list[str] = []
    for effect in step.effects:
        name, data = effect.type.split(".")[1], effect.data
        match name:
            case "JudgementScored":
                said.append(f"{name} {effect.key} {data['outcome']} {data['change']:+d}")
            case "OverlapRequested":
                said.append(f"{name} at {data['votes_live']}")
            case "VerdictReopened":
                said.append(f"{name} {data['verdict']} because {data['reason']}")
            case "VerdictReached":
                said.append(
                    f"{name} {data['verdict']} {data['good_votes']}:{data['bad_votes']} by policy {data['policy_version']}"
                )
            case "PreferenceReached":
                votes = ":".join(str(data[f"{choice}_votes"]) for choice in ("left", "right", "tie"))
                said.append(f"{name} {data['choice']} by {data['settled_by']} {votes} by policy {data['policy_version']}")
            case "PreferenceReopened":
                said.append(f"{name} {data['choice']} because {data['reason']}")
            case _:
                said.append(f"{name} {effect.key}")
    return said + ([f"refused {step.refusal.code}"] if step.refusal else [])


@pytest.mark.parametrize("path", sorted(STORIES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_story_is_told_as_written(path: Path) -> None:
    state = REVIEW.empty()
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert len(lines) > 2
    for number, line in enumerate(lines):
        place = line.get("again", number)
        value = event_bytes(tuple(line["event"]), place)
        step = REVIEW.apply(state, record_of(0, number, value))
        state = step.state
        assert told(step) == line["then"], f"line {number + 1}: {line['event']}"


def test_verdicts_on_a_real_crowd_are_not_below_majority_vote() -> None:
    """4,999 reviews, 27,746 votes, 203 voters, all with gold (see infra/demo_data/sp): majority vote reaches .882."""
    state = REVIEW.empty()
    for offset, event in enumerate([*(change.applied for change in demo_policies()), *demo_events()]):
        state = REVIEW.apply(state, record_of(0, offset, encode(event))).state
    golden = [row for row in state.rows.values() if row.project == "sp" and row.golden]
    assert len(golden) == 4_999
    assert sum(_right(row) for row in golden) / len(golden) >= 0.882


def _right(row: Row) -> bool:
    return row.golden is not None and row.verdict in ("approved", "rejected") and row.label == row.golden[1]
