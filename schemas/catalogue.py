"""The one table of event types, every version of each: name, version, data model and the topics where it stands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args, get_type_hints

from schemas import events as e
from schemas import topics as t
from schemas import upcasts as u
from schemas.topics import Topic
from schemas.words import Frozen

_SUBJECT = (t.EVENTS,)
_CONTROL = (t.POLICIES, t.EVENTS, t.JUDGEMENTS)

TOPICS_OF: dict[type[Frozen], tuple[Topic, ...]] = {
    e.SubmissionReceived: _SUBJECT,
    e.SubmissionEdited: _SUBJECT,
    e.SubmissionWithdrawn: _SUBJECT,
    e.SubmissionAnalysed: _SUBJECT,
    e.VoteCast: _SUBJECT,
    e.VoteRetracted: _SUBJECT,
    e.ComparisonOffered: _SUBJECT,
    e.PreferenceCast: _SUBJECT,
    e.GoldenAnswerSet: _SUBJECT,
    e.SubmissionRuled: _SUBJECT,
    e.SubmissionReopened: _SUBJECT,
    e.AnnotatorEnrolled: (t.ANNOTATORS,),
    e.DeskOpened: (t.ASSIGNMENTS,),
    e.LeaseGranted: (t.ASSIGNMENTS,),
    e.LeaseEnded: (t.ASSIGNMENTS,),
    e.AuthorErased: _SUBJECT,
    e.PolicyProposed: (t.POLICIES,),
    e.PolicyApplied: _CONTROL,
    e.SkillsEstimated: (t.ANNOTATORS, t.EVENTS),
    e.ClockTicked: (t.EVENTS, t.JUDGEMENTS),
    e.PaceMeasured: (t.JUDGEMENTS,),
    e.LikenessMeasured: (t.JUDGEMENTS,),
    e.VerdictReached: (t.VERDICTS,),
    e.VerdictReopened: (t.VERDICTS,),
    e.OverlapRequested: (t.VERDICTS,),
    e.PreferenceReached: (t.VERDICTS,),
    e.PreferenceReopened: (t.VERDICTS,),
    e.JudgementScored: (t.JUDGEMENTS,),
    e.SliceEntered: (t.SLICES,),
    e.SliceLeft: (t.SLICES,),
    e.AnnotatorFlagged: (t.ANNOTATORS,),
    e.AnnotatorCleared: (t.ANNOTATORS,),
    e.SnapshotSealed: (t.RUNS,),
    e.TrainingFinished: (t.RUNS,),
    e.EvaluationFinished: (t.RUNS,),
}

Model = type[Frozen]


@dataclass(frozen=True)
class EventType:
    """One event type at one version; `type` is the CloudEvents type on the wire."""

    type: str
    name: str
    version: int
    data: Model
    event: Model
    topics: tuple[Topic, ...]

    @property
    def doc(self) -> str:
        return (self.data.__doc__ or "").strip()


def split_type(type_: str) -> tuple[str, int]:
    """`assay.VoteCast.v1` -> ("VoteCast", 1); ValueError if it is not of that form."""
    prefix, name, version = type_.split(".")
    if prefix != "assay" or not version.startswith("v") or not version[1:].isdecimal():
        raise ValueError(f"not an Assay event type: {type_!r}")
    return name, int(version[1:])


def _event_types() -> dict[str, EventType]:
    """The newest versions, then the older ones."""
    union, _ = get_args(e.AnyEvent)
    found: dict[str, EventType] = {}
    for event in (*get_args(union), *u.OLD_EVENTS):
        fields: dict[str, Any] = event.model_fields
        (type_,) = get_args(fields["type"].annotation)
        data = fields["data"].annotation
        name, version = split_type(type_)
        found[type_] = EventType(type_, name, version, data, event, TOPICS_OF[_newest(data)])
    return found


def _newest(data: Model) -> Model:
    """The model that this one is upcast to in the end: it stands where that does."""
    while (step := u.UPCASTS.get(data)) is not None:
        data = get_type_hints(step)["return"]
    return data


EVENT_TYPES: dict[str, EventType] = _event_types()
#: Name of an event type -> its newest version.
NEWEST: dict[str, int] = {}
for _entry in EVENT_TYPES.values():
    NEWEST[_entry.name] = max(_entry.version, NEWEST.get(_entry.name, 0))
TYPE_OF: dict[type[Frozen], str] = {entry.data: entry.type for entry in EVENT_TYPES.values()}
EVENT_OF: dict[type[Frozen], type[Frozen]] = {entry.data: entry.event for entry in EVENT_TYPES.values()}


def types_of(*models: type[Frozen]) -> frozenset[str]:
    """Every type, of whichever version, that comes out of the log as one of these."""
    names = {EVENT_TYPES[TYPE_OF[model]].name for model in models}
    return frozenset(type_ for type_, entry in EVENT_TYPES.items() if entry.name in names)


def enveloped(id_: str, source: str, subject: str, time: datetime, data: Frozen) -> e.AnyEvent:
    """The event that says this. Raises pydantic's ValidationError if a bound is passed."""
    about = {"id": id_, "type": TYPE_OF[type(data)], "source": source, "subject": subject, "time": time}
    return e.EVENT.validate_python({**about, "data": data})
