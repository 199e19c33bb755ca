"""Older versions of events, which the log holds for ever, and how each becomes the next version.

What a version takes is never changed. A change is a new version in `schemas.events`; the model that it replaces moves here,
with its `upcast_v<n>_v<n+1>` and a line in each table below.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, model_validator

from schemas.events import (
    AnnotatorCleared,
    AnnotatorFlagged,
    AnyEvent,
    Criteria,
    Event,
    GoldenAnswerSet,
    JudgementScored,
    OverlapRequested,
    PolicyApplied,
    PolicyProposed,
    SkillsEstimated,
    SubmissionReceived,
    VerdictReached,
    VerdictReopened,
    VoteCast,
)
from schemas.policy import Policy
from schemas.words import (
    AnnotatorId,
    Count,
    Frozen,
    Kind,
    MilliNats,
    Milliseconds,
    Offset,
    Origin,
    Permille,
    Project,
    Reason,
    Revision,
    Role,
    Sha256,
    SliceId,
    SubjectId,
    Text,
    Verdict,
    Version,
)

ModelT = TypeVar("ModelT", bound=Frozen)


def remade(old: Frozen, model: type[ModelT], /, **changes: Any) -> ModelT:
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


def confidence_permille(log_odds_milli_nats: int) -> int:
    """Probability of the leading one of two labels, for reading: nothing is decided by what is upcast."""
    return int(1_000 / (1 + math.exp(-min(log_odds_milli_nats, 20_000) / 1_000)))


LabelV1 = Literal["good", "bad"]
_LABEL_OF: dict[str, LabelV1] = {"approved": "good", "rejected": "bad"}


class VoteCastV1(Frozen):
    """One voter's judgement of one revision; a later one by the same voter replaces it."""

    revision: Revision
    voter: AnnotatorId
    label: LabelV1
    criteria: Criteria = ()
    reason: Reason | None = None
    duration_milliseconds: Milliseconds | None = None

    def upcast_v1_v2(self) -> VoteCast:
        return remade(self, VoteCast)


class GoldenAnswerSetV1(Frozen):
    """The right verdict on one revision is known; it scores voters and never decides the subject."""

    revision: Revision
    verdict: Literal["approved", "rejected"]
    set_by: AnnotatorId

    def upcast_v1_v2(self) -> GoldenAnswerSet:
        return GoldenAnswerSet(revision=self.revision, label=_LABEL_OF[self.verdict], set_by=self.set_by)


# --- control records ---------------------------------------------------------------------------


class PolicyV1(Frozen):
    """Thresholds when all votes weighed the same and flags led to nothing."""

    overlap_min: Annotated[int, Field(ge=2, le=100)] = 2
    overlap_max: Annotated[int, Field(ge=2, le=1000)] = 5
    approve_confidence_permille: Annotated[int, Field(ge=501, le=999)] = 900
    reject_confidence_permille: Annotated[int, Field(ge=501, le=999)] = 900
    voter_accuracy_permille: Annotated[int, Field(ge=501, le=999)] = 800
    late_votes_reopen: Annotated[int, Field(ge=0, le=1)] = 0
    rejection_limit_permille: Annotated[int, Field(ge=1, le=999)] = 350
    rejection_min_decided: Annotated[int, Field(ge=3, le=10_000)] = 5
    disagreement_limit_permille: Annotated[int, Field(ge=1, le=999)] = 400
    disagreement_min_scored: Annotated[int, Field(ge=5, le=10_000)] = 10

    @model_validator(mode="after")
    def _overlap_is_a_range(self) -> Self:
        if self.overlap_max < self.overlap_min:
            raise ValueError(f"overlap_max ({self.overlap_max}) is below overlap_min ({self.overlap_min})")
        return self

    def upcast(self) -> Policy:
        """The same decisions by the same votes; nobody is held back."""
        actions: dict[str, Any] = {f"{rule}_action": "notify" for rule in ("disagreement", "golden", "hurry")}
        return Policy(**self.__dict__, aggregation="majority", **actions)


#: Of a whole project, on top of whatever stood, for what was still open.
_UNSCOPED: dict[str, Any] = {"slice": None, "based_on": None, "redecide_since": None, "undoes": None, "inherits": False}


class PolicyProposedV2(Frozen):
    """Somebody wants these thresholds for a project; nothing changes yet."""

    project: Project
    version: Version
    policy: Policy
    proposed_by: AnnotatorId
    reason: Reason

    def upcast_v2_v3(self) -> PolicyProposed:
        return remade(self, PolicyProposed, **_UNSCOPED)


