"""Verdicts on crowds: how files are read, what a pass uses, and what the figures say."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bench.verdicts.crowds import Cast, Crowd, folders, read
from infra.bench.verdicts.figures import accuracy, calibration, f1
from infra.bench.verdicts.means import average, holds
from infra.bench.verdicts.passes import majority, passed
from infra.errors import AssayError, Exit

ROOT = Path(__file__).parents[2]
CAP = 5


def write(folder: Path, votes: list[tuple[object, ...]], gold: list[tuple[object, ...]], end: str = "\n") -> Path:
    folder.mkdir(parents=True)
    for name, columns, rows in (("votes.csv", ("seq", "task", "worker", "label"), votes), ("gold.csv", ("task", "gold"), gold)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, lineterminator=end).writerows([columns, *rows])
    return folder


def made(name: str = "made", tasks: int = 60, seed: int = 1) -> Crowd:
    """Seven votes a task by voters who are right from .5 to .95 of the time, in a random order."""
    chance = random.Random(seed)
    truth = [chance.randrange(2) for _ in range(tasks)]
    often = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95]
    votes = [Cast(t, w, right if chance.random() < often[w] else 1 - right) for t, right in enumerate(truth) for w in range(7)]
    chance.shuffle(votes)
    return Crowd(name, [f"t{t}" for t in range(tasks)], [f"w{w}" for w in range(7)], ["0", "1"], votes, dict(enumerate(truth)))


def test_files_as_they_come(tmp_path: Path) -> None:
    """Any strings for names and labels, Windows line ends, a changed vote, gold of a task without votes, an empty answer."""
    task = "http://a/?b=1,2"
    votes: list[tuple[object, ...]] = [(1, task, "w é", "yes"), (2, task, "*", "maybe"), (3, task, "w é", "no, never")]
    crowd = read(write(tmp_path / "odd", votes, [(task, "no, never"), ("unseen", "yes"), ("empty", "")], "\r\n"))
    assert isinstance(crowd, Crowd)
    assert (crowd.tasks, crowd.workers, crowd.labels) == ([task], ["*", "w é"], ["maybe", "no, never"])
    assert crowd.votes == [Cast(0, 0, 0), Cast(0, 1, 1)], "the changed vote stands where it was changed"
    assert crowd.gold == {0: 1}


def test_what_cannot_be_judged_says_why(tmp_path: Path) -> None:
    votes = [(1, "t", "w", "a"), (2, "t", "v", "b")]
    assert read(write(tmp_path / "no_gold", votes, [])) == "no right answers"
    assert read(write(tmp_path / "one", [(1, "t", "w", "a")], [("t", "a")])) == "one label only"
    many = [(number, f"t{number}", "w", f"l{number}") for number in range(33)]
    assert "33 labels" in str(read(write(tmp_path / "many", many, [("t1", "l1")])))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "votes.csv").write_text("task,label\nt,a\n")
    with pytest.raises(AssayError, match="columns are missing"):
        read(tmp_path / "bad")
    assert [path.name for path in folders(tmp_path, ("one",))] == ["one"]
    with pytest.raises(AssayError, match="no such set"):
        folders(tmp_path, ("nowhere",))


def test_golden_tasks_are_drawn_by_the_seed_and_are_never_many() -> None:
    crowd = made(tasks=60)
    assert crowd.revealed(0.1, 100, 200, 1) == crowd.revealed(0.1, 100, 200, 1) != crowd.revealed(0.1, 100, 200, 2)
    assert [len(crowd.revealed(*drawn, 1)) for drawn in ((0.1, 100, 200), (0.1, 0, 200), (0.2, 0, 4))] == [15, 6, 4]


def test_figures_by_hand() -> None:
    """Truth 1 1 0 0 0 against 1 0 0 0 1: three of five; of the rarer label one hit, two claimed, two true."""
    crowd = Crowd("hand", list("abcde"), [], ["0", "1"], [], {0: 1, 1: 1, 2: 0, 3: 0, 4: 0})
    said = {0: 1, 1: 0, 2: 0, 3: 0, 4: 1}
    assert crowd.rare == 1
    assert accuracy(crowd, said, crowd.gold) == 0.6
    assert f1(crowd, said, crowd.gold) == 0.5
    assert calibration(crowd, said, dict.fromkeys(said, 0.8), crowd.gold) == pytest.approx(0.2)
    assert accuracy(crowd, said, ()) is None


def test_a_pass_learns_who_is_right() -> None:
    """One pass over seven voters of .5 to .95 is better than their majority; dynamic overlap takes a fifth of the votes less and
    loses little, although it knows nobody at first."""
    crowds = [made(tasks=200, seed=seed) for seed in (1, 2, 3)]
    live, asked = [passed(crowd) for crowd in crowds], [passed(crowd, asked_only=True) for crowd in crowds]
    fixed = [majority(crowd, CAP) for crowd in crowds]

    def mean(said: list[dict[int, int]]) -> float:
        return sum(accuracy(crowd, one, crowd.gold) or 0 for crowd, one in zip(crowds, said, strict=True)) / len(crowds)

    assert all(one.votes == 1_400 and one.champion == "bayesian" for one in live)
    assert mean([one.models["bayesian"].labels for one in live]) > mean([one.models["majority"].labels for one in live])
    assert mean([one.verdicts for one in asked]) > mean([said for said, _ in fixed]) - 0.03
    assert sum(one.votes for one in asked) < 0.8 * sum(votes for _, votes in fixed)


def test_the_same_pass_says_the_same() -> None:
    one, other = (passed(made(), made().revealed(0.1, 100, 200, 1)) for _ in range(2))
    assert one._replace(seconds=0) == other._replace(seconds=0)


def test_means_are_over_what_is_there() -> None:
    mean = average([{"a": 1.0, "b": {"c": 1}, "why": "x"}, {"a": 0.5, "b": {"c": None}, "why": "y"}])
    assert mean == {"a": 0.75, "b": {"c": 1}}
    assert holds({}, {}) == dict.fromkeys(holds({}, {}), None)


def test_the_command_measures_every_set_that_has_gold(tmp_path: Path) -> None:
    for crowd in (made("one"), made("two", seed=2)):
        votes: list[tuple[object, ...]] = [(n, f"t{t}", f"w{w}", label) for n, (t, w, label) in enumerate(crowd.votes)]
        write(tmp_path / crowd.name, votes, [(f"t{task}", label) for task, label in crowd.gold.items()])
    write(tmp_path / "without", [(1, "t", "w", "a")], [])
    command = [sys.executable, "-m", "infra.cli", "bench", "verdicts", "--data", str(tmp_path)]
    done = subprocess.run([*command, "--no-peers", "--repeats", "1", "--json"], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode in (Exit.OK, Exit.FAILED), done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["left_out"] == {"without": "no right answers"}
    assert found["sets"].keys() == {"one", "two"}
    assert {"live", "champion", "dynamic", "peers", "ece"} <= found["sets"]["one"].keys()
    assert {"accuracy", "votes_per_task", "votes_saved"} <= found["mean"]["dynamic"].keys()
    assert found["sets"]["one"]["champion"]["golden_answers"] == 15
    assert found["holds"]["live_at_least_dawid_skene"] is None, "there is none to compare with"
