"""What a snapshot is made of: the manifest that stands beside its Parquet files.

Inside the content digest stand the rows and nothing else: each row's messages, ids, slice, project, writer, group and
split, in order of submission or comparison. Outside stand the name, the creation time, the log positions, the policy
and code versions and the Parquet encoding: the same approved texts give the same digest from any log, on any machine.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.policy import Policy
from schemas.words import (
    Count,
    Frozen,
    Name,
    Offset,
    Permille,
    Project,
    Provenance,
    ScopeName,
    Sha256,
    SliceId,
    UtcTime,
    Version,
)

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

#: What a row is about: an approved completion with its conversation, an approved prompt alone, or a comparison that was decided
#: between two approved completions.
RowKind = Literal["completion", "prompt", "preference"]
#: The columns of one set of files, in the field's own names.
Layout = Literal["messages", "prompt_completion", "prompt_only", "preference", "unpaired"]
#: The layouts of each kind; the first is what `load_dataset(folder)` reads.
LAYOUTS: dict[RowKind, tuple[Layout, ...]] = {
    "completion": ("messages", "prompt_completion"),
    "prompt": ("prompt_only",),
    "preference": ("preference", "unpaired"),
}

#: What `--format` names: the rows, and the layout that is read where nobody names one.
FORMATS: dict[str, tuple[RowKind, Layout]] = {
    "sft": ("completion", "messages"),
    "prompt-completion": ("completion", "prompt_completion"),
    "prompt-only": ("prompt", "prompt_only"),
    "preference": ("preference", "preference"),
    "unpaired": ("preference", "unpaired"),
}

SplitBy = Literal["prompt", "writer"]


class SplitRule(Frozen):
    """How rows are held out: the share in percent, and what never stands in two splits beside nearly equal prompts."""

    test_percent: Annotated[int, Field(ge=1, le=50)] = 15
    by: SplitBy = "prompt"


LeftOut = Literal[
    "prompt_unknown",
    "ancestor_not_approved",
    "erased",
    "not_a_conversation",
    "not_preferred",
    "completion_not_approved",
    "another_prompt",
    "edited_since",
]
#: Why an approved submission, or a comparison, is not among the rows.
LEFT_OUT: dict[LeftOut, str] = {
    "prompt_unknown": "it names no prompt, or one that the log does not hold below the offsets",
    "ancestor_not_approved": "a text before it in the conversation is not approved",
    "erased": "its text, or one before it in the conversation, was erased",
    "not_a_conversation": "the texts before it do not alternate between user and assistant, or run in a circle",
    "not_preferred": "neither completion is preferred: the comparison is undecided, escalated or a tie",
    "completion_not_approved": "one of the two completions is not approved, or the log does not hold it below the offsets",
    "another_prompt": "one of the two completions does not answer the prompt of the comparison",
    "edited_since": "one of the two completions was edited after the comparison was offered",
}

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SnapshotName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
#: `topic/partition`; its offset is the next one, which was not read.
LogPosition = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,200}/[0-9]{1,6}$")]
RelativePath = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+/[a-z0-9_-]+\.parquet$")]


class SnapshotFile(Frozen):
    """One Parquet file, relative to the snapshot's folder."""

    path: RelativePath
    layout: Layout
    split: Split
    rows: Count
    bytes: Count
    sha256: Sha256


#: Slices that were asked for: `en/*/chat` has any domain.
SlicePattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_*/-]{1,200}$")]
Milli = Annotated[int, Field(ge=-1_000_000, le=1_000)]


class GivenPolicy(Frozen):
    """A policy that decided in the place of the recorded ones; version 0 where it is none of the log's."""

    version: Version
    policy: Policy


#: Stands for every project.
ANY = "*"


class Quality(Frozen):
    """What is known of how surely the rows were chosen: counts, and what is not a count in thousandths."""

    #: Live votes (or choices) on the rows' texts, and those of them that say what was decided.
    votes: Count
    agreeing: Count
    #: Rows by their number of live votes.
    rows_by_votes: dict[str, Count]
    #: Why verdicts were reached, or what settled comparisons.
    because: dict[str, Count]
    #: Mean calibrated probability of what votes decided, over so many rows; half of its 95 % interval; the lowest tenth.
    confident_rows: Count
    confidence_permille: Permille | None
    confidence_half_permille: Permille | None
    confidence_low_permille: Permille | None
    #: Krippendorff's alpha over all of the kind and projects with two votes or more, decided or not; 95 % by the jackknife.
    compared: Count
    compared_votes: Count
    alpha_milli: Milli | None
    alpha_low_milli: Milli | None
    alpha_high_milli: Milli | None
    #: Verdicts that are right by a golden answer, of all approved or rejected that have one, of the kind and projects.
    golden_right: Count
    golden_seen: Count


class Manifest(Frozen):
    """Everything needed to build the snapshot again, and to see whether it is still the same.

    Of the first form, `assay.snapshot.v1`, the fields with a default are missing; its digests were made in the same way.
    """

    format: Literal["assay.snapshot.v1", "assay.snapshot.v2"] = "assay.snapshot.v2"
    name: SnapshotName
    created_at: UtcTime
    kind: RowKind
    #: The layout that `load_dataset(folder)` reads; none is the kind's first.
    layout: Layout | None = None
    #: The projects and slices that were asked for, sorted; none means all.
    projects: tuple[Project, ...]
    asked_slices: tuple[SlicePattern, ...] = ()
    split: SplitRule = SplitRule()
    #: What the offsets were found by, where that was a time: the log up to its first event of that time or later.
    as_of: UtcTime | None = None
    offsets: dict[LogPosition, Offset]
    #: By project, or by `*` for all of them.
    given_policies: dict[Literal["*"] | Project, GivenPolicy] = Field(default={})
    #: The newest policy in force below the offsets for each project, where 0 is the default policy or one from a file, and for
    #: each slice with its own.
    policy_versions: dict[ScopeName, Version]
    #: Over the thresholds of these policies.
    policy_digest: Sha256 | None = None
    code_version: Name
    rows: Count
    splits: dict[Split, Count]
    #: Groups of prompts (or of prompts and writers) in each split; none stands in two.
    groups: dict[Split, Count]
    #: Rows of the largest of them.
    largest_group: Count = 0
    slices: dict[SliceId, dict[Split, Count]]
    left_out: dict[LeftOut, Count]
    #: Who or what made the rows' own texts, as far as the log says.
    provenance: dict[Provenance, Count] = Field(default={})
    licences: dict[Project, Name] = Field(default={})
    quality: Quality | None = None
    #: The snapshot that this one replaces, without texts that were erased since.
    successor_of: SnapshotName | None = None
    columns: dict[Layout, tuple[Name, ...]]
    files: tuple[SnapshotFile, ...]
    content_digest: Sha256
    #: Over (submission, revision, partition, offset of the verdict) of each row: which log this came from.
    lineage_digest: Sha256
