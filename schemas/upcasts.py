"""Older versions of events, which the log holds for ever, and how each becomes the next version.

What a version takes is never changed. A change is a new version in `schemas.events`; the model that it replaces moves here,
with its `upcast_v<n>_v<n+1>` and a line in each table below.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from schemas.events import AnyEvent, Event, SubmissionReceived
from schemas.words import AnnotatorId, Frozen, Kind, Project, SliceId, SubjectId, Text

ModelT = TypeVar("ModelT", bound=Frozen)


def remade(old: Frozen, model: type[ModelT], **changes: Any) -> ModelT:
    """`model` with the fields of `old` and these changes, of which none is checked again: that costs as much as reading it."""
    new = model.__new__(model)
    values, given = old.__dict__ | changes, old.model_fields_set.union(changes)
    # As pickle does it; model_construct takes four times as long.
    new.__setstate__(
        {"__dict__": values, "__pydantic_fields_set__": given, "__pydantic_extra__": None, "__pydantic_private__": None}
    )
    return new


class SubmissionReceivedV1(Frozen):
    """A writer offered a text for a task; this is revision 1. Nothing says who or what made it."""

    project: Project
    kind: Kind
    writer: AnnotatorId
    slice: SliceId
    text: Text
    #: The submission that this one answers: always set for a completion, and for a prompt that goes on with a conversation.
    prompt: SubjectId | None = None

    def upcast_v1_v2(self) -> SubmissionReceived:
        return remade(self, SubmissionReceived, provenance="unknown")


#: One step of each chain.
UPCASTS: dict[type[Frozen], Callable[[Any], Frozen]] = {SubmissionReceivedV1: SubmissionReceivedV1.upcast_v1_v2}

SubmissionReceivedV1Event = Event[Literal["assay.SubmissionReceived.v1"], SubmissionReceivedV1]
OLD_EVENTS: tuple[type[Frozen], ...] = (SubmissionReceivedV1Event,)

#: An event as somebody told it, in whichever version.
ToldEvent = AnyEvent | SubmissionReceivedV1Event
