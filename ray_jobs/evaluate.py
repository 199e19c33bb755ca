"""The tuned model against the untouched one: how likely each finds the reference answers of the held-out split."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import orjson

from ray_jobs import models
from ray_jobs.measure import Progress, row_losses
from ray_jobs.recipes import RECIPES
from ray_jobs.rows import Tokens, Unusable, encode, in_order, manifest, rows
from ray_jobs.train import ADAPTER, TENSORS

CONFIDENCE = 0.95


class Gain(NamedTuple):
    """What tuning gained on one prompt, in nats per token of its reference answers; `group` is its cluster."""

    prompt: str
    group: str
    nats: float


class Comparison(NamedTuple):
    """The mean gain over prompts, its 95 % interval, and on how many prompts which model was better."""

    prompts: int
    groups: int
    wins: int
    ties: int
    losses: int
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found; gains in nats per token."""

    snapshot_digest: str
    checkpoint_digest: str
    prompts: int
    groups: int
    wins: int
    ties: int
    losses: int
    gain: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class EvaluateJob:
    """Paths on the machine, or the shared file system, where the job runs. `run` holds the adapter of a training."""

    snapshot: str
    recipe: str
    gguf: str
    models: str
    run: str
    out: str


def evaluate(job: EvaluateJob) -> Iterator[Progress | Evaluated]:
    """Progress, and at last what was found. Untouched means the same weights with the adapter switched off."""
    started = time.monotonic()
    recipe, snapshot = RECIPES[job.recipe], Path(job.snapshot)
    held_out = in_order(rows(snapshot, "test"), recipe.seed)[: recipe.heldout_rows]

    yield Progress("load the model", 0, 1)
    untouched, tokenizer = models.load(models.base(Path(job.gguf), Path(job.models)), recipe.precision)
    model, checkpoint_digest = tuned(untouched, Path(job.run))
    measured = encode(tokenizer, held_out, recipe)

    with_it = yield from row_losses(model, measured, recipe, "tuned model")
    with model.disable_adapter():
        without = yield from row_losses(model, measured, recipe, "untouched model")

    gains = by_prompt(measured, without, with_it)
    done = Evaluated(
        snapshot_digest=manifest(snapshot).content_digest,
        checkpoint_digest=checkpoint_digest,
        **compare(gains)._asdict(),
        seconds=time.monotonic() - started,
    )
    report = asdict(done) | {"gains": [gain._asdict() for gain in gains]}
    (Path(job.out) / "evaluation.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    yield done


def tuned(untouched: Any, run: Path) -> tuple[Any, str]:
    """The model with a training's adapter, and the SHA-256 of its tensors."""
    from peft import PeftModel

    path = run / ADAPTER
    with (path / TENSORS).open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    return PeftModel.from_pretrained(untouched, path).eval(), digest


def by_prompt(found: Sequence[Tokens], before: Sequence[float], after: Sequence[float]) -> list[Gain]:
    """The mean gain per token of each prompt's answers, in order of prompt ids."""
    gains: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for tokens, untouched, tuned_ in zip(found, before, after, strict=True):
        gains[tokens.row.prompt, tokens.row.group].append((untouched - tuned_) / len(tokens.completion))
    return [Gain(prompt, group, fmean(nats)) for (prompt, group), nats in sorted(gains.items())]


def compare(gains: Sequence[Gain]) -> Comparison:
    """Mean gain with a 95 % interval, clustered by group: prompts of one group are no independent evidence.

    The interval is the t interval of a regression on a constant with cluster-robust errors, G - 1 degrees of
    freedom. A gain that rounds to 0 milli-nats is a tie.
    """
    import numpy as np
    from statsmodels.regression.linear_model import OLS

    nats = np.array([gain.nats for gain in gains])
    names, clusters = np.unique([gain.group for gain in gains], return_inverse=True)
    if len(names) < 2:
        hint = "an interval needs two groups of prompts at least: take a snapshot with more approved conversations"
        raise Unusable(f"the held-out split has {len(names)} group of prompts", hint)
    fit = OLS(nats, np.ones(len(nats))).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int(1 - CONFIDENCE)[0]
    signs = np.sign(np.round(1000 * nats))
    wins, ties, losses = (int((signs == sign).sum()) for sign in (1, 0, -1))
    return Comparison(len(nats), len(names), wins, ties, losses, float(fit.params[0]), float(low), float(high))
