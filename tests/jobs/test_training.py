"""Training: laws on a tiny model of the same family, then the real one through Ray, a few steps."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from infra.datasets import parquet, snapshots
from infra.datasets.snapshots import Built, Request
from infra.errors import AssayError
from infra.settings import Kafka, Models, Settings
from infra.training import checked, gguf, models_dir
from ray_jobs import models, train
from ray_jobs.cluster import cluster, run
from ray_jobs.evaluate import Evaluated, EvaluateJob, evaluate
from ray_jobs.measure import Progress
from ray_jobs.recipes import RECIPES
from ray_jobs.rows import Row, Tokens, Unusable, in_order, rows
from ray_jobs.train import Trained, TrainJob
from schemas.manifest import SPLITS
from streams.dataset import dataset
from tests.jobs.conversations import approved, submissions, text

TINY = replace(RECIPES["smoke"], steps=6, rank=4, precision="float32", batch_rows=2)


def tiny() -> Any:
    """Two layers of the real model's architecture, with random weights."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=97, **sizes)).eval()
    model.name_or_path = model.config.name_or_path = models.PUBLISHED
    return model


def token_rows(count: int) -> list[Tokens]:
    random = torch.Generator().manual_seed(3)

    def ids(length: int) -> list[int]:
        return torch.randint(1, 97, (length,), generator=random).tolist()

    return [Tokens(Row(f"s{at}", f"q{at}", f"g{at}", [], ""), ids(2 + at % 5), ids(1 + at % 4)) for at in range(count)]


def drained(job: Iterator[Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


# --- laws --------------------------------------------------------------------------------------


def test_a_row_has_the_same_losses_alone_and_in_a_batch() -> None:
    model, batch = tiny(), [(row.before, row.completion) for row in token_rows(7)]
    with torch.inference_mode():
        together = models.losses(model, batch)
        for at, pair in enumerate(batch):
            (alone,) = models.losses(model, [pair])
            assert torch.allclose(together[at, -len(pair[1]) :], alone, atol=1e-5)
            assert torch.all(together[at, : -len(pair[1])] == 0)


def test_only_the_completion_counts() -> None:
    """Against the model's own loss, with every other label switched off."""
    model, (before, completion) = tiny(), ([5, 6, 7], [8, 9])
    with torch.inference_mode():
        ours = models.losses(model, [(before, completion)]).mean()
        labels = torch.tensor([[models.IGNORED] * len(before) + completion])
        theirs = model(input_ids=torch.tensor([before + completion]), labels=labels).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path) -> None:
    assert tuned(tmp_path / "a") == tuned(tmp_path / "b")
    assert tuned(tmp_path / "a") != tuned(tmp_path / "c", seed=2)


def tuned(out: Path, seed: int = 1) -> str:
    untouched = tiny()
    torch.manual_seed(seed)
    model = train.with_adapter(untouched, TINY)
    found = token_rows(8)
    losses = drained(train.steps(model, iter([found[:2], found[2:4]] * 3), TINY))
    assert len(losses) == TINY.steps
    return train.save(model, out)


def test_training_lowers_the_loss_on_what_it_saw() -> None:
    recipe = replace(TINY, steps=30, learning_rate=1e-2)
    model = train.with_adapter(tiny(), recipe)
    losses = drained(train.steps(model, iter([token_rows(2)] * 30), recipe))
    assert losses[-1] < losses[0] - 0.3


def test_the_rate_rises_and_falls_to_nothing() -> None:
    shares = [train.share_of_rate(step, TINY) for step in range(TINY.steps + 1)]
    assert max(shares) == 1.0
    assert shares[-1] == 0.0
    assert shares == [*sorted(shares[:3]), *sorted(shares[3:], reverse=True)]


def test_the_order_of_rows_is_that_of_their_hashes() -> None:
    found = [row.row for row in token_rows(9)]
    assert in_order(found, 1) == in_order(found[::-1], 1)
    assert in_order(found, 1) != in_order(found, 1, epoch=1)


# --- the real model, on Ray --------------------------------------------------------------------


def sealed(folder: Path, count: int = 40) -> Path:
    """A snapshot folder built without a broker: what a job reads."""
    conversations = [
        one
        for at in range(count)
        for one in (text(f"q{at}", f"What is {at} times {at + 7}?"), text(f"a{at}", f"It is {at * (at + 7)}.", f"q{at}"))
    ]
    built = Built(dataset(submissions(approved(*conversations)), "completion"), {}, {"p": 0})
    path = folder / "snapshots" / "tiny"
    path.mkdir(parents=True)
    manifest = snapshots.manifest_of(built, Request("tiny"), parquet.write(built.dataset, path))
    (path / "manifest.json").write_text(manifest.model_dump_json())
    return path


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained, Evaluated, list[Progress]]:
    """A training and an evaluation of the real model, through a Ray of our own."""
    folder = tmp_path_factory.mktemp("jobs")
    here = Settings(data_dir=folder)
    model, cache = str(gguf(here)), models_dir(here)
    snapshot, out, evaluated = sealed(folder), folder / "run", folder / "eval"
    out.mkdir()
    evaluated.mkdir()
    with cluster(folder / "ray", 2):
        one: Sequence[Any] = list(run(train.train, TrainJob(str(snapshot), "test", model, cache, str(out)), 2))
        spec = EvaluateJob(str(snapshot), "test", model, cache, str(out), str(evaluated))
        two: Sequence[Any] = list(run(evaluate, spec, 2))
    return folder, one[-1], two[-1], [*one[:-1], *two[:-1]]


