"""Event ids: the same cause, the same id; another cause, another; and the event's time in front."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.identity import derived_id, derived_stem, event_id
from schemas.words import EventId

IS_ID = TypeAdapter(EventId)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
PARTS = st.lists(st.one_of(st.text(), st.integers()), max_size=4)


@given(TIMES, PARTS)
def test_the_same_cause_has_the_same_id(time: datetime, parts: list[str | int]) -> None:
    id_ = event_id(time, *parts)
    assert id_ == event_id(time, *parts)
    assert IS_ID.validate_python(id_) == id_
    assert int(id_.replace("-", "")[:12], 16) == (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def test_ids_are_what_they_were() -> None:
    # A change here would make every file that was ever imported new again.
    assert event_id(datetime(2026, 1, 1, tzinfo=UTC), "sp", 1) == "019b76da-a800-7d75-bf16-f380ce8fb425"
    assert derived_id(derived_stem(1_767_225_600_000, "review", 2, 7), 1) == "019b76da-a800-7d39-9494-976618228b89"


def test_other_causes_have_other_ids() -> None:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    causes = [("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), (), ("",)]
    assert len({event_id(time, *parts) for parts in causes}) == len(causes) - 1
    places = [(name, partition, offset) for name in ("r", "s") for partition in (1, 11) for offset in (1, 11, 111)]
    stems = [derived_stem(0, *place) for place in places]
    assert len({derived_id(stem, index) for stem in stems for index in range(100)}) == 100 * len(places)


@pytest.mark.parametrize("time", [datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])
def test_no_id_before_1970(time: datetime) -> None:
    with pytest.raises(ValueError, match="no UUIDv7 holds"):
        event_id(time, "a")
    with pytest.raises(ValueError, match="no UUIDv7 holds"):
        derived_stem(1 << 48, "review", 0, 0)
