"""Message trees as OpenAssistant exports them, one tree (or one message with its replies) a line.

Each message is a submission whose `prompt` is the message above it. The export counts reviews and gives their common
result; it names neither reviewers nor writers. So each review becomes a vote of a numbered slot (`oasst-reviewer-2`),
which is no person: only the votes on one message can be told apart, and statistics over slots say nothing.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from infra.importing.facts import Found, Imported, Moment, Options, guarded, identifier, imported, refused
from infra.importing.lines import Line, Problem, json_objects
from schemas.events import SubmissionReceived, SubmissionWithdrawn, VoteCast

SOURCE = "assay/import/oasst"
#: Room on the synthetic clock for one message and its votes.
MESSAGE_MILLISECONDS = 1_000


class Message(BaseModel):
    """The fields of the export that are used; it has others."""

    message_id: Annotated[str, Field(min_length=1, max_length=200)]
    text: str
    role: Literal["prompter", "assistant"]
    lang: str = "en"
    review_count: Annotated[int, Field(ge=0, lt=MESSAGE_MILLISECONDS - 1)] = 0
    review_result: bool | None = None
    deleted: bool = False
    synthetic: bool = False
    model_name: str | None = None
    created_date: AwareDatetime | None = None
    replies: list[Any] = []


class Place(NamedTuple):
    """Where a message stands: the line, its number within the tree in reading order, and the submission above it."""

    line: int
    order: int
    above: str | None


def oasst(lines: Iterable[Line | Problem], options: Options) -> Iterator[Found]:
    """Per message, in reading order: the submission, its votes, and its withdrawal where it was deleted."""
    for found in json_objects(lines):
        if isinstance(found, Problem):
            yield found
        else:
            line, tree = found
            yield from _tree(line, tree["prompt"] if "message_tree_id" in tree and "prompt" in tree else tree, options)


def _tree(line: int, root: object, options: Options) -> Iterator[Found]:
    """A message that is refused takes the replies under it along: without it they answer nothing."""
    todo: list[tuple[object, str | None]] = [(root, None)]
    index = 0
    while todo:
        raw, above = todo.pop()
        try:
            message = Message.model_validate(raw)
        except ValidationError as error:
            yield refused(line, error)
            continue
        problem = None
        for one in guarded(line, _message(Place(line, index, above), message, options)):
            problem = one if isinstance(one, Problem) else None
            yield one
        index += 1
        if problem is None:
            subject = identifier(options.project, message.message_id)
            todo += [(reply, subject) for reply in reversed(message.replies)]


def _message(place: Place, message: Message, options: Options) -> Iterator[Imported]:
    subject, start = identifier(options.project, message.message_id), _time(place, message, options)
    yield imported(Moment(place.line, start), SOURCE, subject, _received(place, message, options))
    for review in range(1, message.review_count + 1 if message.review_result is not None else 1):
        voter = f"{options.project}-reviewer-{review}"
        vote = VoteCast(revision=1, voter=voter, label="good" if message.review_result else "bad")
        yield imported(_later(place, start, review), SOURCE, subject, vote, voter)
    if message.deleted:
        gone = SubmissionWithdrawn(withdrawn_by=options.project, reason="deleted before the export")
        yield imported(_later(place, start, MESSAGE_MILLISECONDS - 1), SOURCE, subject, gone)


def _received(place: Place, message: Message, options: Options) -> SubmissionReceived:
    kind: Literal["prompt", "completion"] = "prompt" if message.role == "prompter" else "completion"
    language = message.lang.split("-")[0].lower()
    return SubmissionReceived(
        project=options.project,
        kind=kind,
        writer=_writer(message, options),
        slice=f"{language}/conversations/{kind}s",
        text="[deleted]" if message.deleted and not message.text.strip() else message.text,
        provenance="model" if message.synthetic else "human",
        prompt=place.above,
    )


def _writer(message: Message, options: Options) -> str:
    if message.synthetic:
        return identifier("model", message.model_name or "unknown")
    return f"{options.project}-unknown-{message.role}"


def _time(place: Place, message: Message, options: Options) -> datetime:
    if message.created_date is not None:
        return message.created_date.astimezone(UTC)
    return options.moment(place.line, place.order * MESSAGE_MILLISECONDS)


def _later(place: Place, start: datetime, milliseconds: int) -> Moment:
    return Moment(place.line, start + timedelta(milliseconds=milliseconds))