class PolicyAppliedV2(Frozen):
    """From this record on, the project's subjects are decided by this policy."""

    project: Project
    version: Version
    policy: Policy
    applied_by: AnnotatorId
    reason: Reason
    preview_digest: Sha256 | None = None

    def upcast_v2_v3(self) -> PolicyApplied:
        return remade(self, PolicyApplied, **_UNSCOPED)


class PolicyProposedV1(Frozen):
    """Somebody wants these thresholds for a project; nothing changes yet."""

    project: Project
    version: Version
    policy: PolicyV1
    proposed_by: AnnotatorId
    reason: Reason

    def upcast_v1_v2(self) -> PolicyProposedV2:
        return remade(self, PolicyProposedV2, policy=self.policy.upcast())


class PolicyAppliedV1(Frozen):
    """From this record on, the project's subjects are decided by this policy."""

    project: Project
    version: Version
    policy: PolicyV1
    applied_by: AnnotatorId
    reason: Reason
    preview_digest: Sha256 | None = None

    def upcast_v1_v2(self) -> PolicyAppliedV2:
        return remade(self, PolicyAppliedV2, policy=self.policy.upcast())


class SkillsEstimatedV1(Frozen):
    """Weights of voters' votes, in milli-nats of log-odds."""

    version: Version
    default_milli_nats: MilliNats
    weights_milli_nats: Annotated[dict[AnnotatorId, MilliNats], Field(max_length=100_000)]

    def upcast_v1_v2(self) -> SkillsEstimated:
        """It named no project and nothing ever read it: so it comes out without weights, for a project that nobody has."""
        zeros = (0, 0, 0, 0)
        return SkillsEstimated(
            project="none", version=self.version, model="majority", champion=False, labels=("good", "bad"),
            prior_milli_nats=(0, 0), default_milli_nats=zeros, weights_milli_nats={}, temperature_permille=1_000,
            golden_answers=0,
        )  # fmt: skip


# --- derived facts -----------------------------------------------------------------------------


class VerdictReachedV1(Frozen):
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

    def upcast_v1_v2(self) -> VerdictReached:
        about = {
            "label": "good" if self.log_odds_milli_nats >= 0 else "bad",
            "confidence_permille": confidence_permille(abs(self.log_odds_milli_nats)),
            "because": "overlap_max" if self.verdict == "escalated" else "confidence",
            "model": "majority",
            "skills_version": 0,
        }
        return remade(self, VerdictReached, **about)


class VerdictReopenedV1(Frozen):
    """A verdict no longer stands, and why."""

    origin: Origin
    project: Project
    revision: Revision
    verdict: Verdict
    reason: Literal["edited", "voted", "retracted", "policy", "withdrawn"]

    def upcast_v1_v2(self) -> VerdictReopened:
        return remade(self, VerdictReopened)


class OverlapRequestedV1(Frozen):
    """The votes so far do not settle the revision: more are needed."""

    origin: Origin
    project: Project
    revision: Revision
    votes_needed: Annotated[int, Field(ge=1, le=1_000)]
    votes_live: Count
    log_odds_milli_nats: MilliNats

    def upcast_v1_v2(self) -> OverlapRequested:
        about = {
            "because": "unsure",
            "label": "good" if self.log_odds_milli_nats >= 0 else "bad",
            "confidence_permille": confidence_permille(abs(self.log_odds_milli_nats)),
            "confidence_needed_permille": 0,
        }
        return remade(self, OverlapRequested, **about)


class JudgementScoredV1(Frozen):
    """What one decision says about one person; a change of -1 takes an earlier one back exactly."""

    origin: Origin
    project: Project
    role: Role
    outcome: Literal["submitted", "approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong"]
    change: Literal[1, -1]
    submission: SubjectId
    revision: Revision
    #: Hours since 1970-01-01T00Z of the event that is judged.
    hour: Annotated[int, Field(ge=-1_000_000, le=10_000_000)]
    label: LabelV1 | None = None
    verdict: Verdict | None = None
    duration_milliseconds: Milliseconds | None = None

    def upcast_v1_v2(self) -> JudgementScored:
        values = {name: value for name, value in self.__dict__.items() if name != "verdict"}
        return JudgementScored(**values, truth=self._truth())

    def _truth(self) -> LabelV1 | None:
        if self.outcome in ("golden_right", "golden_wrong") and self.label is not None:
            return self.label if (self.outcome == "golden_right") else ("bad" if self.label == "good" else "good")
        return _LABEL_OF.get(self.verdict or "")


