"""Records what crowd-kit 1.4.2 makes of a small crowd. Run in the environment that `assay bench verdicts` makes for its peers:

PYTHON tests/streams/oracles/record_crowdkit.py > tests/streams/oracles/crowdkit.json
"""

import json
import random
import warnings

import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
from crowdkit.aggregation import DawidSkene, MajorityVote, OneCoinDawidSkene, Wawa  # type: ignore[import-not-found]

TASKS, WORKERS, LABELS, ROUNDS = 60, 8, 3, 4


def votes() -> list[tuple[int, int, int]]:
    """Task, worker, label: everybody votes on everything, right from .45 to .9 of the time."""
    chance = random.Random(7)
    truth = [chance.randrange(LABELS) for _ in range(TASKS)]
    accuracy = [0.45 + 0.45 * worker / (WORKERS - 1) for worker in range(WORKERS)]
    return [
        (task, worker, right if chance.random() < accuracy[worker] else chance.randrange(LABELS))
        for task, right in enumerate(truth)
        for worker in range(WORKERS)
    ]


def main() -> None:
    warnings.filterwarnings("ignore")
    cast = votes()
    data = pandas.DataFrame(cast, columns=["task", "worker", "label"])
    everything = {
        "votes": cast,
        "rounds": ROUNDS,
        "majority": MajorityVote().fit_predict_proba(data).sort_index().sort_index(axis=1).to_numpy().tolist(),
        "dawid_skene": DawidSkene(n_iter=ROUNDS, tol=0)
        .fit_predict_proba(data)
        .sort_index()
        .sort_index(axis=1)
        .to_numpy()
        .tolist(),
        "one_coin": OneCoinDawidSkene(n_iter=ROUNDS, tol=0)
        .fit_predict_proba(data)
        .sort_index()
        .sort_index(axis=1)
        .to_numpy()
        .tolist(),
        "majority_labels": MajorityVote().fit_predict(data).sort_index().tolist(),
        "wawa_skills": Wawa().fit(data).skills_.sort_index().tolist(),
    }
    print(json.dumps(everything))


if __name__ == "__main__":
    main()
