"""The bench of comparisons on sets made here: what it must find in them, and what it must not take."""

import random
from pathlib import Path

import orjson
import pytest

from infra.bench.preferences import measure
from infra.errors import AssayError

MODELS = {"m-1": 1.0, "m-2": 0.2, "m-3": -1.2}


def write(folder: Path, items: bool, tasks: int = 250) -> Path:
    """Three annotators who choose the better model's answer mostly; pairs in items.csv or in PandaLM's list."""
    folder.mkdir()
    chance = random.Random(3)
    votes, listed = ["seq,task,worker,label"], []
    for task in range(tasks):
        left, right = chance.sample(sorted(MODELS), 2)
        listed.append((task, left, right))
        better = 1 if MODELS[left] > MODELS[right] else 2
        for worker in range(3):
            label = better if chance.random() < 0.7 else chance.choice((0, 3 - better))
            votes.append(f"{len(votes)},{task},w{worker},{label}")
    (folder / "votes.csv").write_text("\n".join(votes) + "\n")
    if items:
        rows = ["task,left,right", *(",".join(map(str, one)) for one in listed)]
        (folder / "items.csv").write_text("\n".join(rows) + "\n")
    else:
        (folder / "set.json").write_bytes(orjson.dumps([{"idx": task, "cmp_key": f"{a}_{b}"} for task, a, b in listed]))
    return folder


def test_sets_are_found_in_both_forms_and_measured_alike(tmp_path: Path) -> None:
    write(tmp_path / "one", items=True)
    write(tmp_path / "two", items=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "votes.csv").write_text("seq,task,worker,label\n1,a,w,1\n")
    found = measure(tmp_path, 3, 1, print)
    one, two = found["sets"]["one"], found["sets"]["two"]
    assert list(found["sets"]) == ["one", "two"]
    assert list(one["ranking"]) == ["m-1", "m-2", "m-3"]
    assert one["agreement"] == 1.0
    assert one["bradley_terry_difference"] < 1e-6
    assert one["online_tau"] == 1.0
    timed = ("fold_seconds", "choices_per_second")
    assert {name: value for name, value in one.items() if name not in timed} == {
        name: value for name, value in two.items() if name not in timed
    }


def test_a_figure_beyond_its_bar_is_named(tmp_path: Path) -> None:
    """Two who always differ have no majority, and no online ranking of six choices is near the batch."""
    write(tmp_path / "few", items=True, tasks=2)
    found = measure(tmp_path / "few", 2, 1, print)
    assert found["holds"] is False
    assert "online_error" in found["sets"]["few"]["missed"]


def test_a_folder_without_comparisons_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="no set of comparisons"):
        measure(tmp_path, 1, 1, print)
