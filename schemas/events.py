"""Every event: what happened to a subject, subject first and in the past, in a CloudEvents 1.0 envelope.

An event is `Event[Literal["assay.<Name>.v<version>"], <Name>]`, here in its newest version; `schemas.upcasts` has the older
ones, and `schemas.catalogue.EVENT_TYPES` is the one table of them all.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints, TypeAdapter

from schemas.policy import Policy
from schemas.words import (
    AnnotatorId,
    Count,
    Embedding,
    EventId,
    Frozen,
    Kind,
    Label,
    MilliNats,
    Milliseconds,
    Name,
    Offset,
    Origin,
    Permille,
    Project,
    Provenance,
    Reason,
    Revision,
    Role,
    RunId,
    Sha256,
    SliceId,
    SubjectId,
    Text,
    UtcTime,
    Verdict,
    Version,
)

# --- what people and tools tell us ------------------------------------------------------------


class SubmissionReceived(Frozen):
    """A writer offered a text for a task; this is revision 1."""

    project: Project
    kind: Kind
    writer: AnnotatorId
    slice: SliceId
    text: Text
    provenance: Provenance
    #: The submission that this one answers: always set for a completion, and for a prompt that goes on with a conversation.
    prompt: SubjectId | None = None


class SubmissionEdited(Frozen):
    """An editor (or the writer) replaced the text; earlier votes were about an earlier revision."""

    revision: Annotated[int, Field(ge=2, le=10_000)]
    editor: AnnotatorId
    text: Text
    reason: Reason | None = None


class SubmissionWithdrawn(Frozen):
    """The submission is out: nothing decides it any more, and it leaves the approved set."""

    withdrawn_by: AnnotatorId
    reason: Reason | None = None


class SubmissionAnalysed(Frozen):
    """What a model and the checks saw in one revision, recorded once and never recomputed by a replay."""

    revision: Revision
    model: Name
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
    characters: Count
    words: Count
    embedding: Embedding


class Criterion(Frozen):
    """One named aspect of a judgement, on a scale of -2 (much worse) to 2 (much better)."""

    name: Name
    score: Annotated[int, Field(ge=-2, le=2)]


Criteria = Annotated[tuple[Criterion, ...], Field(max_length=16)]


class VoteCast(Frozen):
    """One voter's judgement of one revision; a later one by the same voter replaces it."""

    revision: Revision
    voter: AnnotatorId
    label: Label
    criteria: Criteria = ()
    reason: Reason | None = None
    duration_milliseconds: Milliseconds | None = None


class VoteRetracted(Frozen):
    """The voter's live vote on this revision no longer counts."""

    revision: Revision
    voter: AnnotatorId
    reason: Reason | None = None


class ComparisonOffered(Frozen):
    """Two completions of one prompt are put side by side."""

    project: Project
    slice: SliceId
    prompt: SubjectId
    left: SubjectId
    right: SubjectId


class PreferenceCast(Frozen):
    """One annotator's choice in a comparison, overall and per criterion."""

    annotator: AnnotatorId
    choice: Literal["left", "right", "tie"]
    criteria: Criteria = ()
    reason: Reason | None = None
    duration_milliseconds: Milliseconds | None = None


class GoldenAnswerSet(Frozen):
    """The right verdict on one revision is known; it scores voters and never decides the subject."""

    revision: Revision
    verdict: Literal["approved", "rejected"]
    set_by: AnnotatorId


class AuthorErased(Frozen):
    """The key of an author's texts was destroyed."""

    author: AnnotatorId
    reason: Reason | None = None


# --- control records: whatever influences a verdict stands in the same partition ---------------


class PolicyProposed(Frozen):
    """Somebody wants these thresholds for a project; nothing changes yet."""

    project: Project
    version: Version
    policy: Policy
    proposed_by: AnnotatorId
    reason: Reason


class PolicyApplied(Frozen):
    """From this record on, the project's subjects are decided by this policy."""

    project: Project
    version: Version
    policy: Policy
    applied_by: AnnotatorId
    reason: Reason
    preview_digest: Sha256 | None = None


class SkillsEstimated(Frozen):
    """Weights of voters' votes, in milli-nats of log-odds."""

    version: Version
    default_milli_nats: MilliNats
    weights_milli_nats: Annotated[dict[AnnotatorId, MilliNats], Field(max_length=100_000)]


class ClockTicked(Frozen):
    """Time passed, as a fact: a fold has no clock of its own."""

    until: UtcTime


# --- what the folds derive ---------------------------------------------------------------------


class VerdictReached(Frozen):
    """A revision was decided, by which policy, on which records."""

    origin: Origin
    project: Project
    revision: Revision
    verdict: Verdict
    policy_version: Version
    log_odds_milli_nats: MilliNats
    good_votes: Count
    bad_votes: Count
    #: Offsets, in the same partition, of the votes that were counted; in the order they were cast.
    decided_by: Annotated[tuple[Offset, ...], Field(max_length=1_000)]


class VerdictReopened(Frozen):
    """A verdict no longer stands, and why."""

    origin: Origin
    project: Project
    revision: Revision
    verdict: Verdict
    reason: Literal["edited", "voted", "retracted", "policy", "withdrawn"]


class OverlapRequested(Frozen):
    """The votes so far do not settle the revision: more are needed."""

    origin: Origin
    project: Project
    revision: Revision
    votes_needed: Annotated[int, Field(ge=1, le=1_000)]
    votes_live: Count
    log_odds_milli_nats: MilliNats


Outcome = Literal["submitted", "approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong"]


