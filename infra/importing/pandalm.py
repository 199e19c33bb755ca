"""PandaLM's test set: a JSON list of instructions, each with the responses of two models and the choices of its annotators.

Instructions and responses become submissions, each pair a comparison, each annotator's number a choice: 1 for the first
response, 2 for the second, 0 for a tie. An empty response is one of the worst, so a placeholder that says so stands for it.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.importing.facts import Found, Imported, Moment, Options, guarded, identifier, imported, refused
from infra.importing.lines import Line, Problem
from infra.importing.self_instruct import prompt_id, prompt_text
from schemas.events import ComparisonOffered, PreferenceCast, SubmissionReceived
from schemas.words import Choice

SOURCE = "assay/import/pandalm"
SLICE = "en/user-oriented/generation"
EMPTY = "[An empty response.]"
CHOICES: dict[int, Choice] = {0: "tie", 1: "left", 2: "right"}


class Item(BaseModel):
    """One entry of the list, beside its `annotator<n>`; a response that JSON reads as true or a number is that text."""

    model_config = ConfigDict(extra="allow")

    idx: int
    cmp_key: str = Field(pattern=r"^[^_]+_[^_]+$")
    instruction: str
    input: str
    response1: str | bool | int | float
    response2: str | bool | int | float

    @property
    def models(self) -> tuple[str, str]:
        left, _, right = self.cmp_key.partition("_")
        return left, right

    @property
    def choices(self) -> list[tuple[str, Any]]:
        """Each annotator's number in the file, with what they chose."""
        extra = self.model_extra or {}
        return [(name.removeprefix("annotator"), extra[name]) for name in sorted(extra) if name.startswith("annotator")]


def pandalm(lines: Iterable[Line | Problem], options: Options) -> Iterator[Found]:
    """Per item: the texts that are new, the comparison, the choices. Problems name the item's number, from 1."""
    seen: set[str] = set()
    for number, raw in enumerate(_list(lines), 1):
        if isinstance(raw, Problem):
            yield raw
            continue
        try:
            item = Item.model_validate(raw)
        except ValidationError as error:
            yield refused(number, error)
            continue
        wrong = [f"annotator{name}: {choice!r}" for name, choice in item.choices if choice not in CHOICES]
        if wrong:
            yield Problem(number, "unknown_choice", ", ".join(wrong)[:300], "0 is a tie, 1 the first response, 2 the second")
            continue
        yield from guarded(number, _events(number, item, options, seen))


def _list(lines: Iterable[Line | Problem]) -> Iterator[Any]:
    """The entries of the JSON list that all lines together are."""
    text: list[str] = []
    for line in lines:
        if isinstance(line, Problem):
            yield line
            return
        text.append(line.text)
    try:
        found = orjson.loads("\n".join(text))
    except orjson.JSONDecodeError as error:
        yield Problem(error.lineno, "not_json", str(error), "the whole file is one JSON list")
        return
    if isinstance(found, list):
        yield from found
    else:
        yield Problem(1, "not_a_list", f"a JSON {type(found).__name__}", "the whole file is one JSON list")


def _events(number: int, item: Item, options: Options, seen: set[str]) -> Iterator[Imported]:
    project, prompt = options.project, prompt_id(options.project, item.instruction, item.input)
    texts = [(prompt, _prompt(item, project)), *(_completion(item, project, prompt, side) for side in (0, 1))]
    for place, (subject, received) in enumerate(texts):
        if subject not in seen:
            seen.add(subject)
            yield imported(Moment(number, options.moment(number, place)), SOURCE, subject, received)
    comparison = identifier(project, f"comparison-{item.idx}")
    offered = ComparisonOffered(project=project, slice=SLICE, prompt=prompt, left=texts[1][0], right=texts[2][0])
    yield imported(Moment(number, options.moment(number, 10)), SOURCE, comparison, offered)
    for place, (name, choice) in enumerate(item.choices):
        annotator = identifier(project, f"annotator-{name}")
        cast = PreferenceCast(annotator=annotator, choice=CHOICES[choice])
        yield imported(Moment(number, options.moment(number, 1_000 * (place + 1))), SOURCE, comparison, cast, annotator)


def _prompt(item: Item, project: str) -> SubmissionReceived:
    text, writer = prompt_text(item.instruction, item.input), f"{project}-unknown-writer"
    return SubmissionReceived(project=project, kind="prompt", writer=writer, slice=SLICE, text=text, provenance="human")


def _completion(item: Item, project: str, prompt: str, side: int) -> tuple[str, SubmissionReceived]:
    """A model's response; the same model may have answered one prompt twice, so the id has a hash of the text."""
    text = str((item.response1, item.response2)[side]).strip() or EMPTY
    model = item.models[side]
    writer, digest = identifier("model", model), blake2b(text.encode(), digest_size=4).hexdigest()
    received = SubmissionReceived(
        project=project, kind="completion", writer=writer, slice=SLICE, text=text, provenance="model", prompt=prompt
    )
    return f"{prompt}.{writer}.{digest}", received
