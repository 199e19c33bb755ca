"""The loss of a model on given rows, reported as it goes."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from ray_jobs.models import losses
from ray_jobs.recipes import Recipe
from ray_jobs.rows import Tokens

#: Rows measured at once; more are no faster on a processor.
AT_ONCE = 8


class Progress(NamedTuple):
    """How far a job has come; `loss` in nats per token where there is one."""

    phase: str
    done: int
    total: int
    loss: float | None = None


def precision(recipe: Recipe) -> Any:
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16")


def row_losses(model: Any, found: Sequence[Tokens], recipe: Recipe, phase: str) -> Generator[Progress, None, list[float]]:
    """Returns the nats of each row's completion, in the given order."""
    import torch

    by_length = sorted(range(len(found)), key=lambda at: len(found[at].before) + len(found[at].completion))
    nats = [0.0] * len(found)
    for start in range(0, len(by_length), AT_ONCE):
        places = by_length[start : start + AT_ONCE]
        with torch.inference_mode(), precision(recipe):
            measured = losses(model, [(found[at].before, found[at].completion) for at in places])
        for at, total in zip(places, measured.sum(1).tolist(), strict=True):
            nats[at] = total
        yield Progress(phase, start + len(places), len(found))
    return nats


def mean_loss(model: Any, found: Sequence[Tokens], recipe: Recipe, phase: str) -> Generator[Progress, None, float]:
    """Returns the nats per token over all completions."""
    nats = yield from row_losses(model, found, recipe, phase)
    return sum(nats) / sum(len(row.completion) for row in found)
