"""The system at a glance: which agent reads which topic and writes which.

    assay.events.v1 ──review──▶ assay.verdicts.v1
                         ├────▶ assay.judgements.v1 ──annotators──▶ assay.annotators.v1
                         └────▶ assay.slices.v1 ─────diversity
    assay.events.v1 ──analysis─▶ assay.events.v1          (SubmissionAnalysed)

Every projection also keeps its rows on `assay.state.<projection>.v<n>` and refuses to `assay.quarantine.v1`.
"""

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from agents.partition import Status
from agents.settings import WorkerSettings
from schemas.topics import ANNOTATORS, EVENTS, JUDGEMENTS, SLICES, VERDICTS, Topic
from streams.catalogue import PROJECTION_BY_NAME

Fatal = Callable[[BaseException], None]


class AgentRunner(Protocol):
    """What the app asks of an agent."""

    async def run(self, stream: AsyncIterable[Any]) -> None: ...
    async def keep(self, partitions: set[int]) -> None: ...
    async def revoke(self) -> None: ...
    async def close(self) -> None: ...
    def status(self) -> list[Status]: ...


@dataclass(frozen=True)
class Agent:
    """One agent: its source, what it derives, and how its runner is made (late: analysis brings in a model)."""

    name: str
    source: Topic
    derives: tuple[Topic, ...]
    runner: Callable[[WorkerSettings, Fatal], AgentRunner]
    #: In a batch, at most: a stop waits for the batch at hand, and what stands still for too long is ended.
    batch_records: int = 100_000


def _projection(name: str) -> Callable[[WorkerSettings, Fatal], AgentRunner]:
    def make(settings: WorkerSettings, fatal: Fatal) -> AgentRunner:
        from agents.runner import Runner

        return Runner(PROJECTION_BY_NAME[name], settings, fatal)

    return make


def _analysis(settings: WorkerSettings, fatal: Fatal) -> AgentRunner:
    from agents.analysis import AnalysisRunner

    return AnalysisRunner(settings, fatal)


AGENTS = (
    Agent("review", EVENTS, (VERDICTS, JUDGEMENTS, SLICES), _projection("review")),
    Agent("annotators", JUDGEMENTS, (ANNOTATORS,), _projection("annotators")),
    Agent("diversity", SLICES, (), _projection("diversity")),
    # A model takes its time over each text.
    Agent("analysis", EVENTS, (EVENTS,), _analysis, batch_records=256),
)
AGENT_BY_NAME = {agent.name: agent for agent in AGENTS}
