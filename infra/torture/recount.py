"""A second opinion: the raw log counted the naive way, by code that shares nothing with the folds.

It reads JSON and knows the rules as docs/events.md tells them. So it catches what a replay by the folds themselves
cannot: a record that live and replay both count twice, or both miss. A record that it cannot read raises, uncounted.
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import orjson

MAX_EVENTS = 5_000
_COMPARED = ("ComparisonOffered", "PreferenceCast")
_COUNTED = (
    "SubmissionReceived", "SubmissionEdited", "SubmissionWithdrawn", "SubmissionAnalysed", "SubmissionRuled",
    "SubmissionReopened", "VoteCast", "VoteRetracted", "GoldenAnswerSet",
)  # fmt: skip


@dataclass
class Submission:
    """What the log says about one submission."""

    project: str = ""
    writer: str = ""
    revision: int = 0
    withdrawn: int = 0
    #: Event id -> hash of its body.
    bodies: dict[str, int] = field(default_factory=dict)
    #: Voter -> revision and label of the vote that stands.
    votes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def live(self, labels: Collection[str]) -> list[str]:
        """Labels of the votes that count, where these are the policy's."""
        votes = ((voter, *vote) for voter, vote in self.votes.items() if voter != self.writer)
        return [label for _, revision, label in votes if revision == self.revision and label in labels]


@dataclass
class Comparison:
    """What the log says about one comparison."""

    sides: tuple[str, str] | None = None
    bodies: dict[str, int] = field(default_factory=dict)
    #: Annotator -> the choice that stands.
    choices: dict[str, str] = field(default_factory=dict)


class Events:
    """`assay.events.v1`, one partition after the other, each in order."""

    def __init__(self) -> None:
        self.submissions: dict[str, Submission] = {}
        self.comparisons: dict[str, Comparison] = {}

    def add(self, value: bytes) -> str:
        """Count one event; returns the code under which it must be refused, or ""."""
        event = orjson.loads(value)
        name = _name(event["type"])
        if name in _COMPARED:
            return _once(self.comparisons, Comparison(), event, value, _compared)
        return (
            _once(self.submissions, Submission(), event, value, _ruled if name in _RULED else _count) if name in _COUNTED else ""
        )


Row = TypeVar("Row", Submission, Comparison)


def _once(rows: dict[str, Row], new: Row, event: Any, value: bytes, count: Callable[[Row, str, dict[str, Any]], str]) -> str:
    """Let an event count in its subject's row, unless its id stands there already."""
    row = rows.get(event["subject"], new)
    if (body := row.bodies.get(event["id"])) is not None:
        return "" if body == hash(value) else "id_reused"
    if len(row.bodies) >= MAX_EVENTS:
        return "too_many_events"
    refused = count(row, _name(event["type"]), event["data"])
    if not refused:
        rows[event["subject"]] = row
        row.bodies[event["id"]] = hash(value)
    return refused


def _name(type_: str) -> str:
    """`assay.VoteCast.v2` -> VoteCast; every version counts alike."""
    return type_.split(".")[1]


def _count(row: Submission, name: str, data: dict[str, Any]) -> str:
    match name:
        case "SubmissionReceived" if row.revision:
            return "received_twice"
        case "SubmissionReceived":
            row.project, row.writer, row.revision = data["project"], data["writer"], 1
        case "SubmissionEdited" if not row.revision:
            return "edited_before_received"
        case "SubmissionEdited" if data["revision"] != row.revision + 1:
            return "revision_out_of_turn"
        case "SubmissionEdited":
            row.revision, row.withdrawn = data["revision"], 0
        case "SubmissionWithdrawn" if not row.revision:
            return "withdrawn_before_received"
        case "SubmissionWithdrawn":
            row.withdrawn = 1
        case "VoteCast" if row.votes.get(data["voter"], (0, ""))[0] <= data["revision"]:
            row.votes[data["voter"]] = data["revision"], data["label"]
        case "VoteRetracted" if row.votes.get(data["voter"], (0, ""))[0] == data["revision"]:
            del row.votes[data["voter"]]
    return ""


def _compared(row: Comparison, name: str, data: dict[str, Any]) -> str:
    if name == "PreferenceCast":
        row.choices[data["annotator"]] = data["choice"]
        return ""
    if row.sides is not None:
        return "offered_twice"
    if data["left"] == data["right"]:
        return "one_completion"
    row.sides = data["left"], data["right"]
    return ""


_RULED = ("SubmissionRuled", "SubmissionReopened")


def _ruled(row: Submission, name: str, data: dict[str, Any]) -> str:
    """An editor's word changes no count; nobody rules on a text of their own, nor on one that does not stand."""
    if name == "SubmissionRuled" and data["ruled_by"] == row.writer:
        return "ruled_by_writer"
    if not row.revision:
        return "ruled_before_received"
    if data["revision"] != row.revision:
        return "ruled_on_another_revision"
    return "ruled_on_withdrawn" if row.withdrawn else ""


Origin = tuple[int, int, int]


class Judgements:
    """`assay.judgements.v1`: each person's outcomes per project, every origin once."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        self._seen: set[Origin] = set()

    def add(self, value: bytes) -> None:
        event = orjson.loads(value)
        data = event["data"]
        if _name(event["type"]) == "JudgementScored":
            project = data["project"] if data.get("task", "review") == "review" else f"{data['project']}/preference"
            key = event["subject"], project, data["outcome"]
            after = self.outcomes[key] + data["change"]
            if _first(self._seen, data["origin"]):
                self.outcomes[key] = after


@dataclass
class Slice:
    """What the log says about one slice's approved set."""

    texts: int = 0
    words: int = 0
    sums: Any = 0


class Slices:
    """`assay.slices.v1`: what entered and did not leave, every origin once."""

    def __init__(self) -> None:
        self.slices: dict[str, Slice] = {}
        self._seen: set[Origin] = set()

    def add(self, value: bytes) -> None:
        event = orjson.loads(value)
        data, sign = event["data"], 1 if _name(event["type"]) == "SliceEntered" else -1
        row = self.slices.get(event["subject"], Slice())
        sums = row.sums + sign * _vector(data["embedding"])
        after = Slice(row.texts + sign, row.words + sign * data["words"], sums)
        if _first(self._seen, data["origin"]):
            self.slices[event["subject"]] = after


def _vector(text: str) -> Any:
    return np.frombuffer(b64decode(text), dtype=np.int8).astype(np.int64)


def _first(seen: set[Origin], origin: dict[str, int]) -> bool:
    place = (origin["partition"], origin["offset"], origin["index"])
    if place in seen:
        return False
    seen.add(place)
    return True
