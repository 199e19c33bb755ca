"""`bench live` end to end at a small size, with a peer; planted faults show in its figures."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from infra.bench.live import Load, check, measure
from infra.bench.load import lines
from infra.bench.peers.race import PEERS, Outcome, Peer, Race, compared
from infra.bench.rig import alone, brokers_of
from infra.settings import Settings
from schemas.catalogue import TYPE_OF
from schemas.events import VerdictReopened

LOAD = Load(events=2_000, subjects=200, seed=1)
SAYS_SO = 'print(\'{"events": 2000, "seconds": 0.1}\')'
CLAIMS = Peer("claims", lambda *_: [sys.executable, "-c", SAYS_SO], 10_000, "all of it")
BREAKS = Peer("breaks", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"], 10_000, "all of it")


@pytest.fixture(scope="module")
def own() -> Iterator[Settings]:
    with alone(Settings()) as settings:
        yield settings


@pytest.fixture(scope="module")
def found(own: Settings) -> dict[str, Any]:
    return asyncio.run(measure(own, LOAD, print))


def test_it_holds_and_says_what_it_measured(found: dict[str, Any]) -> None:
    assert found["holds"]
    assert found["live_equals_replay"]
    assert found["facts_delivered"]["assay.verdicts.v1"] > 100
    assert found["state_rows"] > 500
    assert found["ratio_to_floor"] > 0
    assert found["rss_bytes"] > 10_000_000


def test_peers_are_compared_by_what_they_deliver(own: Settings, found: dict[str, Any]) -> None:
    faust = next(peer for peer in PEERS if peer.name == "faust_table")
    race = Race(own, lambda events: lines(events, *LOAD[1:]), print)
    raced = asyncio.run(race.run([faust, CLAIMS, BREAKS]))
    assert raced["faust_table"]["verdicts_equal"]
    assert raced["faust_table"]["facts"] == sum(found["facts_delivered"].values())
    assert raced["faust_table"]["facts_equal"]
    assert not raced["claims"]["verdicts_equal"]
    assert not raced["claims"]["facts_equal"]
    assert raced["breaks"]["events_per_second"] is None
    assert "exit code 3" in raced["breaks"]["reason"]


def test_we_are_ahead_of_peers_that_do_the_same_work_only() -> None:
    same, hasty = {"events_per_second": 10, "verdicts_equal": True}, {"events_per_second": 99, "verdicts_equal": False}
    found = compared(50, {"same": same, "hasty": hasty})
    assert (found["ahead_of_peers"], found["peers_with_other_verdicts"]) == (True, ["hasty"])
    assert not compared(5, {"same": same, "hasty": hasty})["ahead_of_peers"]
    assert not compared(50, {"hasty": hasty})["ahead_of_peers"]
    assert not compared(50, {"same": same, "breaks": {"events_per_second": None, "reason": "it broke"}})["ahead_of_peers"]


def test_a_fact_less_shows_even_where_another_came_twice() -> None:
    fact = {"type": TYPE_OF[VerdictReopened], "subject": "s", "data": {}}
    ours, theirs = Outcome(facts=2), Outcome(facts=2)
    for number in (1, 2):
        ours.add(fact | {"id": f"{number}"})
        theirs.add(fact | {"id": "1"})
    assert ours.has_all_of(ours)
    assert not theirs.has_all_of(ours)


def test_it_does_not_hold_where_an_event_was_not_folded(own: Settings, found: dict[str, Any]) -> None:
    assert asyncio.run(check(brokers_of(own), LOAD.events))["holds"]
    assert not asyncio.run(check(brokers_of(own), LOAD.events + 1))["holds"]
