"""The estimator: from what all voters of a project did to how each model weighs their votes, and which model to trust.

It sees every voter of a project, which no fold does. So it is no fold: what it says is recorded as a fact and folded from
there (DESIGN.md, rule 2). Floats live here; what leaves is integers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.events import SkillsEstimated
from schemas.words import Model, Task
from streams import blend, calibration
from streams.calibration import Temperature
from streams.confusion import Counts, Floats, GoldenAnswer, Voter, counts_of, pooled
from streams.golden import GoldenTasks, joined, scores
from streams.models import SINGLE, Weights
from streams.tallies import Confusion, Judged, Tally

#: Golden tasks that the temperatures and the champion rest on, at most.
LOOKED_AT = 200
#: The model that is trusted while golden answers are too few.
TRUSTED: Model = "bayesian"
#: A voter's weights are told again when one of them has changed by more than this, in milli-nats.
TOLD_AGAIN = 50

#: Integers of voters' matrices in one control record: some 120 kB.
PART_NUMBERS = 20_000

IntegerMatrix = tuple[int, ...]


class Subject(NamedTuple):
    """Whose votes on what: a project's, on texts or between completions."""

    project: str
    task: Task


class Estimate(NamedTuple):
    """One model of one project, in integers: milli-nats, permille. Matrices are flat, one row a right label."""

    model: Model
    champion: bool
    labels: tuple[str, ...]
    prior: tuple[int, ...]
    default: IntegerMatrix
    weights: dict[str, IntegerMatrix]
    temperature_permille: int
    temperature_per_vote_permille: int
    golden_answers: int
    #: Mean log loss on the golden tasks, each answer weighed without itself; None without golden tasks.
    log_loss: int | None


class _Judged(NamedTuple):
    """A model with what golden tasks say of it."""

    model: Model
    weights: Weights
    temperature: Temperature
    losses: Floats


def voter_of(name: str, tally: Tally, labels: Sequence[str]) -> Voter:
    """What a tally says of one voter. What was voted or right under another label set does not count."""
    place = {label: number for number, label in enumerate(labels)}
    newest = [Judged(*one) for one in tally.golden]
    answers = tuple(
        GoldenAnswer(one.submission, place[one.truth], place[one.label])
        for one in newest
        if one.truth in place and one.label in place
    )
    return Voter(name, _matrix(tally.confusion, labels), _matrix(tally.golden_confusion, labels), answers)


def _matrix(confusion: Confusion, labels: Sequence[str]) -> list[list[int]]:
    """Nothing was counted less than never: what is below comes of forged judgements, and has no logarithm."""
    return [[max(0, confusion.get(truth, {}).get(said, 0)) for said in labels] for truth in labels]


def estimate(labels: Sequence[str], voters: Sequence[Voter]) -> list[Estimate]:
    """Every model's weights for these voters, the champion's first: told in this order, there is no moment without a champion.

    The order of voters does not matter. A voter without votes gets what an unknown one has.
    """
    ordered = sorted(voters, key=lambda voter: voter.name)
    counts = _with_unknown(counts_of(ordered, len(labels)))
    pool, tasks = pooled(counts.judged), joined(ordered, LOOKED_AT)
    on_golden: dict[Model, Floats] = {model: scores(made_by, counts, pool, tasks) for model, made_by in SINGLE.items()}
    judged = [_judge(model, made_by(counts, pool), on_golden[model], tasks) for model, made_by in SINGLE.items()]
    judged.append(_blended(judged, on_golden, tasks))
    champion = _champion(judged, tasks)
    judged.sort(key=lambda one: one.model != champion)
    return [_told(one, one.model == champion, tuple(labels), [voter.name for voter in ordered], tasks) for one in judged]


def _with_unknown(counts: Counts) -> Counts:
    """One more voter, of whom nothing is known: the default."""
    return Counts(*(np.concatenate([part, np.zeros((1, *part.shape[1:]))]) for part in counts))


