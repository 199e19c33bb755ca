"""Every topic, once: creation, sinks, docs and tests iterate over this table."""

from dataclasses import dataclass
from typing import Literal

Content = Literal["facts", "bytes", "state"]


@dataclass(frozen=True)
class Topic:
    """One Kafka topic: its name, what its key is, what it holds, and how it is kept."""

    name: str
    key: str
    holds: str
    content: Content = "facts"

    @property
    def compacted(self) -> bool:
        return self.content == "state"

    @property
    def table(self) -> str:
        """The ClickHouse table of the same facts: assay.events.v1 is `events`."""
        return self.name.split(".")[1]


EVENTS = Topic("assay.events.v1", "subject id", "every fact about a subject, and control records, one copy to each partition")
VERDICTS = Topic("assay.verdicts.v1", "subject id", "verdicts and requests for overlap (derived)")
JUDGEMENTS = Topic("assay.judgements.v1", "annotator id", "what each decision says about each writer and voter (derived)")
SLICES = Topic("assay.slices.v1", "slice id", "texts that entered or left the approved set, with features (derived)")
ANNOTATORS = Topic("assay.annotators.v1", "annotator id", "flags and skills (derived), and who may be handed what")
ASSIGNMENTS = Topic("assay.assignments.v1", "subject id", "leases: who was handed what, until when, and how it ended")
POLICIES = Topic("assay.policies.v1", "project", "proposals, applications and reverts: the source of control records")
RUNS = Topic("assay.runs.v1", "run id", "snapshots, trainings, evaluations")
QUARANTINE = Topic(
    "assay.quarantine.v1", "as the original", "bytes, position and reason of records that cannot be handled", "bytes"
)

FACT_TOPICS = (EVENTS, VERDICTS, JUDGEMENTS, SLICES, ANNOTATORS, ASSIGNMENTS, POLICIES, RUNS)


def state_topic(projection: str, version: int) -> Topic:
    """The compacted topic of a projection's state rows; partitioned like its source."""
    return Topic(f"assay.state.{projection}.v{version}", "the row's key", f"state rows of {projection}, with positions", "state")


STATE_TOPICS = (state_topic("review", 3), state_topic("annotators", 2), state_topic("diversity", 1))
TOPICS = (*FACT_TOPICS, QUARANTINE, *STATE_TOPICS)
