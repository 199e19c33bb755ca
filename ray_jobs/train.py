"""Tune the small model on a snapshot's train split: a LoRA adapter, and the held-out loss before and after."""

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import orjson

from ray_jobs import models
from ray_jobs.measure import Progress, mean_loss, precision
from ray_jobs.recipes import RECIPES, Recipe
from ray_jobs.rows import Tokens, encode, in_order, manifest, rows

ADAPTER = "adapter"
TENSORS = "adapter_model.safetensors"

Losses = Generator[Progress, None, tuple[float, ...]]


@dataclass(frozen=True)
class Trained:
    """What a training did: losses in nats per token of the held-out completions."""

    snapshot_digest: str
    recipe: str
    base_model: str
    steps: int
    trainable_parameters: int
    train_rows: int
    heldout_rows: int
    loss_before: float
    loss_after: float
    checkpoint_digest: str
    step_losses: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class TrainJob:
    """Paths on the machine, or the shared file system, where the job runs. `out` receives the adapter."""

    snapshot: str
    recipe: str
    gguf: str
    models: str
    out: str


def train(job: TrainJob) -> Iterator[Progress | Trained]:
    """Progress, and at last what was trained. Same snapshot, recipe, machine: same adapter, bit by bit."""
    import torch

    started = time.monotonic()
    recipe, snapshot = RECIPES[job.recipe], Path(job.snapshot)
    kept_in = rows(snapshot, "train")
    held_out = in_order(rows(snapshot, "test"), recipe.seed)[: recipe.heldout_rows]

    yield Progress("load the model", 0, 1)
    torch.manual_seed(recipe.seed)
    base = models.base(Path(job.gguf), Path(job.models))
    untouched, tokenizer = models.load(base, recipe.precision)
    model = with_adapter(untouched, recipe)

    measured = encode(tokenizer, held_out, recipe)
    loss_before = yield from mean_loss(model, measured, recipe, "held-out loss before")
    step_losses = yield from steps(model, batches(tokenizer, kept_in, recipe), recipe)
    loss_after = yield from mean_loss(model, measured, recipe, "held-out loss after")

    done = Trained(
        snapshot_digest=manifest(snapshot).content_digest,
        recipe=recipe.name,
        base_model=base.name,
        steps=recipe.steps,
        trainable_parameters=sum(part.numel() for part in model.parameters() if part.requires_grad),
        train_rows=len(kept_in),
        heldout_rows=len(held_out),
        loss_before=loss_before,
        loss_after=loss_after,
        checkpoint_digest=save(model, Path(job.out)),
        step_losses=step_losses,
        seconds=time.monotonic() - started,
    )
    (Path(job.out) / "training.json").write_bytes(orjson.dumps(asdict(done), option=orjson.OPT_INDENT_2))
    yield done


def with_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with fresh LoRA matrices on every linear layer; they alone are trained, in full precision."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def batches(tokenizer: Any, kept_in: list[Any], recipe: Recipe) -> Iterator[list[Tokens]]:
    """Batches without end: each epoch in another order, the last batch of an epoch as short as it comes."""
    epoch = 0
    while True:
        ordered = in_order(kept_in, recipe.seed, epoch)
        for at in range(0, len(ordered), recipe.batch_rows):
            yield encode(tokenizer, ordered[at : at + recipe.batch_rows], recipe)
        epoch += 1


def steps(model: Any, source: Iterator[list[Tokens]], recipe: Recipe) -> Losses:
    """The training loop; returns the loss of each step."""
    import torch

    tuned = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_rate(step, recipe))
    model.train()
    seen: list[float] = []
    for done in range(1, recipe.steps + 1):
        batch = next(source)
        with precision(recipe):
            nats = models.losses(model, [(row.before, row.completion) for row in batch])
        loss = nats.sum() / sum(len(row.completion) for row in batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned, recipe.clip_norm)
        optimizer.step()
        schedule.step()
        seen.append(loss.item())
        yield Progress("train", done, recipe.steps, seen[-1])
    model.eval()
    return tuple(seen)


def share_of_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then linear to 0 at the end."""
    rising = (step + 1) / (recipe.warmup_steps + 1)
    falling = (recipe.steps - step) / max(1, recipe.steps - recipe.warmup_steps)
    return min(rising, falling)


def save(model: Any, out: Path) -> str:
    """Write the adapter; return the SHA-256 of its tensors."""
    model.save_pretrained(out / ADAPTER, save_embedding_layers=False)  # "auto" would ask the network
    with (out / ADAPTER / TENSORS).open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()
