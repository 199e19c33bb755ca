"""Records that cannot be handled: their bytes, position and reason on `assay.quarantine.v1`, within a limit."""

from collections.abc import Sequence
from typing import Any

from agents.publishing import Publisher
from schemas.topics import QUARANTINE

#: Above this share, once enough records were seen, the fault is more likely ours than the records'.
MAX_SHARE = 0.2
MIN_RECORDS = 1_000


class TooManyRefused(Exception):
    """The limit is passed: stopping loses nothing, going on might hide a fault of this version."""


class Quarantine:
    """Counts what it takes, and refuses to take more than its limits."""

    def __init__(self, publisher: Publisher, projection: str, limit: int) -> None:
        self._publisher = publisher
        self._projection = projection
        self._limit = limit
        self.seen = 0
        self.taken = 0

    def put(self, record: Any, code: str, reason: str) -> None:
        """Keep one consumed record (aiokafka's ConsumerRecord) with why it was refused."""
        self.taken += 1
        fields = {
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "code": code,
            "reason": reason,
            "projection": self._projection,
            "attempt": "1",
        }
        about = [(name, value.encode()) for name, value in fields.items()]
        place = (QUARANTINE.name, record.partition)
        self._publisher.add(place, record.key, record.value, record.timestamp, about)

    def check(self, records: Sequence[Any]) -> None:
        """Call after each batch. Raises TooManyRefused over the limit."""
        self.seen += len(records)
        share_passed = self.seen >= MIN_RECORDS and self.taken > MAX_SHARE * self.seen
        if self.taken > self._limit or share_passed:
            raise TooManyRefused(
                f"{self._projection}: {self.taken} of {self.seen} records refused in this run "
                f"(limit {self._limit}, or {MAX_SHARE:.0%}); see `assay quarantine list`"
            )
