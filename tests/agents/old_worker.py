"""A worker of the version of Assay that came before SubmissionReceived v2: `faust -A tests.agents.old_worker worker`."""

from dataclasses import replace

from agents.app import create_app
from agents.runner import Runner
from agents.settings import WorkerSettings
from agents.topology import AGENT_BY_NAME, AgentRunner, Fatal
from schemas.catalogue import EVENT_TYPES
from schemas.wire import Wire
from streams.projection import Record, record_of
from streams.review import REVIEW

EARLIER = Wire(entry for entry in EVENT_TYPES.values() if entry.name != "SubmissionReceived" or entry.version == 1)


def read(partition: int, offset: int, value: bytes) -> Record:
    return record_of(partition, offset, value, EARLIER.decode)


def review(settings: WorkerSettings, fatal: Fatal) -> AgentRunner:
    return Runner(REVIEW, settings, fatal, read)


SETTINGS = WorkerSettings.from_environment()
THEN = {**AGENT_BY_NAME, "review": replace(AGENT_BY_NAME["review"], runner=review)}
app = create_app(SETTINGS, [THEN[name] for name in SETTINGS.names])
