"""What must hold of leases, counted from the log by code that shares nothing with the desk: it reads JSON, record by record."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import sqrt
from typing import Any

import orjson

from agents.log_reading import read_range
from infra.kafka.reading import ends
from schemas.policy import Policy
from schemas.topics import ANNOTATORS, ASSIGNMENTS, EVENTS, VERDICTS

#: A share of n draws may be this many standard errors off.
STANDARD_ERRORS = 4.0
Said = dict[str, Any]


@dataclass
class Log:
    """The facts that leases are held to."""

    writer: dict[str, str] = field(default_factory=dict[str, str])
    received: dict[str, float] = field(default_factory=dict[str, float])
    golden: set[str] = field(default_factory=set[str])
    #: When each vote was cast, by subject and voter; (when, wanted) of every request by subject.
    votes: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    requests: dict[str, list[tuple[float, int]]] = field(default_factory=dict[str, list[tuple[float, int]]])
    decided: dict[str, float] = field(default_factory=dict[str, float])
    flags: dict[str, str] = field(default_factory=dict[str, str])
    policy: Policy = field(default_factory=Policy)


async def checked(brokers: str, answered: Mapping[str, str], patience_seconds: float) -> dict[str, Any]:
    """Counts of what must not be, and `holds`. `answered`: each lease that a client was told of, with the person."""
    log = Log()
    for topic in (EVENTS.name, VERDICTS.name, ANNOTATORS.name):
        for place, end in (await ends(brokers, topic)).items():
            async for batch in read_range(brokers, place, 0, end):
                for raw in batch:
                    _note(log, orjson.loads(raw.value))
    book = Book(log, patience_seconds)
    for place, end in (await ends(brokers, ASSIGNMENTS.name)).items():
        book.desk = ""
        async for batch in read_range(brokers, place, 0, end):
            for raw in batch:
                book.turn(orjson.loads(raw.value))
    return book.summary(answered)


def _note(log: Log, said: Said) -> None:
    name, subject, data = said["type"].split(".")[1], said["subject"], said["data"]
    if name == "SubmissionReceived":
        log.writer[subject], log.received[subject] = data["writer"], _time(said["time"])
    elif name == "VoteCast":
        log.votes.setdefault((subject, data["voter"]), _time(said["time"]))
    elif name == "GoldenAnswerSet":
        log.golden.add(subject)
    elif name == "OverlapRequested":
        log.requests.setdefault(subject, []).append((_time(said["time"]), data["votes_live"] + data["votes_needed"]))
    elif name == "VerdictReached":
        log.decided.setdefault(subject, _time(said["time"]))
    elif name == "AnnotatorFlagged":
        log.flags[subject] = data["action"]
    elif name == "PolicyApplied":
        log.policy = Policy.model_validate_json(orjson.dumps(data["policy"]))


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Book:
    """Every lease in the order of its partition."""

    def __init__(self, log: Log, patience_seconds: float) -> None:
        self.desk = ""
        self._generation = (0, "")
        self._log = log
        self._patience = patience_seconds
        self._wrong: Counter[str] = Counter()
        self._serves: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._granted: dict[str, str] = {}
        #: Lease -> (subject, person); subject -> people who hold it or have judged it; (subject, person) that are over for good.
        self._open: dict[str, tuple[str, str]] = {}
        self._claims: dict[str, set[str]] = {}
        self._closed: set[tuple[str, str]] = set()
        self._zombies = 0

    def turn(self, said: Said) -> None:
        name, subject, data = said["type"].split(".")[1], said["subject"], said["data"]
        if name == "DeskOpened":
            opened = (data["generation"], said["id"])
            self._generation = opened if not self.desk else max(self._generation, opened)
            self.desk = self._generation[1]
        elif data["desk"] != self.desk:
            self._zombies += 1
        elif name == "LeaseGranted":
            self._grant(said["id"], subject, data, _time(said["time"]))
        else:
            self._end(subject, data, _time(said["time"]))

    def _grant(self, lease: str, subject: str, data: Said, at: float) -> None:
        person, serves = data["annotator"], data["serves"]
        self._serves[serves] += 1
        self._granted[lease] = person
        log, wrong = self._log, self._wrong
        wrong["own_texts"] += log.writer[subject] == person
        wrong["double_assignments"] += (subject, person) in self._closed or (subject, person) in self._open.values()
        wrong["golden_as_ordinary"] += (serves == "control") != (subject in log.golden)
        wrong["to_restricted"] += log.flags.get(person) == "restrict"
        wrong["to_those_served_last_too_early"] += (
            log.flags.get(person) == "deprioritise" and at - log.received[subject] < self._patience
        )
        self._open[lease] = (subject, person)
        if serves != "control":
            claims = self._claims.setdefault(subject, set())
            claims.add(person)
            wanted = max([log.policy.overlap_min, *(votes for asked, votes in log.requests.get(subject, ()) if asked <= at)])
            wrong["overlap_exceeded"] += len(claims) > wanted

    def _end(self, subject: str, data: Said, at: float) -> None:
        person, reason = data["annotator"], data["reason"]
        self._ended[reason] += 1
        if self._open.pop(data["lease"], None) is None:
            self._wrong["ended_and_not_open"] += 1
        voted = self._log.votes.get((subject, person), at + 1) <= at
        self._wrong["done_without_a_vote"] += reason == "done" and not voted
        if reason != "expired" or voted:
            self._closed.add((subject, person))
        if not voted:
            self._claims.get(subject, set()).discard(person)

    def summary(self, answered: Mapping[str, str]) -> dict[str, Any]:
        granted = self._serves.total()
        share, wanted = self._serves["control"] / max(granted, 1), self._log.policy.control_share_permille / 1_000
        error = abs(share - wanted) / sqrt(wanted * (1 - wanted) / max(granted, 1))
        self._wrong["answered_and_not_in_the_log"] = sum(self._granted.get(lease) != person for lease, person in answered.items())
        return {
            "holds": not self._wrong.total() and error <= STANDARD_ERRORS,
            **{name: self._wrong[name] for name in _NAMES},
            "control_share": round(share, 4),
            "control_share_wanted": wanted,
            "control_share_standard_errors": round(error, 2),
            "granted": granted,
            "served": dict(self._serves),
            "ended": dict(self._ended),
            "open": len(self._open),
            "said_by_fenced_desks": self._zombies,
            "decided": len(self._log.decided),
        }


_NAMES = (
    "double_assignments", "own_texts", "overlap_exceeded", "to_restricted", "to_those_served_last_too_early",
    "golden_as_ordinary", "answered_and_not_in_the_log", "done_without_a_vote", "ended_and_not_open",
)  # fmt: skip
