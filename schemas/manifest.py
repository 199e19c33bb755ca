"""What a snapshot is made of: the manifest that stands beside its Parquet files.

Inside the content digest stand the rows and nothing else: each row's messages, ids, slice, project, writer, group and
split, in order of submission or comparison. Outside stand the name, the creation time, the log positions, the policy
and code versions and the Parquet encoding: the same approved texts give the same digest from any log, on any machine.
"""

from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.words import Count, Frozen, Name, Offset, Project, ScopeName, Sha256, SliceId, UtcTime, Version

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

LeftOut = Literal[
    "prompt_unknown",
    "ancestor_not_approved",
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


class Manifest(Frozen):
    """Everything needed to build the snapshot again, and to see whether it is still the same."""

    format: Literal["assay.snapshot.v1"] = "assay.snapshot.v1"
    name: SnapshotName
    created_at: UtcTime
    kind: RowKind
    #: The projects that were asked for, sorted; none means all.
    projects: tuple[Project, ...]
    offsets: dict[LogPosition, Offset]
    #: The newest policy applied below the offsets to each project, where 0 is the default policy, and to each slice with its own.
    policy_versions: dict[ScopeName, Version]
    code_version: Name
    rows: Count
    splits: dict[Split, Count]
    #: Groups of prompts in each split; none stands in two.
    groups: dict[Split, Count]
    slices: dict[SliceId, dict[Split, Count]]
    left_out: dict[LeftOut, Count]
    columns: dict[Layout, tuple[Name, ...]]
    files: tuple[SnapshotFile, ...]
    content_digest: Sha256
    #: Over (submission, revision, partition, offset of the verdict) of each row: which log this came from.
    lineage_digest: Sha256
