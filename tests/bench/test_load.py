"""The load of the benchmarks is what it says: deterministic, a moving window, with edits and duplicates."""

from collections import Counter

from infra.bench.load import VOTERS, lines
from infra.bench.weights import STRETCH, estimates, skills


def test_the_same_seed_gives_the_same_bytes_and_a_shorter_load_is_a_beginning() -> None:
    assert list(lines(3_000, 100, 5))[:2_000] == list(lines(2_000, 100, 5))
    assert list(lines(100, 100, 5)) != list(lines(100, 100, 6))


def test_the_window_moves_and_holds_no_more_subjects_than_it_says() -> None:
    made = list(dict.fromkeys(lines(30_000, 200, 1)))  # without the duplicates, which come later
    first = {line[0]: number for number, line in reversed(list(enumerate(made)))}
    last = {line[0]: number for number, line in enumerate(made)}
    open_at = [sum(first[name] <= at <= last[name] for name in first) for at in (10_000, 20_000)]
    assert len(first) > 5_000
    assert all(100 <= count <= 200 for count in open_at)


def test_the_mix() -> None:
    made = list(lines(50_000, 500, 1))
    types = Counter(line[1].split(".")[1] for line in made)
    assert 0.25 < types["SubmissionReceived"] / len(made) < 0.32
    assert 0.005 < types["SubmissionEdited"] / len(made) < 0.015
    repeated = len(made) - len({line[2] for line in made})
    assert 0.007 < repeated / len(made) < 0.013
    assert len(set(made)) == len(made) - repeated


def test_uniform_keeps_to_its_subjects() -> None:
    made = Counter(line[0] for line in lines(20_000, 1_000, 1, uniform=True))
    assert len(made) == 1_000
    assert max(made.values()) < 50


def test_skills_of_the_voters_stand_before_every_stretch() -> None:
    assert [estimates(events) for events in (1, STRETCH, STRETCH + 1)] == [1, 1, 2]
    one, next_one = skills(1, seed=1), skills(2, seed=1)
    assert one.weights_milli_nats.keys() == {f"v-{number}" for number in range(VOTERS)}
    moved = [abs(one.weights_milli_nats[name][0] - next_one.weights_milli_nats[name][0]) for name in one.weights_milli_nats]
    assert 0 < max(moved) < 100
