"""crowd-kit's aggregators on one set, each as it comes out of the box; runs in an environment of its own.

Usage: with_crowdkit.py NAME,... < votes, where votes are JSON [[task, worker, label], ...] of numbers. It prints a line of JSON
for each aggregator as soon as that is done: {"name", "seconds", "said": {task: label}} or {"name", "error"}.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any


def aggregators() -> dict[str, Callable[[], Any]]:
    """The iterative ones get as many rounds as they need to come to rest."""
    from crowdkit import aggregation as kit  # type: ignore[import-not-found]  # lives in the environment of the peers

    return {
        "MajorityVote": kit.MajorityVote,
        "Wawa": kit.Wawa,
        "ZeroBasedSkill": kit.ZeroBasedSkill,
        "DawidSkene": lambda: kit.DawidSkene(n_iter=100),
        "OneCoinDawidSkene": lambda: kit.OneCoinDawidSkene(n_iter=100),
        "GLAD": kit.GLAD,
        "MACE": lambda: kit.MACE(random_state=1),
    }


def main(names: list[str]) -> None:
    import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]

    warnings.filterwarnings("ignore")
    votes = pandas.DataFrame(json.load(sys.stdin), columns=["task", "worker", "label"])
    for name in names:
        started = time.perf_counter()
        try:
            labels = aggregators()[name]().fit_predict(votes)
            said = {int(task): int(label) for task, label in labels.items()}
            answer: dict[str, Any] = {"name": name, "seconds": round(time.perf_counter() - started, 2), "said": said}
        except Exception as error:  # a peer that breaks is a figure less, and says why
            answer = {"name": name, "error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1].split(","))
