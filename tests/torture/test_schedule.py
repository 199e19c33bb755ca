"""The seed says what is written and which fault strikes whom after which event."""

from collections import Counter
from itertools import chain, islice

import pytest

from infra.torture.load import Load, Sent, Shape
from infra.torture.schedule import BROKER, GUEST, SECONDS, SHARES, SINK, schedule, worker_name
from schemas.wire import Undecodable, decode

SHAPE = Shape(events=20_000, keys=1_000, partitions=4, seed=3)


def written(shape: Shape) -> list[Sent]:
    return list(chain.from_iterable(Load(shape)))


def test_equal_seeds_give_equal_schedules_and_others_do_not() -> None:
    assert schedule(100, 1_000_000, 3, seed=5) == schedule(100, 1_000_000, 3, seed=5)
    assert schedule(100, 1_000_000, 3, seed=5) != schedule(100, 1_000_000, 3, seed=6)


@pytest.mark.parametrize("seed", range(5))
def test_faults_are_of_every_kind_and_spread_over_the_load(seed: int) -> None:
    faults = schedule(100, 1_000_000, 3, seed)
    assert Counter(fault.kind for fault in faults) == {kind: 5 * share for kind, share in SHARES.items()}
    assert {fault.target for fault in faults} == {SINK, BROKER, GUEST, *map(worker_name, (1, 2, 3))}
    assert list(faults) == sorted(faults, key=lambda fault: fault.after_event)
    tenths = Counter(fault.after_event // 100_000 for fault in faults)
    assert sorted(tenths) == list(range(10))
    for fault in faults:
        low, high = SECONDS.get(fault.kind, (0, 0))
        assert low <= fault.seconds <= high


def test_equal_seeds_write_equal_bytes_and_others_do_not() -> None:
    assert written(SHAPE) == written(SHAPE)
    assert written(SHAPE)[:100] != written(SHAPE._replace(seed=4))[:100]


def test_a_load_has_every_mess_and_says_which_of_it_is_poison() -> None:
    sent = written(SHAPE)
    times = [one.time_ms for one in sent]
    assert times != sorted(times)
    assert max(Counter((one.key, one.value) for one in sent if one.value).values()) > 1
    codes = Counter(_code(one.value) for one in sent)
    assert {"not_json", "invalid", "too_new", "unknown_type"} <= codes.keys()
    assert [one for one in sent if _code(one.value) != one.poison] == []
    kinds = {decode(one.value).type.split(".")[1] for one in sent if one.value and not one.poison}
    assert len(kinds) == 13, kinds


def test_the_number_of_events_and_keys_is_as_asked() -> None:
    events = list(Load(SHAPE))
    received = {one.key for event in events for one in event if b"SubmissionReceived" in (one.value or b"")}
    assert (len(events), len(received)) == (SHAPE.events, SHAPE.keys)
    assert len(list(islice(Load(SHAPE), 5))) == 5


def _code(value: bytes | None) -> str:
    try:
        decode(value)  # type: ignore[arg-type]
    except Undecodable as error:
        return error.code
    return ""
