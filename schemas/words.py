"""The bounded building blocks that every schema is made of: ids, names, counts, times."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
UUID7_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
LABEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SCOPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}(/[a-z]{2,3}/[a-z0-9_-]{1,64}/[a-z0-9_-]{1,64})?$"
SLICE_PATTERN = r"^[a-z]{2,3}/[a-z0-9_-]{1,64}/[a-z0-9_-]{1,64}$"

TEXT_MAX_CHARACTERS = 100_000
EMBEDDING_DIMENSIONS = 384
MAX_OFFSET = 2**62
MAX_MILLI_NATS = 100_000_000
MAX_VERSION = 1_000_000_000


class _Utc:
    """A time with offset 0, checked by pydantic's core: a check in Python would cost as much as a whole event."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.datetime_schema(tz_constraint=0)


EventId = Annotated[str, StringConstraints(pattern=UUID7_PATTERN)]
SubjectId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
AnnotatorId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Project = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
RunId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
SliceId = Annotated[str, StringConstraints(pattern=SLICE_PATTERN)]
#: A project, or `project/slice`.
ScopeName = Annotated[str, StringConstraints(pattern=SCOPE_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX_CHARACTERS)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
UtcTime = Annotated[datetime, _Utc]

Revision = Annotated[int, Field(ge=1, le=10_000)]
Version = Annotated[int, Field(ge=0, le=MAX_VERSION)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
Partition = Annotated[int, Field(ge=0, le=100_000)]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
MilliNats = Annotated[int, Field(ge=-MAX_MILLI_NATS, le=MAX_MILLI_NATS)]
#: Hours since 1970-01-01T00Z.
Hour = Annotated[int, Field(ge=-1_000_000, le=10_000_000)]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
Permille = Annotated[int, Field(ge=0, le=1_000)]
#: 384 int8 values in base64, the quantised unit vector of one text.
Embedding = Annotated[str, StringConstraints(min_length=512, max_length=512, pattern=r"^[A-Za-z0-9+/=]+$")]

Kind = Literal["prompt", "completion", "context"]
#: Who or what made a text, as far as its source says.
Provenance = Literal["human", "model", "unknown"]
#: What a vote may say; a project's policy names its labels.
Label = Annotated[str, StringConstraints(pattern=LABEL_PATTERN)]
Verdict = Literal["approved", "rejected", "escalated"]
Role = Literal["writer", "voter"]
#: What voters are asked: for a label of one revision, or for a choice between two completions.
Task = Literal["review", "preference"]
#: How votes are weighed; streams/skills.py has the formulas.
Model = Literal["majority", "weighted", "bayesian", "toloka", "blend"]
#: What a flag leads to: somebody is told, the person gets work last, or none.
Action = Literal["notify", "deprioritise", "restrict"]
Choice = Literal["left", "right", "tie"]


class Frozen(BaseModel):
    """The ground of every schema: immutable, nothing is converted (the log keeps the bytes), unknown fields are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Place(Frozen):
    """One record of `assay.events.v1`."""

    partition: Partition
    offset: Offset


class Origin(Frozen):
    """The record that a derived fact follows from, and the fact's place among that record's effects."""

    partition: Partition
    offset: Offset
    index: Annotated[int, Field(ge=0, le=10_000_000)]
