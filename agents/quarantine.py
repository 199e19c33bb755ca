"""Records that cannot be handled: their bytes, position and reason on `assay.quarantine.v1`, within limits."""

from collections.abc import Sequence
from typing import Any

from agents.publishing import Publisher
from agents.settings import WorkerOptions
from schemas.topics import QUARANTINE
from schemas.wire import TooNew, Undecodable
from streams.projection import Refusal

#: Seen by a run before a share of them says anything.
MIN_RECORDS = 1_000
#: On a record that `assay quarantine replay` sent again: how often it was refused before.
ATTEMPTS_HEADER = "assay_attempts"
MAX_ATTEMPTS_DIGITS = 9


class TooManyRefused(Exception):
    """The limit is passed: stopping loses nothing, going on might hide a fault of this version."""


class WrittenByLater(Exception):
    """A later version of Assay wrote a record that counts: setting it aside would make state that no replay gives."""


class Quarantine:
    """Counts what it takes, and refuses to take more than the worker's limits."""

    def __init__(self, publisher: Publisher, projection: str, options: WorkerOptions) -> None:
        self._publisher = publisher
        self._projection = projection
        self._options = options
        self.seen = 0
        self.taken = 0

    def put(self, record: Any, problem: Undecodable | Refusal) -> None:
        """Keep one consumed record (aiokafka's ConsumerRecord) with why it was refused. Raises WrittenByLater."""
        if isinstance(problem, TooNew) and self._options.too_new == "stop":
            raise written_by_later(self._projection, record, problem)
        self.taken += 1
        fields = {
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "error": type(problem).__name__,
            "code": problem.code,
            "reason": problem.reason,
            "projection": self._projection,
            "attempt": str(attempts(record) + 1),
        }
        about = [(name, value.encode()) for name, value in fields.items()]
        self._publisher.add((QUARANTINE.name, record.partition), record.key, record.value, record.timestamp, about)

    def check(self, records: Sequence[Any]) -> None:
        """Call after each batch. Raises TooManyRefused over a limit."""
        self.seen += len(records)
        limit, share = self._options.quarantine_limit, self._options.quarantine_share
        share_passed = self.seen >= MIN_RECORDS and self.taken > share * self.seen
        if self.taken > limit or share_passed:
            raise TooManyRefused(
                f"{self._projection}: {self.taken} of {self.seen} records refused in this run "
                f"(limit {limit}, or {share:.0%} of at least {MIN_RECORDS}); {_LOOK}"
            )


_UPGRADE = (
    "upgrade this worker, and it goes on from there; nothing is lost. "
    "ASSAY_WORKER__TOO_NEW=quarantine sets such records aside, where no version of Assay ever wrote them"
)
_LOOK = (
    "see `assay quarantine list`. A fault of this version: upgrade, and it goes on from there. Faulty records: "
    "ASSAY_WORKER__QUARANTINE_LIMIT and ASSAY_WORKER__QUARANTINE_SHARE let a run take more"
)


def written_by_later(agent: str, record: Any, problem: TooNew) -> WrittenByLater:
    return WrittenByLater(f"{agent}: {record.topic}/{record.partition}@{record.offset}: {problem.reason}; {_UPGRADE}")


def attempts(record: Any) -> int:
    """How often this record was refused before it was sent again."""
    said = dict(record.headers).get(ATTEMPTS_HEADER) or b""  # anybody may write headers, also some without a value
    return int(said) if said.isdigit() and len(said) <= MAX_ATTEMPTS_DIGITS else 0
