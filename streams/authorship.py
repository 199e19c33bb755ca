"""Whose texts stand where: writer and editors of every submission, and what it answers; folded from the log, without texts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas import events as e
from schemas.topics import EVENTS
from streams.projection import Record

#: Submissions in one conversation, beyond which it is taken for a circle.
MAX_CHAIN = 1_000


class Written(NamedTuple):
    """One revision: who wrote it, and where in the log it came in."""

    author: str
    partition: int
    offset: int


class Authorship:
    """Fed with partitions of `assay.events.v1` in any order, each partition in its own."""

    def __init__(self) -> None:
        self.revisions: dict[str, list[Written]] = {}
        self.answers: dict[str, str] = {}
        #: Authors whose keys were destroyed.
        self.erased: set[str] = set()

    def feed(self, record: Record) -> None:
        data, subject = record.event.data, record.event.subject
        if isinstance(data, e.SubmissionReceived) and subject not in self.revisions:
            self._written(subject, data.writer, record)
            if data.prompt is not None:
                self.answers[subject] = data.prompt
        elif isinstance(data, e.SubmissionEdited):
            self._written(subject, data.editor, record)
        elif isinstance(data, e.AuthorErased):
            self.erased.add(data.author)

    def _written(self, subject: str, author: str, record: Record) -> None:
        self.revisions.setdefault(subject, []).append(Written(author, record.partition, record.offset))

    def conversation(self, submission: str) -> Iterator[str]:
        """The submission, and those before it in its conversation."""
        at: str | None = submission
        for _ in range(MAX_CHAIN):
            if at is None:
                return
            yield at
            at = self.answers.get(at)

    def authors(self, submission: str, offsets: Mapping[str, int]) -> set[str]:
        """Who wrote any revision below these offsets of the submission or of what stands before it in its conversation."""
        return {
            written.author
            for one in self.conversation(submission)
            for written in self.revisions.get(one, ())
            if written.offset < offsets.get(f"{EVENTS.name}/{written.partition}", 0)
        }
