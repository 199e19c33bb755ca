"""Golden tasks as a test of the models: what each model says of them when it does not know their answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.confusion import Counts, Floats, Pool, Voter
from streams.models import ModelOf

Indices = NDArray[np.int64]


class Answers(NamedTuple):
    """Golden answers, one an entry: which task (by number), which voter, the right label and the one said."""

    task: Indices
    voter: Indices
    truth: Indices
    said: Indices


class GoldenTasks(NamedTuple):
    """G golden tasks: the right label of each, its number of answers, and the answers."""

    truth: Indices
    votes: Indices
    answers: Answers


def joined(voters: Sequence[Voter], at_most: int) -> GoldenTasks:
    """The golden tasks that these voters answered, by name, at most so many: those with the most answers. A task that was
    given another right label meanwhile counts under the label that most of its answers are scored by."""
    found: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for number, voter in enumerate(voters):
        for answer in voter.answers:
            found.setdefault(answer.subject, {}).setdefault(answer.truth, []).append((number, answer.said))
    tasks = [(subject, *max(by_truth.items(), key=lambda one: (len(one[1]), -one[0]))) for subject, by_truth in found.items()]
    tasks = sorted(sorted(tasks), key=lambda one: -len(one[2]))[:at_most]
    rows = [(task, voter, truth, said) for task, (_, truth, given) in enumerate(tasks) for voter, said in given]
    flat = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    truths = np.array([truth for _, truth, _ in tasks], dtype=np.int64)
    return GoldenTasks(truths, np.array([len(given) for *_, given in tasks], dtype=np.int64), Answers(*flat))


def without_own(counts: Counts, answers: Answers) -> Counts:
    """The voters' counts, once for each answer and without that answer."""
    one = np.zeros((answers.voter.size, *counts.judged.shape[1:]))
    one[np.arange(answers.voter.size), answers.truth, answers.said] = 1.0
    return Counts(np.maximum(counts.judged[answers.voter] - one, 0), np.maximum(counts.golden[answers.voter] - one, 0))


def scores(model: ModelOf, counts: Counts, pool: Pool, tasks: GoldenTasks) -> Floats:
    """G x K: the model's score of each label of each golden task, every answer weighed by what the voter's others say."""
    answers = tasks.answers
    prior, matrices = model(without_own(counts, answers), pool)
    added = np.tile(prior, (tasks.truth.size, 1))
    np.add.at(added, answers.task, matrices[np.arange(answers.voter.size), :, answers.said])
    return added