class JudgementScored(Frozen):
    """What one decision says about one person; a change of -1 takes an earlier one back exactly."""

    origin: Origin
    project: Project
    role: Role
    outcome: Outcome
    change: Literal[1, -1]
    submission: SubjectId
    revision: Revision
    #: Hours since 1970-01-01T00Z of the event that is judged.
    hour: Annotated[int, Field(ge=-1_000_000, le=10_000_000)]
    label: Label | None = None
    verdict: Verdict | None = None
    duration_milliseconds: Milliseconds | None = None


class SliceEntered(Frozen):
    """An approved, analysed revision joined its slice's approved set."""

    origin: Origin
    project: Project
    submission: SubjectId
    revision: Revision
    kind: Kind
    writer: AnnotatorId
    model: Name
    words: Count
    embedding: Embedding


class SliceLeft(SliceEntered):
    """The same revision left the approved set; it carries what it entered with, to be subtracted."""


class AnnotatorFlagged(Frozen):
    """A rate's lower Wilson bound passed its limit, with enough counts to say so."""

    origin: Origin
    project: Project
    rule: Literal["rejection", "disagreement"]
    against: Count
    total: Count
    limit_permille: Permille
    policy_version: Version


class AnnotatorCleared(AnnotatorFlagged):
    """The same rule no longer holds against this person."""


# --- what the jobs did -------------------------------------------------------------------------


class SnapshotSealed(Frozen):
    """An immutable set of approved data exists, with this digest."""

    name: Name
    digest: Sha256
    rows: Count
    splits: dict[str, Count]
    offsets: dict[str, Offset]
    policy_versions: dict[str, Version]
    code_version: Name


class TrainingFinished(Frozen):
    """A model was tuned on a snapshot; losses in milli-nats per token on the held-out split."""

    snapshot_digest: Sha256
    recipe: Name
    base_model: Name
    steps: Count
    trainable_parameters: Count
    train_rows: Count
    heldout_rows: Count
    loss_before_milli_nats: Count
    loss_after_milli_nats: Count
    checkpoint_digest: Sha256
    duration_milliseconds: Count


class EvaluationFinished(Frozen):
    """The tuned model against the untouched one, prompt by prompt, on the held-out split."""

    snapshot_digest: Sha256
    training_run: RunId
    prompts: Count
    wins: Count
    ties: Count
    losses: Count
    #: Mean over prompts of (base loss - tuned loss), and its 95 % interval, in milli-nats per token.
    gain_milli_nats: MilliNats
    gain_low_milli_nats: MilliNats
    gain_high_milli_nats: MilliNats
    duration_milliseconds: Count


# --- the envelope ------------------------------------------------------------------------------

TypeT = TypeVar("TypeT", bound=str)
DataT = TypeVar("DataT", bound=Frozen)


class Event(Frozen, Generic[TypeT, DataT]):
    """A CloudEvents 1.0 envelope in JSON structured mode; `subject` is the record's key."""

    specversion: Literal["1.0"] = "1.0"
    id: EventId
    type: TypeT
    source: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    subject: SubjectId | SliceId
    time: UtcTime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Annotated[str, StringConstraints(max_length=512)] | None = None
    traceparent: Annotated[str, StringConstraints(max_length=64)] | None = None
    data: DataT


AnyEvent = Annotated[
    Event[Literal["assay.SubmissionReceived.v2"], SubmissionReceived]
    | Event[Literal["assay.SubmissionEdited.v1"], SubmissionEdited]
    | Event[Literal["assay.SubmissionWithdrawn.v1"], SubmissionWithdrawn]
    | Event[Literal["assay.SubmissionAnalysed.v1"], SubmissionAnalysed]
    | Event[Literal["assay.VoteCast.v1"], VoteCast]
    | Event[Literal["assay.VoteRetracted.v1"], VoteRetracted]
    | Event[Literal["assay.ComparisonOffered.v1"], ComparisonOffered]
    | Event[Literal["assay.PreferenceCast.v1"], PreferenceCast]
    | Event[Literal["assay.GoldenAnswerSet.v1"], GoldenAnswerSet]
    | Event[Literal["assay.AuthorErased.v1"], AuthorErased]
    | Event[Literal["assay.PolicyProposed.v1"], PolicyProposed]
    | Event[Literal["assay.PolicyApplied.v1"], PolicyApplied]
    | Event[Literal["assay.SkillsEstimated.v1"], SkillsEstimated]
    | Event[Literal["assay.ClockTicked.v1"], ClockTicked]
    | Event[Literal["assay.VerdictReached.v1"], VerdictReached]
    | Event[Literal["assay.VerdictReopened.v1"], VerdictReopened]
    | Event[Literal["assay.OverlapRequested.v1"], OverlapRequested]
    | Event[Literal["assay.JudgementScored.v1"], JudgementScored]
    | Event[Literal["assay.SliceEntered.v1"], SliceEntered]
    | Event[Literal["assay.SliceLeft.v1"], SliceLeft]
    | Event[Literal["assay.AnnotatorFlagged.v1"], AnnotatorFlagged]
    | Event[Literal["assay.AnnotatorCleared.v1"], AnnotatorCleared]
    | Event[Literal["assay.SnapshotSealed.v1"], SnapshotSealed]
    | Event[Literal["assay.TrainingFinished.v1"], TrainingFinished]
    | Event[Literal["assay.EvaluationFinished.v1"], EvaluationFinished],
    Field(discriminator="type"),
]

#: Checks an event that is being made; `schemas.wire` reads those that stand in the log.
EVENT = TypeAdapter[AnyEvent](AnyEvent)
