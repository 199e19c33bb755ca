"""Logs of judgements: what is said of people, by hand, as it would stand in one partition of `assay.judgements.v1`."""

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.catalogue import TYPE_OF
from schemas.events import EVENT, ClockTicked, JudgementScored, LikenessMeasured, PaceMeasured, PolicyApplied
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.wire import decode, encode
from schemas.words import Frozen, Origin
from streams.annotators import ANNOTATORS_PROJECTION, AnnotatorsState
from streams.projection import Record, facts, record_of
from streams.tallies import Tally

START = datetime(2026, 1, 1, tzinfo=UTC)
START_HOUR = int(START.timestamp()) // 3600
_ROLES = {"submitted": "writer", "approved": "writer", "rejected": "writer"}


def judgement(outcome: str, number: int, **about: Any) -> JudgementScored:
    """One judgement in the first hour, good where it must say something; the record behind it stands at offset 10 * number."""
    said: dict[str, Any] = {"project": "p", "role": _ROLES.get(outcome, "voter"), "change": 1, "submission": f"s-{number}"}
    if said["role"] == "voter":
        said |= {"label": "good", "truth": "good" if outcome in ("agreed", "golden_right", "credited") else "bad"}
    origin = Origin(partition=0, offset=10 * number, index=0)
    return JudgementScored(**said | {"revision": 1, "hour": START_HOUR, "outcome": outcome, "origin": origin} | about)


class World:
    """The fold over a log that is written as it goes; every call returns the facts that it led to."""

    def __init__(self) -> None:
        self.state: AnnotatorsState = ANNOTATORS_PROJECTION.empty()
        self.log: list[Record] = []
        self.hour = 0
        self._origin = 0

    def tally(self, person: str = "anna", name: str = "p") -> Tally:
        return self.state.rows[person].projects[name]

    def say(self, subject: str, data: Frozen) -> list[Any]:
        """Apply one event at the world's hour; the data of the facts that follow."""
        number = len(self.log)
        time = START + timedelta(hours=self.hour, seconds=number)
        about = {"id": event_id(time, "people", number), "type": TYPE_OF[type(data)], "source": "tests", "subject": subject}
        record = record_of(0, number, encode(EVENT.validate_python({**about, "time": time, "data": data})))
        self.log.append(record)
        step = ANNOTATORS_PROJECTION.apply(self.state, record)
        self.state = step.state
        return [decode(fact.value).data for fact in facts(ANNOTATORS_PROJECTION, record, step.effects)]

    def judge(self, outcome: str, person: str = "anna", times: int = 1, **about: Any) -> list[Any]:
        """So many judgements of one person, each about another submission; the facts that follow."""
        found: list[Any] = []
        for _ in range(times):
            self._origin += 1
            found += self.say(person, judgement(outcome, self._origin, **{"hour": START_HOUR + self.hour} | about))
        return found

    def policy(self, version: int, **thresholds: Any) -> list[Any]:
        applied: dict[str, Any] = {
            "project": "p",
            "version": version,
            "policy": Policy(**thresholds),
            "applied_by": "ops",
            "reason": "trying",
        }
        return self.say("p", PolicyApplied(**applied))

    def pace(self, version: int, milliseconds: int) -> list[Any]:
        return self.say("p", PaceMeasured(project="p", version=version, median_milliseconds=milliseconds, votes=100))

    def likeness(self, version: int, same: int, shared: int, person: str = "anna", **about: Any) -> list[Any]:
        z = 1000 * (same - shared / 2) / (shared / 4) ** 0.5
        said: dict[str, Any] = {
            "project": "p",
            "version": version,
            "other": "ben",
            "shared": shared,
            "same": same,
            "expected_permille": 500,
        }
        said |= {"z_milli": round(z), "habits_z_milli": round(z), "bound_milli": 4_000, "evidence": ("s-1", "s-2")}
        return self.say(person, LikenessMeasured(**said | about))

    def tick(self, hour: int) -> list[Any]:
        self.hour = hour
        return self.say("clock", ClockTicked(until=START + timedelta(hours=hour)))
