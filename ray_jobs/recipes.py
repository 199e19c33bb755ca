"""Every number of a training, by name: the table that the command line, the jobs and the docs read."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """How to tune and how to measure. Lengths in tokens; the learning rate falls linearly to 0 after the warm-up."""

    name: str
    help: str
    steps: int
    batch_rows: int
    heldout_rows: int
    prompt_tokens: int
    completion_tokens: int
    learning_rate: float
    warmup_steps: int
    rank: int = 16
    alpha: int = 32
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: int = 20_261_121
    cpus: int = 2


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="test",
            help="a few steps on short rows, to see that everything is there",
            steps=3,
            batch_rows=4,
            heldout_rows=8,
            prompt_tokens=48,
            completion_tokens=16,
            learning_rate=1e-3,
            warmup_steps=1,
        ),
        Recipe(
            name="smoke",
            help="proves the way from the log to a tuned model in about a minute on two cores; no claim on quality",
            steps=12,
            batch_rows=4,
            heldout_rows=24,
            prompt_tokens=80,
            completion_tokens=96,
            learning_rate=5e-4,
            warmup_steps=2,
        ),
        Recipe(
            name="small",
            help="some hundred steps on longer texts; an hour on two cores",
            steps=400,
            batch_rows=8,
            heldout_rows=200,
            prompt_tokens=256,
            completion_tokens=384,
            learning_rate=3e-4,
            warmup_steps=20,
            precision="float32",
        ),
    )
}