def _judge(model: Model, weights: Weights, on_golden: Floats, tasks: GoldenTasks) -> _Judged:
    temperature = calibration.fitted(on_golden, tasks.votes, tasks.truth)
    said = calibration.probabilities(on_golden, calibration.at(temperature, tasks.votes))
    return _Judged(model, weights, temperature, calibration.log_losses(said, tasks.truth))


def _blended(judged: Sequence[_Judged], on_golden: Mapping[Model, Floats], tasks: GoldenTasks) -> _Judged:
    """All models together: their weights are fitted at the temperature of the trusted one, its own temperature after them."""
    trusted = next(one for one in judged if one.model == TRUSTED)
    together = np.stack([on_golden[one.model] for one in judged])
    divided = together / calibration.at(trusted.temperature, tasks.votes)[:, None]
    alone = np.array([float(one.model == TRUSTED) for one in judged])
    shares = alone if tasks.truth.size < calibration.ENOUGH else blend.fitted(divided, tasks.truth, alone)
    mixed = blend.mixed(shares, [one.weights for one in judged])
    return _judge("blend", mixed, np.tensordot(shares, together, axes=1), tasks)


def _champion(judged: Sequence[_Judged], tasks: GoldenTasks) -> Model:
    """The blend, once there are golden answers enough: its pull to the trusted model is its caution."""
    return "blend" if tasks.truth.size >= calibration.ENOUGH else TRUSTED


def _told(one: _Judged, champion: bool, labels: tuple[str, ...], names: Sequence[str], tasks: GoldenTasks) -> Estimate:
    flat = np.rint(one.weights.matrices * 1000).astype(np.int64).reshape(len(names) + 1, -1)
    matrices = [tuple(int(weight) for weight in row) for row in flat]
    loss = round(float(one.losses.mean()) * 1000) if tasks.truth.size else None
    return Estimate(
        one.model,
        champion,
        labels,
        tuple(int(weight) for weight in np.rint(one.weights.prior * 1000)),
        matrices[-1],
        dict(zip(names, matrices, strict=False)),
        round(one.temperature.base * 1000),
        round(one.temperature.per_vote * 1000),
        int(tasks.truth.size),
        loss,
    )


def changed(new: Estimate, told: Mapping[str, IntegerMatrix]) -> dict[str, IntegerMatrix]:
    """The voters whose weights are to be told, given those that were told last; an untold voter has the default."""
    return {name: weights for name, weights in new.weights.items() if differ(weights, told.get(name, new.default))}


def differ(one: IntegerMatrix, other: IntegerMatrix) -> bool:
    """Whether any weight is so far from the other that it is worth telling."""
    return any(abs(mine - theirs) > TOLD_AGAIN for mine, theirs in zip(one, other, strict=True))


def control_records(
    about: Subject, version: int, new: Estimate, fresh: dict[str, IntegerMatrix], *, sweep: bool = False
) -> list[SkillsEstimated]:
    """One model's estimate as the control records of a version; `fresh` are the voters to tell of, in as many parts as a
    message's size wants, in order of their names."""
    names, at_most = sorted(fresh), max(1, PART_NUMBERS // len(new.labels) ** 2)
    parts = [names[start : start + at_most] for start in range(0, len(names), at_most)] or [[]]
    return [
        SkillsEstimated(
            project=about.project,
            task=about.task,
            version=version,
            model=new.model,
            champion=new.champion,
            labels=new.labels,
            prior_milli_nats=new.prior,
            default_milli_nats=new.default,
            weights_milli_nats={name: fresh[name] for name in part},
            temperature_permille=new.temperature_permille,
            temperature_per_vote_permille=new.temperature_per_vote_permille,
            golden_answers=new.golden_answers,
            log_loss_milli_nats=new.log_loss,
            more=number + 1 < len(parts),
            sweep=sweep,
        )
        for number, part in enumerate(parts)
    ]
