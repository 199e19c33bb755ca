"""The bench end to end on Apache Kafka, at a small size: a kill, a restart and rivals; and each fault that it must see."""

import asyncio
from typing import Any

import pytest

from infra.bench.assignment import Told, measure
from infra.bench.assignment_checks import Book, Log
from infra.bench.rig import alone
from infra.settings import Settings

DESK = "019cebb0-1111-7e41-bb8a-1d1e94e6d300"


def test_nothing_that_must_not_be_is_in_the_log_after_a_kill_and_rivals() -> None:
    with alone(Settings()) as own:
        told = Told(clients=6, subjects=600, voters=40, seconds=4.0, think_ms=10, seed=3, warm_seconds=1.0)
        found = asyncio.run(measure(own, told, print))
    assert found["log"]["holds"], found
    assert found["fenced_exit_codes"] == [71, 71]
    assert found["log"]["granted"] > 50
    assert found["votes"] > 20
    assert {"p50_ms", "p99_ms", "warming_p99_ms", "requests_per_second", "restart_s", "holds"} <= found.keys()


def opened(generation: int = 1, desk: str = DESK) -> dict[str, Any]:
    return _said("DeskOpened", desk, "desk", {"generation": generation})


def granted(lease: str, person: str, second: int = 1, serves: str = "overlap", desk: str = DESK) -> dict[str, Any]:
    return _said("LeaseGranted", lease, "s-1", {"desk": desk, "annotator": person, "serves": serves, "revision": 1}, second)


def ended(lease: str, person: str, reason: str, second: int = 2) -> dict[str, Any]:
    return _said("LeaseEnded", f"e-{lease}", "s-1", {"desk": DESK, "annotator": person, "lease": lease, "reason": reason}, second)


def _said(name: str, id_: str, subject: str, data: dict[str, Any], second: int = 0) -> dict[str, Any]:
    return {"type": f"assay.{name}.v1", "id": id_, "subject": subject, "time": f"2026-01-01T00:00:{second:02}Z", "data": data}


def log() -> Log:
    return Log(writer={"s-1": "wendy"}, received={"s-1": 0.0}, flags={"rita": "restrict"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("own_texts", [granted("l-1", "wendy")]),
        ("to_restricted", [granted("l-1", "rita")]),
        ("double_assignments", [granted("l-1", "anna"), granted("l-2", "anna")]),
        ("double_assignments", [granted("l-1", "anna"), ended("l-1", "anna", "released"), granted("l-2", "anna", 3)]),
        ("overlap_exceeded", [granted("l-1", "anna"), granted("l-2", "ben"), granted("l-3", "chloe")]),
        ("golden_as_ordinary", [granted("l-1", "anna", serves="control")]),
        ("done_without_a_vote", [granted("l-1", "anna"), ended("l-1", "anna", "done")]),
        ("ended_and_not_open", [ended("l-1", "anna", "expired")]),
        ("answered_and_not_in_the_log", [opened(2, "other"), granted("l-1", "anna")]),
    ],
)
def test_each_fault_is_seen(wrong: str, said: list[dict[str, Any]]) -> None:
    book = Book(log(), patience_seconds=600)
    for one in (opened(), *said):
        book.turn(one)
    answered = {"l-1": "anna"} if wrong == "answered_and_not_in_the_log" else {}
    found = book.summary(answered)
    assert (found[wrong], found["holds"]) == (1, False)


def test_what_is_right_is_not_called_wrong() -> None:
    book = Book(log(), patience_seconds=600)
    for one in (
        opened(),
        granted("l-1", "anna"),
        ended("l-1", "anna", "expired"),
        granted("l-2", "anna", 3),
        granted("l-3", "ben", 4),
    ):
        book.turn(one)
    found = book.summary({"l-1": "anna", "l-3": "ben"})
    assert not any(found[name] for name in ("double_assignments", "overlap_exceeded", "answered_and_not_in_the_log"))
