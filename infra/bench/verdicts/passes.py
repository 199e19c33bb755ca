"""One pass of a crowd's votes through the folds: all of them, or only as many as are asked for."""

import time
from collections.abc import Collection
from typing import NamedTuple

from infra.bench.verdicts.crowds import Crowd
from infra.bench.verdicts.loop import Loop
from schemas.policy import MODELS, Policy
from schemas.words import Model
from streams.scores import confidence_permille, leading
from streams.weighing import temperature_permille

#: Dynamic overlap: votes at first, and at most.
START, CAP = 2, 5
#: Calibrated probability from which no more votes are asked for: where votes cost more than errors, less than a policy's default.
STOP_PERMILLE = 880


class Said(NamedTuple):
    """What one model says at the end, by task: labels, and how sure it is with its temperature and without."""

    labels: dict[int, int]
    confidence: dict[int, float]
    uncalibrated: dict[int, float]


class Pass(NamedTuple):
    """What a pass ended with. `verdicts` has what was decided while votes came in, and of tasks without a verdict what leads;
    `models` what each model says by all votes and the newest weights."""

    verdicts: dict[int, int]
    champion: Model
    models: dict[Model, Said]
    votes: int
    seconds: float
    facts: int


def labels_of(crowd: Crowd) -> tuple[str, ...]:
    """Labels as a policy can name them, whatever the set calls them."""
    return tuple(f"l{number}" for number in range(len(crowd.labels)))


def passed(crowd: Crowd, revealed: Collection[int] = (), *, asked_only: bool = False) -> Pass:
    """Votes in their order, one pass. With `asked_only` a vote is used only if its task is undecided when it comes. The right
    labels of the revealed tasks are golden answers, set when their texts come in."""
    started, labels = time.perf_counter(), labels_of(crowd)
    policy = Policy(labels=labels, approving=labels[:1], overlap_min=START, overlap_max=CAP)
    if asked_only:
        stop = {"approve_confidence_permille": STOP_PERMILLE, "reject_confidence_permille": STOP_PERMILLE}
        policy = policy.model_copy(update=stop)
    loop = Loop(policy)
    received: set[int] = set()
    used = 0
    for vote in crowd.votes:
        subject = f"t{vote.task}"
        if vote.task not in received:
            received.add(vote.task)
            loop.receive(subject, labels[crowd.gold[vote.task]] if vote.task in revealed else None)
        if not asked_only or loop.row(subject).verdict is None:
            loop.vote(subject, f"w{vote.worker}", labels[vote.label])
            used += 1
    loop.estimate()
    models = {model: _said(loop, crowd, model) for model in MODELS}
    seconds = time.perf_counter() - started
    return Pass(_verdicts(loop, crowd, models), loop.champion(), models, used, seconds, loop.facts)


def _said(loop: Loop, crowd: Crowd, model: Model) -> Said:
    rules, said = loop.rules(model), Said({}, {}, {})
    for task in range(len(crowd.tasks)):
        scores, votes = loop.scores(f"t{task}", rules)
        lead = said.labels[task] = leading(scores)
        said.confidence[task] = confidence_permille(scores, lead, temperature_permille(rules, votes)) / 1000
        said.uncalibrated[task] = confidence_permille(scores, lead, 1_000) / 1000
    return said


def _verdicts(loop: Loop, crowd: Crowd, models: dict[Model, Said]) -> dict[int, int]:
    leads, place = models[loop.champion()].labels, {label: number for number, label in enumerate(labels_of(crowd))}
    decided = {task: loop.row(f"t{task}") for task in range(len(crowd.tasks))}
    return {task: place[row.label] if row.verdict is not None else leads[task] for task, row in decided.items()}


def majority(crowd: Crowd, cap: int) -> tuple[dict[int, int], int]:
    """The label most voted among each task's first votes, of equal ones the one voted first; and how many votes that took."""
    said: dict[int, int] = {}
    used = 0
    for task, votes in crowd.by_task().items():
        heard = [vote.label for vote in votes[:cap]]
        said[task] = max(heard, key=lambda label: (heard.count(label), -heard.index(label)))
        used += len(heard)
    return said, used
