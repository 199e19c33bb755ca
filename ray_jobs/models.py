"""The small real model: SmolLM2-135M-Instruct out of a GGUF file, kept as safetensors so that it loads in no time."""

import os
import shutil
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

NAME = "SmolLM2-135M-Instruct"
#: Where the model is published; written into adapters instead of a path on this machine.
PUBLISHED = "HuggingFaceTB/SmolLM2-135M-Instruct"

IGNORED = -100


class Base(NamedTuple):
    """The untouched model on this machine. `digest` is the SHA-256 of the file that it came from."""

    path: Path
    digest: str

    @property
    def name(self) -> str:
        return f"{NAME}@sha256:{self.digest}"


def base(gguf: Path, cache: Path) -> Base:
    """The model of a GGUF file, converted into `cache` the first time (some 20 s); whole or not at all."""
    with gguf.open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    path = cache / f"{NAME.lower()}-{digest[:16]}"
    if not path.is_dir():
        _convert(gguf, path)
    return Base(path, digest)


def _convert(gguf: Path, path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # Without dequantize the model counts as quantised, and refuses to be saved.
        config = GgufConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, quantization_config=config)
        tokenizer.save_pretrained(part)
        model.save_pretrained(part)
        _move(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, path: Path) -> None:
    try:
        part.rename(path)
    except OSError:
        if not path.is_dir():  # else another process was first, with the same content
            raise


def load(found: Base, precision: str) -> tuple[Any, Any]:
    """(model, tokenizer), in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(found.path, dtype=getattr(torch, precision), local_files_only=True)
    # Else an adapter would name a folder of this machine.
    model.name_or_path = model.config.name_or_path = PUBLISHED
    return model.eval(), AutoTokenizer.from_pretrained(found.path, local_files_only=True)


def losses(model: Any, batch: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Any:
    """Negative log-likelihood in nats of each completion token, given all before it: (rows, longest completion).

    `batch` holds (ids before, ids of the completion). Padding stands on the left, so that all completions end
    together and only their logits are computed; it counts for nothing and its losses are 0.
    """
    import torch

    width = max(len(before) + len(completion) for before, completion in batch)
    longest = max(len(completion) for _, completion in batch)
    ids = torch.tensor([[0] * (width - len(b) - len(c)) + [*b, *c] for b, c in batch])
    mask = torch.tensor([[0] * (width - len(b) - len(c)) + [1] * (len(b) + len(c)) for b, c in batch])
    labels = torch.tensor([[IGNORED] * (longest - len(c)) + [*c] for _, c in batch])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=longest + 1, use_cache=False)
    logits = out.logits[:, :-1].float().transpose(1, 2)
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
