"""The files of Self-Instruct: seed tasks, user-oriented instructions, and models' predictions for the latter.

Prompts and reference answers were written by people, predictions by the model that the file is named after. The set
has no votes: three rule reviewers cast them (infra.importing.rule_reviewers). Its authors ask not to train on the 252
user-oriented instructions, so these and the predictions go to a project of their own, `<project>-eval`.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import blake2b
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from infra.importing.facts import Found, Imported, Moment, Options, guarded, identifier, imported, refused
from infra.importing.lines import Line, Problem, json_objects
from infra.importing.rule_reviewers import rule_votes
from schemas.events import SubmissionReceived, VoteCast

SOURCE = "assay/import/self-instruct"
EVAL = "-eval"
_ANSWER_MILLISECONDS = 1_000


class Instance(BaseModel):
    input: str
    output: str


class Task(BaseModel):
    """A line of seed_tasks.jsonl or user_oriented_instructions.jsonl."""

    id: Annotated[str, Field(pattern="^(seed_task|user_oriented_task)_")]
    instruction: str
    instances: Annotated[list[Instance], Field(min_length=1, max_length=100)]
    is_classification: bool = False


class Prediction(BaseModel):
    """A line of <model>_predictions.jsonl."""

    instruction: str
    input: str
    response: str


class Text(NamedTuple):
    subject: str
    received: SubmissionReceived


def self_instruct(lines: Iterable[Line | Problem], options: Options) -> Iterator[Found]:
    """Per line: prompts and completions, each with its three votes."""
    for found in json_objects(lines):
        if isinstance(found, Problem):
            yield found
            continue
        line, raw = found
        try:
            one = (Prediction if "response" in raw else Task).model_validate(raw)
        except ValidationError as error:
            yield refused(line, error)
            continue
        yield from guarded(line, _events(line, one, options))


def _events(line: int, one: Task | Prediction, options: Options) -> Iterator[Imported]:
    texts = _of_task(one, options) if isinstance(one, Task) else _of_prediction(one, options)
    for place, (subject, received) in enumerate(texts):
        at = place * _ANSWER_MILLISECONDS
        yield imported(Moment(line, options.moment(line, at)), SOURCE, subject, received)
        for number, (voter, label, reason) in enumerate(rule_votes(received.text), 1):
            vote = VoteCast(revision=1, voter=voter, label=label, reason=reason)
            yield imported(Moment(line, options.moment(line, at + number)), SOURCE, subject, vote, voter)


def _of_task(task: Task, options: Options) -> Iterator[Text]:
    seed = task.id.startswith("seed")
    project = options.project if seed else options.project + EVAL
    skill = "classification" if task.is_classification else "generation"
    slice_ = f"en/instructions/{skill}" if seed else "en/user-oriented/generation"
    writer = f"{options.project}-{'seed' if seed else 'user'}-writer"
    received = partial(SubmissionReceived, project=project, writer=writer, slice=slice_, provenance="human")
    for instance in task.instances:
        prompt, text = prompt_id(project, task.instruction, instance.input), prompt_text(task.instruction, instance.input)
        yield Text(prompt, received(kind="prompt", text=text))
        yield Text(f"{prompt}.reference", received(kind="completion", text=instance.output.strip(), prompt=prompt))


def _of_prediction(one: Prediction, options: Options) -> Iterator[Text]:
    project, writer = options.project + EVAL, identifier("model", options.writer)
    prompt = prompt_id(project, one.instruction, one.input)
    received = SubmissionReceived(
        project=project,
        kind="completion",
        writer=writer,
        slice="en/user-oriented/generation",
        text=one.response.strip(),
        provenance="model",
        prompt=prompt,
    )
    yield Text(f"{prompt}.{writer}", received)


def prompt_text(instruction: str, given: str) -> str:
    return f"{instruction.strip()}\n\n{given.strip()}".strip()


def prompt_id(project: str, instruction: str, given: str) -> str:
    """Predictions repeat their prompt and not its id, so the id is a hash of the text."""
    return f"{project}-{blake2b(prompt_text(instruction, given).encode(), digest_size=8).hexdigest()}"
