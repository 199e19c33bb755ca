"""A flag is explained by the numbers that raise it again, and says what would end it; never which tasks were golden."""

import orjson
import pytest

from infra.explaining import Life
from streams.projection import Json
from streams.rules import DEFAULT_RULES, rate_holds
from tests.streams.people import World


def told(world: World, person: str = "anna") -> Json:
    life = Life(person)
    for record in world.log:
        life.feed(record)
    found: Json = orjson.loads(orjson.dumps(life.told()))
    return found


def test_a_flag_says_what_was_counted_and_what_ends_it() -> None:
    world = World()
    world.judge("agreed", times=4)
    world.judge("disagreed", times=12)
    (one,) = told(world)["projects"]
    (flag,) = one["flags"]
    assert (flag["rule"], flag["action"], flag["against"], flag["total"]) == ("disagreement", "deprioritise", 12, 16)
    assert flag["reproduced"]
    assert flag["words"].startswith(
        "Served last until 2026-01-16 00:00 UTC at the latest, since 12 of 16 votes went against the verdict: with 95 % certainty"
        " more than 51 %, and the limit is 40 %"
    )
    for number in range(flag["clears_after"]):
        assert told(world)["projects"][0]["flags"], "fewer are not enough"
        # One label alone would be another flag.
        world.judge("agreed", **dict.fromkeys(("label", "truth"), ("good", "bad")[number % 2]))
    after = told(world)
    assert after["projects"][0]["words"] == ["Nothing is held against this person."]
    assert [(one["event"], one["rule"]) for one in after["history"]] == [
        ("AnnotatorFlagged", "disagreement"),
        ("AnnotatorCleared", "disagreement"),
    ]


def test_the_numbers_of_an_explanation_raise_the_flag_again() -> None:
    world = World()
    world.judge("golden_wrong", times=14)
    (flagged,) = [one for one in told(world)["history"] if one["event"] == "AnnotatorFlagged"]
    minimum = DEFAULT_RULES.limits["golden"][1]
    assert rate_holds(flagged["against"], flagged["total"], flagged["limit_permille"], minimum)
    assert not rate_holds(flagged["against"] - 1, flagged["total"] - 1, flagged["limit_permille"], minimum)


def test_which_tasks_were_golden_is_not_told() -> None:
    world = World()
    world.judge("golden_wrong", times=14, submission="secret")
    found = told(world)
    assert "secret" not in orjson.dumps(found).decode()
    (flag,) = found["projects"][0]["flags"]
    assert flag["evidence"] == []
    assert all("evidence" not in one for one in found["history"])


@pytest.mark.parametrize("rule", ["rejection", "disagreement"])
def test_evidence_are_places_in_the_log_of_events(rule: str) -> None:
    world = World()
    world.judge({"rejection": "rejected", "disagreement": "disagreed"}[rule], times=12)
    (flag,) = told(world)["projects"][0]["flags"]
    assert [place["offset"] for place in flag["evidence"]] == [10 * number for number in range(1, 13)]


def test_nobody_is_explained_who_was_never_judged() -> None:
    assert Life("nobody").told() is None
