"""Every event: what happened to a subject, subject first and in the past, in a CloudEvents 1.0 envelope.

An event is `Event[Literal["assay.<Name>.v<version>"], <Name>]`, here in its newest version; `schemas.upcasts` has the older
ones, and `schemas.catalogue.EVENT_TYPES` is the one table of them all.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints, TypeAdapter

from schemas.policy import Policy
from schemas.words import (
    Action,
    AnnotatorId,
    Choice,
    Count,
    Embedding,
    EventId,
    Frozen,
    Hour,
    Kind,
    Label,
    MilliNats,
    Milliseconds,
    Model,
    Name,
    Offset,
    Origin,
    Permille,
    Place,
    Project,
    Provenance,
    Reason,
    Revision,
    Role,
    RunId,
    Sha256,
    SliceId,
    SubjectId,
    Task,
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
SlicePart = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]


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
    """One annotator's choice in a comparison, overall and per criterion: a score says how much better the left completion is than
    the right. A later one by the same annotator replaces it. `harmless/bias` counts into the criterion `harmless`."""

    annotator: AnnotatorId
    choice: Choice
    criteria: Criteria = ()
    reason: Reason | None = None
    duration_milliseconds: Milliseconds | None = None


class GoldenAnswerSet(Frozen):
    """The right label of one revision is known; it scores voters and never decides the subject."""

    revision: Revision
    label: Label
    set_by: AnnotatorId


class SubmissionRuled(Frozen):
    """An editor decided what votes could not, or should not; votes do not turn it over."""

    revision: Revision
    verdict: Literal["approved", "rejected"]
    ruled_by: AnnotatorId
    reason: Reason


class SubmissionReopened(Frozen):
    """An editor took a verdict back: the votes decide the revision again, with those that are to come."""

    revision: Revision
    reopened_by: AnnotatorId
    reason: Reason


class AnnotatorEnrolled(Frozen):
    """What a person may be handed; the newest counts. Nothing named in a list means anything."""

    project: Project
    languages: Annotated[tuple[SlicePart, ...], Field(max_length=64)] = ()
    domains: Annotated[tuple[SlicePart, ...], Field(max_length=64)] = ()
    skills: Annotated[tuple[SlicePart, ...], Field(max_length=64)] = ()
    edits: bool = False
    enrolled_by: AnnotatorId


# --- who was handed what -----------------------------------------------------------------------


class DeskOpened(Frozen):
    """From here on this desk alone hands out work: leases of desks before it do not count behind this record.

    One copy stands in each partition; the event's id is the desk's. Of two with one generation the greater id counts.
    """

    generation: Version


class LeaseGranted(Frozen):
    """A person was handed a subject to work on until a time; the event's id is the lease's."""

    desk: EventId
    project: Project
    annotator: AnnotatorId
    revision: Revision
    serves: Literal["overlap", "control", "recheck", "edit", "comparison"]
    until: UtcTime


class LeaseEnded(Frozen):
    """A lease holds no longer: the work came in, was given back, took too long, or is not wanted any more."""

    desk: EventId
    project: Project
    annotator: AnnotatorId
    lease: EventId
    reason: Literal["done", "released", "expired", "moot"]


class AuthorErased(Frozen):
    """The key of an author's texts was destroyed."""

    author: AnnotatorId
    reason: Reason | None = None


# --- control records: whatever influences a verdict stands in the same partition ---------------


class PolicyProposed(Frozen):
    """Somebody wants these thresholds for a project, or for one slice of it; nothing changes yet."""

    project: Project
    #: Whose policy this is: of one slice, in the project's stead, or of the project.
    slice: SliceId | None = None
    #: Counted over the project and all its slices.
    version: Version
    policy: Policy
    proposed_by: AnnotatorId
    reason: Reason
    #: The version that decided there when this was made; 0: none. Absent in what was told before versions were compared.
    based_on: Version | None = None
    #: Texts whose current revision came in since the full hour of this are decided again, by the votes already cast.
    redecide_since: UtcTime | None = None
    #: The version that this takes back, with whatever was decided under it.
    undoes: Version | None = None
    #: The slice goes by the project's policy again, whichever that is; `policy` is the one of now.
    inherits: bool = False


class PolicyApplied(Frozen):
    """From this record on, the subjects of a project, or of one slice of it, are decided by this policy."""

    project: Project
    #: Whose policy this is: of one slice, in the project's stead, or of the project. Rules about people are the project's.
    slice: SliceId | None = None
    #: Counted over the project and all its slices.
    version: Version
    policy: Policy
    applied_by: AnnotatorId
    reason: Reason
    #: Of the replay that was looked at before; absent: it was applied without one.
    preview_digest: Sha256 | None = None
    #: The version that decided there when this was made; 0: none. Absent in what was told before versions were compared.
    based_on: Version | None = None
    #: Texts whose current revision came in since the full hour of this are decided again, by the votes already cast.
    redecide_since: UtcTime | None = None
    #: The version that this takes back, with whatever was decided under it.
    undoes: Version | None = None
    #: The slice goes by the project's policy again, whichever that is; `policy` is the one of now.
    inherits: bool = False


