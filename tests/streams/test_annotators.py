"""Flags rise, stand, fall and expire by the rules of the policy; what is counted of people is exact."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import AnnotatorCleared, AnnotatorFlagged
from streams.annotators import ANNOTATORS_PROJECTION
from streams.projection import CONTROL_KEY, replay, restore, row_bytes, state_hash
from streams.tallies import MAX_GOLDEN, MAX_HOURS, Tally
from tests.streams.people import START_HOUR, World


def told(found: list[Any]) -> list[tuple[str, str]]:
    """("+", rule) of flags that rose, and (why, rule) of those that fell."""
    return [("+" if isinstance(one, AnnotatorFlagged) else one.reason, one.rule) for one in found]


# --- rates -------------------------------------------------------------------------------------


def test_a_writer_is_flagged_by_the_lower_bound_and_cleared_only_well_under_the_limit() -> None:
    world = World()
    assert world.judge("approved", times=4) + world.judge("rejected", times=6) == []
    (flag,) = world.judge("rejected")
    assert (flag.rule, flag.action, flag.against, flag.total, flag.limit_permille) == ("rejection", "notify", 7, 11, 350)
    assert flag.expires_hour == START_HOUR + 360
    assert told(world.judge("approved")) == [], "the lower bound is under .35, and not yet under .30"
    assert told(world.judge("approved")) == [("recovered", "rejection")]


def test_a_flag_cites_the_newest_judgements_against() -> None:
    world = World()
    world.judge("agreed", times=4)
    (flag,) = world.judge("disagreed", times=12)
    assert (flag.rule, flag.against, flag.total) == ("disagreement", 9, 13)
    assert [place.offset for place in flag.evidence] == [10 * number for number in range(5, 14)]


def test_few_judgements_flag_nobody() -> None:
    world = World()
    assert world.judge("rejected", times=4) == []
    assert world.judge("disagreed", times=9) == []
    assert world.judge("golden_wrong", times=9) == []
    assert told(world.judge("golden_wrong")) == [("+", "golden")]


def test_what_is_taken_back_no_longer_counts() -> None:
    world = World()
    world.judge("golden_right", times=6)
    assert told(world.judge("golden_wrong", times=8)) == [("+", "golden")]
    back: list[Any] = []
    for number in (7, 8, 9):
        back += world.judge("golden_wrong", change=-1, submission=f"s-{number}")
    assert told(back) == [("recovered", "golden")]
    assert world.tally().golden_confusion == {"good": {"good": 6}, "bad": {"good": 5}}
    assert [one[0] for one in world.tally().golden][6:] == ["s-10", "s-11", "s-12", "s-13", "s-14"]


def test_comparisons_are_tallied_and_flagged_apart() -> None:
    world = World()
    (flag,) = world.judge("golden_wrong", times=10, task="preference")
    assert (flag.task, flag.project, flag.rule) == ("preference", "p", "golden")
    assert list(world.state.rows["anna"].projects) == ["p/preference"]
    assert world.judge("golden_right", times=5) == []


# --- expiry and policy -------------------------------------------------------------------------


def test_an_expired_flag_rises_again_only_for_what_came_after() -> None:
    world = World()
    assert told(world.judge("golden_wrong", times=12)) == [("+", "golden")]
    assert world.tick(359) == []
    assert told(world.tick(360)) == [("expired", "golden")]
    assert world.judge("golden_wrong", times=9) == [], "nine are too few, whatever was before"
    late = world.judge("golden_wrong", hour=START_HOUR + 1)
    assert late == [], "a vote of before, judged late, is of before"
    (again,) = world.judge("golden_wrong")
    assert (again.against, again.total, again.expires_hour) == (10, 10, START_HOUR + 720)


def test_taking_back_what_was_before_an_expiry_does_not_touch_what_came_after() -> None:
    world = World()
    world.judge("golden_wrong", times=12)
    world.tick(360)
    world.judge("golden_wrong", times=4)
    world.judge("golden_wrong", change=-1, submission="s-3", hour=START_HOUR)
    assert world.tally().since["golden"] == [START_HOUR + 360, 4, 4]
    world.judge("golden_wrong", change=-1, submission="s-14")
    assert world.tally().since["golden"] == [START_HOUR + 360, 3, 3]


def test_a_flag_of_a_policy_without_expiry_stays() -> None:
    world = World()
    world.policy(1, flag_hours=0)
    (flag,) = world.judge("golden_wrong", times=10)
    assert flag.expires_hour is None
    assert world.tick(9_000) == []


def test_a_policy_raises_clears_and_changes_what_flags_lead_to() -> None:
    world = World()
    world.judge("rejected", times=6)
    world.judge("rejected", "ben", times=4)
    world.judge("disagreed", "ben", times=11)
    (changed,) = world.policy(1, rejection_action="restrict")
    assert (changed.rule, changed.action, changed.expires_hour) == ("rejection", "restrict", START_HOUR + 360)
    assert told(world.policy(2, rejection_min_decided=3, rejection_action="restrict")) == [("+", "rejection")]
    assert told(world.policy(3, rejection_limit_permille=990, disagreement_limit_permille=990)) == [
        ("policy", "rejection"),
        ("policy", "rejection"),
        ("policy", "disagreement"),
    ]
    assert world.policy(3) == [], "an older or equal version changes nothing"


# --- windows -----------------------------------------------------------------------------------


def test_one_and_the_same_answer_is_flagged_unless_it_is_right() -> None:
    world = World()
    assert world.judge("agreed", times=40) == [], "always good, and always right"
    ben = world.judge("agreed", "ben", times=15) + world.judge("disagreed", "ben", times=5)
    assert told(ben) == [("+", "constant")]
    assert (ben[0].against, ben[0].total, len(ben[0].evidence)) == (20, 20, 20)
    varied = world.judge("agreed", "ben", label="bad", truth="bad")
    assert varied == [], "19 of 20 are still constant"
    assert told(world.judge("agreed", "ben", label="bad", truth="bad", times=2)) == [("recovered", "constant")]


def test_hurry_says_something_only_beside_another_flag() -> None:
    world = World()
    world.pace(1, 20_000)
    assert world.judge("disagreed", times=9, duration_milliseconds=3_999) == []
    assert told(world.judge("disagreed", times=1, duration_milliseconds=3_999)) == [("+", "disagreement")]
    assert world.judge("disagreed", times=5, duration_milliseconds=4_000) == []
    flags = world.judge("disagreed", times=5, duration_milliseconds=1_999)
    assert told(flags) == [("+", "hurry"), ("+", "constant")] or set(told(flags)) == {("+", "constant"), ("+", "hurry")}
    hurry = next(flag for flag in flags if flag.rule == "hurry")
    assert (hurry.against, hurry.total, hurry.action) == (15, 20, "deprioritise")
    assert told(world.pace(2, 9_000)) == [], "a fifth of nine seconds, and the floor of two still catches five of twenty"
    assert told(world.policy(1, hurry_floor_milliseconds=0)) == [("policy", "hurry")]


def test_untimed_votes_are_not_fast() -> None:
    world = World()
    assert set(told(world.judge("disagreed", times=30))) == {("+", "disagreement"), ("+", "constant")}


# --- two people --------------------------------------------------------------------------------


def test_voting_alike_is_flagged_and_cleared_by_a_newer_measurement() -> None:
    world = World()
    assert world.likeness(1, 400, 452) == [], "nobody was judged yet"
    world.judge("agreed")
    (flag,) = world.likeness(1, 400, 452)
    assert (flag.rule, flag.other, flag.against, flag.total, flag.subjects) == ("copying", "ben", 400, 452, ("s-1", "s-2"))
    assert world.likeness(1, 230, 452) == [], "the same version is no news"
    assert told(world.likeness(2, 230, 452)) == [("recovered", "copying")]


@pytest.mark.parametrize(
    ("same", "shared", "bound", "flagged"),
    [(19, 19, 1_000, False), (36, 36, 1_000, False), (37, 37, 1_000, True), (37, 37, 6_100, False)],
)
def test_likeness_needs_shared_work_and_more_than_chance_brings(same: int, shared: int, bound: int, flagged: bool) -> None:
    """All of n shared alike at even odds is z = sqrt(n): at 36 not over 6, at 37 over it."""
    world = World()
    world.judge("agreed")
    assert bool(world.likeness(1, same, shared, bound_milli=bound)) == flagged


def test_after_an_expiry_only_what_both_judged_since_counts() -> None:
    world = World()
    world.judge("agreed")
    world.likeness(1, 100, 100)
    assert told(world.tick(360)) == [("expired", "copying")]
    assert world.likeness(2, 119, 119) == []
    assert world.likeness(3, 130, 140) == [], "30 of 40 alike is z = 3.2"
    assert told(world.likeness(4, 150, 150)) == [("+", "copying")]


# --- counting ----------------------------------------------------------------------------------

OUTCOMES = ("submitted", "approved", "rejected", "agreed", "disagreed", "credited", "golden_right", "golden_wrong")
PEOPLE = ("anna", "ben")
SAYINGS = st.tuples(
    st.sampled_from(PEOPLE),
    st.sampled_from(OUTCOMES),
    st.sampled_from(["good", "bad"]),
    st.sampled_from([None, {"good": 700, "bad": 300}, {"good": 1_000}]),
    st.sampled_from([None, 900, 5_000]),
    st.integers(-3, 3),
)
#: What is said, and whether it is taken back later.
LIVES = st.lists(st.tuples(SAYINGS, st.booleans(), st.integers(0, 40)), max_size=20)


def say(world: World, number: int, saying: Any, change: int) -> None:
    person, outcome, label, credits, milliseconds, hours = saying
    about: dict[str, Any] = {"submission": f"s-{number}", "change": change, "hour": START_HOUR + hours}
    if outcome in ("agreed", "disagreed", "credited", "golden_right", "golden_wrong"):
        about |= {"label": label, "credits_permille": credits, "duration_milliseconds": milliseconds}
    world.judge(outcome, person, **about)


def lived(lives: list[Any], with_undone: bool) -> World:
    """All that was said, each undone so many sayings later; or only what was not undone."""
    world = World()
    undone: list[tuple[int, int, Any]] = []
    for number, (saying, is_undone, after) in enumerate(lives):
        if not is_undone or with_undone:
            say(world, number, saying, 1)
        if is_undone:
            undone.append((number + after, number, saying))
        for due in [one for one in undone if one[0] <= number and with_undone]:
            say(world, due[1], due[2], -1)
            undone.remove(due)
    for _, number, saying in undone if with_undone else ():
        say(world, number, saying, -1)
    return world


def counted(tally: Tally) -> Any:
    """All that is counted, without where it was read."""
    windows = [[one[:7] for one in window] for window in (tally.texts, tally.votes, tally.golden)]
    hours = sorted(tally.hours.values())
    return tally.counts, hours, tally.confusion, tally.golden_confusion, windows, tally.labels, tally.since


@given(lives=LIVES)
def test_taking_back_equals_never_having_said(lives: list[Any]) -> None:
    said, never = lived(lives, with_undone=True), lived(lives, with_undone=False)
    nothing = Tally()
    for person in PEOPLE:
        tallies = [world.state.rows[person].projects["p"] if person in world.state.rows else nothing for world in (said, never)]
        assert counted(tallies[0]) == counted(tallies[1])


@given(
    lives=LIVES, cut=st.integers(0, 40), controls=st.lists(st.sampled_from(["policy", "pace", "tick", "likeness"]), max_size=4)
)
def test_rows_come_back_as_they_were_stored(lives: list[Any], cut: int, controls: list[str]) -> None:
    world = lived(lives, with_undone=True)
    for version, control in enumerate(controls, 1):
        match control:
            case "policy":
                world.policy(version, rejection_min_decided=3, golden_min_seen=3, recent_votes=5 + version)
            case "pace":
                world.pace(version, 9_000)
            case "tick":
                world.tick(200 * version)
            case _:
                world.likeness(version, 50, 50)
    log = world.log
    state = replay(ANNOTATORS_PROJECTION, log[:cut])
    keys = [*state.rows, CONTROL_KEY]
    state = restore(ANNOTATORS_PROJECTION, [(key, row_bytes(ANNOTATORS_PROJECTION, state, key)) for key in keys])
    for record in log[cut:]:
        state = ANNOTATORS_PROJECTION.apply(state, record).state
    assert state_hash(ANNOTATORS_PROJECTION, state) == state_hash(ANNOTATORS_PROJECTION, world.state)


def test_windows_and_hours_are_bounded() -> None:
    world = World()
    for hour in range(0, MAX_HOURS + 30):
        world.hour = hour
        world.judge("agreed")
        world.judge("golden_right")
        world.judge("approved")
    tally = world.tally()
    assert (len(tally.votes), len(tally.labels), len(tally.texts), len(tally.golden)) == (20, 20, 20, MAX_GOLDEN)
    assert (len(tally.hours), min(tally.hours)) == (MAX_HOURS, START_HOUR + 30)
    world.judge("agreed", hour=START_HOUR + 5, change=-1, submission="s-16")
    assert min(tally.hours) == START_HOUR + 30, "an hour that is no longer kept does not come back below nothing"
    assert tally.counts["agreed"] == MAX_HOURS + 29


def test_a_smaller_window_is_smaller_at_once() -> None:
    world = World()
    world.judge("disagreed", times=20)
    world.policy(1, recent_votes=5)
    assert [one[0] for one in world.tally().votes] == [f"s-{number}" for number in range(16, 21)]


def test_cleared_flags_say_by_what_counts() -> None:
    world = World()
    world.judge("golden_wrong", times=10)
    (cleared,) = world.tick(360)
    assert isinstance(cleared, AnnotatorCleared)
    assert (cleared.against, cleared.total, cleared.limit_permille, cleared.task) == (10, 10, 300, "review")


def test_a_flag_of_the_last_hours_there_are_expires_in_the_last() -> None:
    world = World()
    world.hour = 10_000_000 - START_HOUR
    (flag,) = world.judge("golden_wrong", times=10)
    assert flag.expires_hour == 10_000_000
