"""Sets of crowd votes with right answers, as files: votes.csv (task, worker, label, ...) and gold.csv (task, gold)."""

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from infra.errors import AssayError

VOTES, GOLD = "votes.csv", "gold.csv"
#: What a policy can name.
MOST_LABELS = 32


class Cast(NamedTuple):
    """One vote; tasks, workers and labels by number."""

    task: int
    worker: int
    label: int


@dataclass(frozen=True)
class Crowd:
    """One set. Of a worker's votes on one task the last counts, at the place of the last; `gold` has the right labels of
    tasks that have votes."""

    name: str
    tasks: Sequence[str]
    workers: Sequence[str]
    labels: Sequence[str]
    votes: Sequence[Cast]
    gold: dict[int, int]

    def shuffled(self, seed: int) -> "Crowd":
        return replace(self, votes=random.Random(seed).sample(self.votes, len(self.votes)))

    def by_task(self) -> dict[int, list[Cast]]:
        """Each task's votes in their order. Not kept: a set is on its way to other processes while it is asked."""
        found: dict[int, list[Cast]] = {}
        for vote in self.votes:
            found.setdefault(vote.task, []).append(vote)
        return found

    @property
    def rare(self) -> int:
        """The label that is right least often, of those that are ever right; of equal ones the first."""
        counts = Counter(self.gold.values())
        return min(counts, key=lambda label: (counts[label], label))

    def revealed(self, share: float, least: int, most: int, seed: int) -> frozenset[int]:
        """The golden tasks of a run, drawn at random: a share of those with a right answer, between `least` and `most` of
        them, and never more than a quarter."""
        known = sorted(self.gold)
        wanted = min(max(round(share * len(known)), least), most, len(known) // 4)
        return frozenset(random.Random(f"golden {seed}").sample(known, wanted))


def folders(data: Path, names: Sequence[str]) -> list[Path]:
    """Folders of votes under `data` (or `data` itself), by name; with `names` just these. Raises AssayError."""
    found = sorted(path.parent for path in data.glob(f"*/{VOTES}")) or ([data] if (data / VOTES).is_file() else [])
    if names:
        missing = sorted(set(names) - {path.name for path in found})
        if missing:
            raise AssayError("no such set", where=str(data), got=", ".join(missing), hint=_hint(found))
        found = [path for path in found if path.name in names]
    if not found:
        raise AssayError("no votes", where=str(data), got=f"no folder in it has {VOTES}", hint="give --data a folder of sets")
    return found


def _hint(found: list[Path]) -> str:
    return f"there are {', '.join(path.name for path in found) or 'none'}"


def read(folder: Path) -> Crowd | str:
    """The set in a folder, or why it cannot be judged. Raises AssayError where a file is not what it should be."""
    known = _pairs(folder / GOLD, ("task", "gold")) if (folder / GOLD).is_file() else iter(())
    answers = {task: label for task, label in known}
    last: dict[tuple[str, str], str] = {}
    for task, worker, label in _pairs(folder / VOTES, ("task", "worker", "label")):
        last.pop((task, worker), None)
        last[task, worker] = label
    voted = {task for task, _ in last}
    answers = {task: label for task, label in answers.items() if label and task in voted}
    if not answers:
        return "no right answers"
    labels = sorted({*last.values(), *answers.values()})
    if len(labels) > MOST_LABELS:
        return f"{len(labels)} labels, and a policy names {MOST_LABELS} at most"
    return "one label only" if len(labels) < 2 else _numbered(folder.name, last, answers, labels)


def _numbered(name: str, last: dict[tuple[str, str], str], answers: dict[str, str], labels: list[str]) -> Crowd:
    tasks = {task: number for number, task in enumerate(dict.fromkeys(task for task, _ in last))}
    workers = {worker: number for number, worker in enumerate(dict.fromkeys(worker for _, worker in last))}
    place = {label: number for number, label in enumerate(labels)}
    votes = [Cast(tasks[task], workers[worker], place[label]) for (task, worker), label in last.items()]
    gold = {tasks[task]: place[label] for task, label in answers.items()}
    return Crowd(name, list(tasks), list(workers), labels, votes, gold)


def _pairs(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """These columns of every row, without surrounding blanks."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        missing = [column for column in columns if column not in (rows.fieldnames or ())]
        if missing:
            raise AssayError("columns are missing", where=str(path), got=", ".join(missing), hint=f"it needs {','.join(columns)}")
        for row in rows:
            yield tuple((row[column] or "").strip() for column in columns)
