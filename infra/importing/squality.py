"""SQuALITY's human evaluation: a passage a line, and for each of its questions three answers that people ranked.

Each answer becomes a completion, each pair of answers a comparison, and each person's ranks of the two a preference:
overall, and by the criteria truthful (correctness) and helpful (selection of what matters). The file has no questions,
so a placeholder that says so stands for each.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import combinations
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.importing.facts import Found, Imported, Moment, Options, guarded, identifier, imported, refused
from infra.importing.lines import Line, Problem, json_objects
from schemas.events import ComparisonOffered, Criterion, PreferenceCast, SubmissionReceived
from schemas.words import Choice

SOURCE = "assay/import/squality"
SLICE = "en/fiction/summarisation"
Rank = Annotated[int, Field(ge=1, le=3)]


class Review(BaseModel):
    """One person's ranks of one answer among the three; 1 is the best."""

    model_config = ConfigDict(populate_by_name=True)

    worker_id: str
    overall: Rank = Field(alias="overall-rank")
    truthful: Rank = Field(alias="correctness-rank")
    helpful: Rank = Field(alias="selection-rank")


class Answer(BaseModel):
    response: str
    reviews: list[Review]


class Passage(BaseModel):
    """A line of all-responses.jsonl: question number -> who or what answered -> the answer."""

    id: str = Field(alias="passage-id")
    questions: dict[str, dict[str, Answer]]


def squality(lines: Iterable[Line | Problem], options: Options) -> Iterator[Found]:
    """Per question: a prompt, its answers, each pair of them and what people prefer."""
    for found in json_objects(lines):
        if isinstance(found, Problem):
            yield found
            continue
        line, raw = found
        try:
            passage = Passage.model_validate(raw)
        except ValidationError as error:
            yield refused(line, error)
            continue
        for place, (number, answers) in enumerate(sorted(passage.questions.items())):
            prompt = identifier(options.project, f"{passage.id}-{number}")
            moment = Moment(line, options.moment(line, 1_000 * place))
            yield from guarded(line, _of_question(prompt, answers, moment, options))


def _of_question(prompt: str, answers: Mapping[str, Answer], moment: Moment, options: Options) -> Iterator[Imported]:
    asked = f"[{options.project}] This set publishes the answers to its questions, not the questions."
    yield imported(moment, SOURCE, prompt, _text(options, "prompt", "unknown-writer", asked))
    for system, answer in answers.items():
        yield imported(moment, SOURCE, f"{prompt}.{system}", _text(options, "completion", system, answer.response, prompt))
    for left, right in map(_sides, combinations(sorted(answers), 2), [prompt] * len(answers)):
        comparison = f"{prompt}.{left}-{right}"
        sides = {"prompt": prompt, "left": f"{prompt}.{left}", "right": f"{prompt}.{right}"}
        yield imported(moment, SOURCE, comparison, ComparisonOffered(project=options.project, slice=SLICE, **sides))
        of_right = {review.worker_id: review for review in answers[right].reviews}
        for review in answers[left].reviews:
            if review.worker_id in of_right:
                cast = _preference(review, of_right[review.worker_id], options)
                yield imported(moment, SOURCE, comparison, cast, cast.annotator)


def _sides(pair: tuple[str, str], prompt: str) -> tuple[str, str]:
    """The file's order means nothing: which answer stands left is drawn, by the names alone."""
    swapped = blake2b("/".join((prompt, *pair)).encode(), digest_size=1).digest()[0] % 2
    return (pair[1], pair[0]) if swapped else pair


def _text(
    options: Options, kind: Literal["prompt", "completion"], who: str, text: str, prompt: str | None = None
) -> SubmissionReceived:
    """Of the three who answered, one is human and the others are named after their models."""
    human = kind == "prompt" or who == "human"
    writer = identifier(options.project if human else "model", who)
    about = {"project": options.project, "slice": SLICE, "provenance": "human" if human else "model"}
    return SubmissionReceived(kind=kind, writer=writer, text=text.strip(), prompt=prompt, **about)  # type: ignore[arg-type]


def _preference(left: Review, right: Review, options: Options) -> PreferenceCast:
    """A rank is the better, the lower it is."""
    overall = right.overall - left.overall
    choice: Choice = "left" if overall > 0 else "right" if overall < 0 else "tie"
    scores = {"truthful": right.truthful - left.truthful, "helpful": right.helpful - left.helpful}
    criteria = tuple(Criterion(name=name, score=score) for name, score in scores.items())
    return PreferenceCast(annotator=identifier(options.project, left.worker_id), choice=choice, criteria=criteria)