def test_a_few_steps_of_the_real_model(jobs: tuple[Path, Trained, Evaluated, list[Progress]]) -> None:
    folder, trained, evaluated, progress = jobs
    assert trained.steps == RECIPES["test"].steps
    assert trained.trainable_parameters == 4_884_480
    assert trained.loss_after < trained.loss_before
    assert evaluated.low <= evaluated.gain <= evaluated.high
    assert evaluated.gain > 0
    assert evaluated.checkpoint_digest == trained.checkpoint_digest
    assert {said.phase for said in progress} >= {"train", "held-out loss before", "tuned model"}
    assert (folder / "run" / "adapter" / "adapter_config.json").exists()
    assert not (folder / "ray").exists()


def test_a_kept_adapter_names_no_place_on_this_machine(jobs: tuple[Path, Trained, Evaluated, list[Progress]]) -> None:
    for path in (jobs[0] / "run" / "adapter").iterdir():
        if path.suffix in {".json", ".md"}:
            assert str(jobs[0]) not in path.read_text()
            assert sys.prefix not in path.read_text()


# --- what cannot be trained --------------------------------------------------------------------


def test_a_file_that_was_not_sealed_is_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path)
    with (path / "prompt_completion" / "train.parquet").open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(Unusable, match="not the file that was sealed"):
        rows(path, "train")


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path, count=1)
    settings = Settings(data_dir=tmp_path, kafka=Kafka(brokers="127.0.0.1:1"))
    with pytest.raises(AssayError, match="nothing to train on"):
        checked(settings, "tiny", "smoke")
    with pytest.raises(Unusable, match="no completion"):
        [rows(path, split) for split in SPLITS]


def test_an_unknown_recipe_or_model_is_refused_with_a_remedy(tmp_path: Path) -> None:
    sealed(tmp_path)
    settings = Settings(data_dir=tmp_path, kafka=Kafka(brokers="127.0.0.1:1"), models=Models(smollm2_dir=tmp_path))
    with pytest.raises(AssayError, match="no such recipe"):
        checked(settings, "tiny", "smoky")
    with pytest.raises(AssayError, match="not on this machine") as caught:
        checked(settings, "tiny", "smoke")
    assert "pip install" in str(caught.value.hint)


def test_a_long_data_directory_gets_a_short_name_for_ray(tmp_path: Path) -> None:
    from ray_jobs.cluster import LONGEST_TEMP, _temp

    long = tmp_path / ("x" * 80)
    assert len(os.fsencode(_temp(long))) <= LONGEST_TEMP
    assert _temp(Path("/short")) == Path("/short")
