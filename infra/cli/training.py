"""assay train | evaluate | runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import RenderableType

from infra import runs as log
from infra import training
from infra.cli.output import DryRun, Json, emit, progress, table
from infra.datasets import snapshots
from infra.training import Run, Watch
from infra.wiring import settings
from ray_jobs.measure import Progress
from ray_jobs.recipes import RECIPES
from schemas.events import AnyEvent, EvaluationFinished, SnapshotSealed, TrainingFinished

Recipe = Annotated[str, Parameter(help="; ".join(f"{one.name}: {one.help}" for one in RECIPES.values()) + ".")]


def train(
    *,
    snapshot: Annotated[str, Parameter(help="Name of the snapshot to train on.")],
    recipe: Recipe = "smoke",
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Tune SmolLM2-135M with LoRA on a snapshot's train split, and measure the loss on its held-out split."""
    if dry_run:
        chosen, manifest, gguf = training.checked(settings(), snapshot, recipe)
        plan = asdict(chosen) | {"snapshot": snapshot, "rows": manifest.splits, "model": str(gguf)}
        return emit(plan, json, lambda said: table(("would train with", ""), said.items()))
    with _watched(json) as watch:
        done = training.train(settings(), snapshot, recipe, watch)
    return emit(_said(done), json, _render_run)


def evaluate(
    *, run: Annotated[str, Parameter(help="Id of a training: see `assay runs`.")], json: Json = False, dry_run: DryRun = False
) -> None:
    """Compare the tuned model with the untouched one: how likely each finds the held-out reference answers."""
    if dry_run:
        found = training.load(settings(), run)
        rows = snapshots.load(settings(), found.snapshot).splits["test"]
        plan = {"run": run, "snapshot": found.snapshot, "held_out_rows": rows}
        return emit(plan, json, lambda said: table(("would evaluate", ""), said.items()))
    with _watched(json) as watch:
        done = training.evaluate(settings(), run, watch)
    return emit(_said(done), json, _render_run)


def runs(*, json: Json = False) -> None:
    """List snapshots, trainings and evaluations, as the log tells them."""
    found = [{"run": event.subject, "time": event.time, **_plain(event)} for event in log.said(settings())]
    emit(found, json, _render_runs)


def _said(done: Run) -> dict[str, Any]:
    return {"run": done.run, "path": str(done.path), "snapshot": done.snapshot, **done.data.model_dump(mode="json")}


def _plain(event: AnyEvent) -> dict[str, Any]:
    return {"event": type(event.data).__name__, **event.data.model_dump(mode="json"), "result": result_of(event.data)}


def result_of(data: object) -> str:
    """What came out, in one line for people."""
    if isinstance(data, SnapshotSealed):
        return f"{data.rows} rows, digest {data.digest[:12]}"
    if isinstance(data, TrainingFinished):
        before, after = data.loss_before_milli_nats / 1000, data.loss_after_milli_nats / 1000
        return f"held-out loss {before:.3f} -> {after:.3f} nats/token in {data.steps} steps ({data.heldout_rows} rows)"
    if isinstance(data, EvaluationFinished):
        gain, low, high = (value / 1000 for value in (data.gain_milli_nats, data.gain_low_milli_nats, data.gain_high_milli_nats))
        counts = f"{data.wins} won, {data.ties} tied, {data.losses} lost of {data.prompts} prompts"
        return f"gain {gain:+.3f} nats/token, 95 % interval [{low:+.3f}, {high:+.3f}]; {counts}"
    return ""


@contextmanager
def _watched(json: bool) -> Iterator[Watch]:
    with progress(json) as bars:
        tasks: dict[str, Any] = {}

        def watch(said: Progress) -> None:
            if said.phase not in tasks:
                tasks[said.phase] = bars.add_task(said.phase, total=said.total)
            loss = "" if said.loss is None else f" (loss {said.loss:.3f})"
            bars.update(tasks[said.phase], completed=said.done, description=said.phase + loss)

        watch(Progress("start Ray", 0, 1))
        yield watch


def _render_run(said: dict[str, Any]) -> RenderableType:
    data = TrainingFinished if "recipe" in said else EvaluationFinished
    found = data(**{name: said[name] for name in data.model_fields})
    rows = [("run", said["run"]), ("snapshot", said["snapshot"]), ("result", result_of(found)), ("kept in", said["path"])]
    return table(("", ""), [*rows, ("took", f"{found.duration_milliseconds / 1000:.1f} s, without the start of Ray")])


def _render_runs(found: list[dict[str, Any]]) -> RenderableType:
    rows = [(one["time"].isoformat(timespec="seconds"), one["run"], one["event"], one["result"]) for one in found]
    return table(("time", "run", "event", "result"), rows)