#: One row a true label and in it one entry a label voted, flat: K x K numbers in the order of the record's labels.
Weights = Annotated[tuple[MilliNats, ...], Field(min_length=4, max_length=1_024)]


class SkillsEstimated(Frozen):
    """How one model weighs votes: a vote for l by a voter adds weights[k][l] to the score of every label k.

    A score is prior[k] plus the weights of the live votes; a label's calibrated probability is proportional to
    exp(score / 1000 T), where T = temperature + temperature_per_vote (votes - 1). `weights_milli_nats` has the voters
    whose weights changed since the version before; a voter that no record has named has the default.
    """

    project: Project
    task: Task = "review"
    version: Version
    model: Model
    #: Whether this is the model that golden answers speak for.
    champion: bool
    labels: Annotated[tuple[Label, ...], Field(min_length=2, max_length=32)]
    prior_milli_nats: Annotated[tuple[MilliNats, ...], Field(min_length=2, max_length=32)]
    default_milli_nats: Weights
    weights_milli_nats: Annotated[dict[AnnotatorId, Weights], Field(max_length=10_000)]
    temperature_permille: Annotated[int, Field(ge=50, le=100_000)]
    #: By how much each vote after the first raises the temperature: votes on one text err together.
    temperature_per_vote_permille: Annotated[int, Field(ge=0, le=100_000)] = 0
    #: Golden answers that the temperature and the choice of champion rest on, and the model's mean log loss on them.
    golden_answers: Count
    log_loss_milli_nats: Count | None = None
    #: Further parts of this version follow: nothing is looked at again before the last.
    more: bool = False
    #: Decided subjects are looked at again too, where the policy lets late votes reopen.
    sweep: bool = False


class PaceMeasured(Frozen):
    """How long votes take in a project, in the median; what too fast means is measured by it."""

    project: Project
    version: Version
    median_milliseconds: Milliseconds
    votes: Count


class LikenessMeasured(Frozen):
    """How alike two people vote on what both judged, above chance: `z_milli` given how right each is, `habits_z_milli` given what
    each says where which label is right. Only the second is small for two who always say the same."""

    project: Project
    version: Version
    other: AnnotatorId
    shared: Count
    same: Count
    expected_permille: Permille
    z_milli: Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]
    habits_z_milli: Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]
    #: z beyond which chance alone would not bring any pair of the project, by Bonferroni over the pairs.
    bound_milli: Annotated[int, Field(ge=0, le=1_000_000_000)]
    #: The least submissions that both judged, as evidence.
    evidence: Annotated[tuple[SubjectId, ...], Field(max_length=50)]


class ClockTicked(Frozen):
    """Time passed, as a fact: a fold has no clock of its own."""

    until: UtcTime


# --- what the folds derive ---------------------------------------------------------------------


class VerdictReached(Frozen):
    """A revision was decided, by which policy and weights, on which records."""

    origin: Origin
    project: Project
    revision: Revision
    verdict: Verdict
    #: The leading label and its calibrated probability, rounded down.
    label: Label
    confidence_permille: Permille
    because: Literal["confidence", "overlap_max", "deadline", "ruled"]
    policy_version: Version
    #: The weights that were summed; version 0 is the policy's own accuracy for everybody.
    model: Model
    skills_version: Version
    #: Score of the best approving label less that of the best other one.
    log_odds_milli_nats: MilliNats
    #: Votes for approving labels, and for others.
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
    reason: Literal["edited", "voted", "retracted", "policy", "withdrawn", "skills", "ruled", "reopened"]


class OverlapRequested(Frozen):
    """More votes are needed: how many, and why."""

    origin: Origin
    project: Project
    revision: Revision
    #: unsure: the leading label's probability is below what the policy wants; recheck: decided, and drawn to be checked again.
    because: Literal["unsure", "recheck"]
    votes_needed: Annotated[int, Field(ge=1, le=1_000)]
    votes_live: Count
    label: Label
    confidence_permille: Permille
    confidence_needed_permille: Permille
    log_odds_milli_nats: MilliNats


class PreferenceReached(Frozen):
    """A comparison was decided: which completion is preferred, and what settled it."""

    origin: Origin
    project: Project
    prompt: SubjectId
    left: SubjectId
    right: SubjectId
    choice: Choice | Literal["escalated"]
    #: `overall`, or the criterion that settled what the overall choices left unclear.
    settled_by: Name
    confidence_permille: Permille
    left_votes: Count
    right_votes: Count
    tie_votes: Count
    policy_version: Version
    skills_version: Version
    decided_by: Annotated[tuple[Offset, ...], Field(max_length=1_000)]


