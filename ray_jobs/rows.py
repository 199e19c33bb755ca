"""A snapshot's rows as token ids: the only thing a job knows about the data."""

from collections.abc import Iterator, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from ray_jobs.recipes import Recipe
from schemas.manifest import Manifest, SnapshotFile, Split


class Unusable(Exception):
    """A job cannot begin with what it was given; `hint` says what would help."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what


class Row(NamedTuple):
    """A completion with its conversation. `prompt` is the id that wins are counted by, `group` the cluster."""

    submission: str
    prompt: str
    group: str
    before: list[dict[str, str]]
    completion: str


class Tokens(NamedTuple):
    """A row as ids: the end of its prompt and the beginning of its completion, each cut to the recipe's length."""

    row: Row
    before: list[int]
    completion: list[int]


def manifest(snapshot: Path) -> Manifest:
    return Manifest.model_validate_json((snapshot / "manifest.json").read_bytes())


def rows(snapshot: Path, split: Split) -> list[Row]:
    """The split's completions. Raises Unusable where a file is not the one that was sealed, or nothing is in it."""
    sealed = manifest(snapshot)
    files = [file for file in sealed.files if file.layout == "prompt_completion" and file.split == split]
    found = [row for file in files for row in _rows(snapshot, file)]
    if not found:
        hint = "create one of kind completion, with more approved conversations in it"
        raise Unusable(f"snapshot {sealed.name} has no completion in split {split}", hint)
    return found


def _rows(snapshot: Path, file: SnapshotFile) -> Iterator[Row]:
    path = snapshot / file.path
    with path.open("rb") as opened:
        if file_digest(opened, "sha256").hexdigest() != file.sha256:
            raise Unusable(f"{path} is not the file that was sealed", "`assay snapshot verify` says what differs")
    for row in pq.read_table(path).to_pylist():
        yield Row(row["submission"], row["prompt_id"], row["group"], row["prompt"], row["completion"][0]["content"])


def in_order(found: Sequence[Row], seed: int, epoch: int = 0) -> list[Row]:
    """The rows as shuffled by hash: the same on any machine, whatever order they came in."""
    return sorted(found, key=lambda row: sha256(f"{seed}:{epoch}:{row.submission}".encode()).digest())


def encode(tokenizer: Any, found: Sequence[Row], recipe: Recipe) -> list[Tokens]:
    """Rows as ids, in the model's own chat form; a completion ends with the end-of-turn token."""
    return [_encode(tokenizer, row, recipe) for row in found]


def _encode(tokenizer: Any, row: Row, recipe: Recipe) -> Tokens:
    text = tokenizer.apply_chat_template(row.before, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    completion = [*tokenizer(row.completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return Tokens(row, before[-recipe.prompt_tokens :], completion[: recipe.completion_tokens])
