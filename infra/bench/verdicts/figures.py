"""How good answers are: accuracy, F1, and how far confidences are from what they promise."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from infra.bench.verdicts.crowds import Crowd
from streams.calibration import calibration_error


def accuracy(crowd: Crowd, said: Mapping[int, int], tasks: Collection[int]) -> float | None:
    """Share of these tasks whose right label was said; None without tasks."""
    return sum(said[task] == crowd.gold[task] for task in tasks) / len(tasks) if tasks else None


def f1(crowd: Crowd, said: Mapping[int, int], tasks: Collection[int]) -> float:
    """Two labels: F1 of the one that is right less often. More: the mean over the labels that are right or said."""
    if len(crowd.labels) == 2:
        return _f1_of(crowd, said, tasks, crowd.rare)
    seen = {crowd.gold[task] for task in tasks} | {said[task] for task in tasks}
    return sum(_f1_of(crowd, said, tasks, label) for label in seen) / max(1, len(seen))


def _f1_of(crowd: Crowd, said: Mapping[int, int], tasks: Collection[int], label: int) -> float:
    hits = sum(said[task] == label == crowd.gold[task] for task in tasks)
    claimed = sum((said[task] == label) + (crowd.gold[task] == label) for task in tasks)
    return 2 * hits / claimed if claimed else 0.0


def calibration(crowd: Crowd, said: Mapping[int, int], confidence: Mapping[int, float], tasks: Collection[int]) -> float:
    """Expected calibration error over these tasks, in ten bins."""
    order = sorted(tasks)
    is_right = np.array([float(said[task] == crowd.gold[task]) for task in order])
    return calibration_error(np.array([confidence[task] for task in order]), is_right)


def judged(crowd: Crowd, said: Mapping[int, int], tasks: Collection[int]) -> dict[str, float | None]:
    return {"accuracy": rounded(accuracy(crowd, said, tasks)), "f1": rounded(f1(crowd, said, tasks))}


def rounded(figure: Any) -> Any:
    return None if figure is None else round(float(figure), 4)
