"""What is read of people: ranked by what is sure, and without what would tell a golden answer."""

import orjson

from streams.people import Person, detail, person, summary
from streams.rules import DEFAULT_RULES
from tests.streams.people import START_HOUR, World


def read(world: World, name: str = "anna") -> Person:
    return person(name, "p", world.tally(name), world.state.control.get("p", DEFAULT_RULES))


def test_few_counts_rank_under_many() -> None:
    world = World()
    world.judge("rejected", "new")
    world.judge("rejected", "old", times=40)
    world.judge("approved", "old", times=60)
    assert read(world, "new").over_limit() < read(world, "old").over_limit()


def test_a_summary_has_counts_intervals_and_what_flags_lead_to() -> None:
    world = World()
    world.judge("golden_wrong", times=10)
    world.judge("agreed", duration_milliseconds=3_000)
    world.judge("agreed", duration_milliseconds=6_000)
    said = summary(read(world))
    assert (said["state"], said["flags"], said["worst"]) == ("restricted", ["golden"], "golden")
    assert said["golden"] == {
        "against": 10, "total": 10, "rate": 1.0, "low": 0.7225, "high": 1.0, "limit": 0.3, "minimum": 10
    }  # fmt: skip
    assert said["over_limit"] == 2.408
    assert (said["seconds_per_vote"], said["timed_votes"]) == (4.5, 2)
    assert said["rejection"]["rate"] is None


def test_nothing_tells_a_golden_answer() -> None:
    """Neither its subject nor the place of the vote on it, whatever flag it led to."""
    world = World()
    world.judge("golden_wrong", times=12, submission="secret")
    said = detail(read(world))
    assert b"secret" not in orjson.dumps(said)
    (flag,) = said["flags"]
    assert (flag["rule"], flag["evidence"]) == ("golden", [])


def test_a_detail_cites_records_and_says_when_a_flag_goes() -> None:
    world = World()
    world.policy(7, disagreement_action="restrict", flag_hours=10)
    world.judge("disagreed", times=12, credits_permille={"good": 250, "bad": 750})
    said = detail(read(world))
    (flag,) = said["flags"]
    assert (flag["action"], flag["raised_ms"]) == ("restrict", START_HOUR * 3_600_000)
    assert flag["expires_ms"] - flag["raised_ms"] == 36_000_000
    assert flag["evidence"][-1] == {"partition": 0, "offset": 120}
    assert said["policy_version"] == 7
    assert said["confusion_permille"] == {"bad": {"good": 1_000}, "good": {"good": 1_000}}
    assert said["confusion_votes"] == {"bad": 9.0, "good": 3.0}
    assert said["recent"]["disagreement"] == [12, 12]


def test_likeness_says_whether_habits_explain_it() -> None:
    world = World()
    world.judge("agreed")
    world.likeness(1, 400, 452, habits_z_milli=1_000)
    (alike,) = detail(read(world))["alike"]
    assert (alike["other"], alike["same"], alike["explained"]) == ("ben", 400, True)