class AnnotatorFlaggedV1(Frozen):
    """A rate's lower Wilson bound passed its limit, with enough counts to say so."""

    origin: Origin
    project: Project
    rule: Literal["rejection", "disagreement"]
    against: Count
    total: Count
    limit_permille: Permille
    policy_version: Version

    def upcast_v1_v2(self) -> AnnotatorFlagged:
        return AnnotatorFlagged(**self.__dict__, action="notify")


class AnnotatorClearedV1(Frozen):
    """The same rule no longer holds against this person."""

    origin: Origin
    project: Project
    rule: Literal["rejection", "disagreement"]
    against: Count
    total: Count
    limit_permille: Permille
    policy_version: Version

    def upcast_v1_v2(self) -> AnnotatorCleared:
        return AnnotatorCleared(**self.__dict__, reason="recovered")


#: One step of each chain.
UPCASTS: dict[type[Frozen], Callable[[Any], Frozen]] = {
    SubmissionReceivedV1: SubmissionReceivedV1.upcast_v1_v2,
    VoteCastV1: VoteCastV1.upcast_v1_v2,
    GoldenAnswerSetV1: GoldenAnswerSetV1.upcast_v1_v2,
    PolicyProposedV1: PolicyProposedV1.upcast_v1_v2,
    PolicyProposedV2: PolicyProposedV2.upcast_v2_v3,
    PolicyAppliedV1: PolicyAppliedV1.upcast_v1_v2,
    PolicyAppliedV2: PolicyAppliedV2.upcast_v2_v3,
    SkillsEstimatedV1: SkillsEstimatedV1.upcast_v1_v2,
    VerdictReachedV1: VerdictReachedV1.upcast_v1_v2,
    VerdictReopenedV1: VerdictReopenedV1.upcast_v1_v2,
    OverlapRequestedV1: OverlapRequestedV1.upcast_v1_v2,
    JudgementScoredV1: JudgementScoredV1.upcast_v1_v2,
    AnnotatorFlaggedV1: AnnotatorFlaggedV1.upcast_v1_v2,
    AnnotatorClearedV1: AnnotatorClearedV1.upcast_v1_v2,
}

SubmissionReceivedV1Event = Event[Literal["assay.SubmissionReceived.v1"], SubmissionReceivedV1]
VoteCastV1Event = Event[Literal["assay.VoteCast.v1"], VoteCastV1]
GoldenAnswerSetV1Event = Event[Literal["assay.GoldenAnswerSet.v1"], GoldenAnswerSetV1]
PolicyProposedV1Event = Event[Literal["assay.PolicyProposed.v1"], PolicyProposedV1]
PolicyProposedV2Event = Event[Literal["assay.PolicyProposed.v2"], PolicyProposedV2]
PolicyAppliedV1Event = Event[Literal["assay.PolicyApplied.v1"], PolicyAppliedV1]
PolicyAppliedV2Event = Event[Literal["assay.PolicyApplied.v2"], PolicyAppliedV2]
SkillsEstimatedV1Event = Event[Literal["assay.SkillsEstimated.v1"], SkillsEstimatedV1]
VerdictReachedV1Event = Event[Literal["assay.VerdictReached.v1"], VerdictReachedV1]
VerdictReopenedV1Event = Event[Literal["assay.VerdictReopened.v1"], VerdictReopenedV1]
OverlapRequestedV1Event = Event[Literal["assay.OverlapRequested.v1"], OverlapRequestedV1]
JudgementScoredV1Event = Event[Literal["assay.JudgementScored.v1"], JudgementScoredV1]
AnnotatorFlaggedV1Event = Event[Literal["assay.AnnotatorFlagged.v1"], AnnotatorFlaggedV1]
AnnotatorClearedV1Event = Event[Literal["assay.AnnotatorCleared.v1"], AnnotatorClearedV1]

#: An event as somebody told it, in an older version.
OldEvent = (
    SubmissionReceivedV1Event
    | VoteCastV1Event
    | GoldenAnswerSetV1Event
    | PolicyProposedV1Event
    | PolicyProposedV2Event
    | PolicyAppliedV1Event
    | PolicyAppliedV2Event
    | SkillsEstimatedV1Event
    | VerdictReachedV1Event
    | VerdictReopenedV1Event
    | OverlapRequestedV1Event
    | JudgementScoredV1Event
    | AnnotatorFlaggedV1Event
    | AnnotatorClearedV1Event
)
OLD_EVENTS: tuple[type[Frozen], ...] = get_args(OldEvent)

#: An event as somebody told it, in whichever version.
ToldEvent = AnyEvent | OldEvent