class PreferenceReopened(Frozen):
    """What was preferred no longer stands, and why."""

    origin: Origin
    project: Project
    choice: Choice | Literal["escalated"]
    reason: Literal["voted", "policy", "skills"]


Outcome = Literal["submitted", "approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong", "credited"]


class JudgementScored(Frozen):
    """What one decision says about one person; a change of -1 takes an earlier one back exactly."""

    origin: Origin
    project: Project
    task: Task = "review"
    role: Role
    outcome: Outcome
    change: Literal[1, -1]
    submission: SubjectId
    revision: Revision
    #: Of the event that is judged.
    hour: Hour
    #: What the voter said, and what is taken for right: the label decided, or the golden one.
    label: Label | None = None
    truth: Label | None = None
    #: How likely each label is the right one, given all votes and the weights of the time; labels under one permille are left
    #: out. Absent where a golden answer is known, which says it alone.
    credits_permille: Annotated[dict[Label, Permille], Field(max_length=32)] | None = None
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


Rule = Literal["rejection", "disagreement", "golden", "hurry", "constant", "copying"]


class AnnotatorFlagged(Frozen):
    """A rule of the policy holds against a person, with enough counts to say so."""

    origin: Origin
    project: Project
    task: Task = "review"
    rule: Rule
    action: Action
    against: Count
    total: Count
    limit_permille: Count
    policy_version: Version
    #: The hour in which the flag goes by itself.
    expires_hour: Hour | None = None
    #: The newest records behind it.
    evidence: Annotated[tuple[Place, ...], Field(max_length=50)] = ()
    #: Of copying: who votes alike, and some of what both judged.
    other: AnnotatorId | None = None
    subjects: Annotated[tuple[SubjectId, ...], Field(max_length=50)] = ()


class AnnotatorCleared(Frozen):
    """A rule no longer holds against this person, and why."""

    origin: Origin
    project: Project
    task: Task = "review"
    rule: Rule
    reason: Literal["recovered", "expired", "policy"]
    against: Count
    total: Count
    limit_permille: Count
    policy_version: Version


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
    | Event[Literal["assay.VoteCast.v2"], VoteCast]
    | Event[Literal["assay.VoteRetracted.v1"], VoteRetracted]
    | Event[Literal["assay.ComparisonOffered.v1"], ComparisonOffered]
    | Event[Literal["assay.PreferenceCast.v1"], PreferenceCast]
    | Event[Literal["assay.GoldenAnswerSet.v2"], GoldenAnswerSet]
    | Event[Literal["assay.SubmissionRuled.v1"], SubmissionRuled]
    | Event[Literal["assay.SubmissionReopened.v1"], SubmissionReopened]
    | Event[Literal["assay.AnnotatorEnrolled.v1"], AnnotatorEnrolled]
    | Event[Literal["assay.DeskOpened.v1"], DeskOpened]
    | Event[Literal["assay.LeaseGranted.v1"], LeaseGranted]
    | Event[Literal["assay.LeaseEnded.v1"], LeaseEnded]
    | Event[Literal["assay.AuthorErased.v1"], AuthorErased]
    | Event[Literal["assay.PolicyProposed.v3"], PolicyProposed]
    | Event[Literal["assay.PolicyApplied.v3"], PolicyApplied]
    | Event[Literal["assay.SkillsEstimated.v2"], SkillsEstimated]
    | Event[Literal["assay.ClockTicked.v1"], ClockTicked]
    | Event[Literal["assay.PaceMeasured.v1"], PaceMeasured]
    | Event[Literal["assay.LikenessMeasured.v1"], LikenessMeasured]
    | Event[Literal["assay.VerdictReached.v2"], VerdictReached]
    | Event[Literal["assay.VerdictReopened.v2"], VerdictReopened]
    | Event[Literal["assay.OverlapRequested.v2"], OverlapRequested]
    | Event[Literal["assay.PreferenceReached.v1"], PreferenceReached]
    | Event[Literal["assay.PreferenceReopened.v1"], PreferenceReopened]
    | Event[Literal["assay.JudgementScored.v2"], JudgementScored]
    | Event[Literal["assay.SliceEntered.v1"], SliceEntered]
    | Event[Literal["assay.SliceLeft.v1"], SliceLeft]
    | Event[Literal["assay.AnnotatorFlagged.v2"], AnnotatorFlagged]
    | Event[Literal["assay.AnnotatorCleared.v2"], AnnotatorCleared]
    | Event[Literal["assay.SnapshotSealed.v1"], SnapshotSealed]
    | Event[Literal["assay.TrainingFinished.v1"], TrainingFinished]
    | Event[Literal["assay.EvaluationFinished.v1"], EvaluationFinished],
    Field(discriminator="type"),
]

#: Checks an event that is being made; `schemas.wire` reads those that stand in the log.
EVENT = TypeAdapter[AnyEvent](AnyEvent)
