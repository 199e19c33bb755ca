"""What every history must do, as tests: the same class runs on Kafka, on an archive, and on an archive with Kafka behind it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import pytest

from infra.errors import AssayError
from infra.history.source import Headers, History, Raw
from tests.streams.histories import event_bytes


class Written(NamedTuple):
    """A record as it is written."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class World(Protocol):
    """Makes a history of a new topic that holds these records, by partition; the topic's name comes with it."""

    async def holding(self, *partitions: Sequence[Written]) -> tuple[str, History]: ...


def event(number: int, timestamp: int | None = None) -> Written:
    value = event_bytes(("vote", f"s-{number}", "anna", "good", 1), number)
    return Written(number if timestamp is None else timestamp, b"s-%d" % number, value, (("ce_id", b"%d" % number),))


EVENTS = tuple(event(number) for number in range(25))
#: What may stand in a log besides: no key, no value, an empty one, headers without a value, and what is no event.
ODD = (
    Written(5, None, b"no json", ()),
    Written(3, b"", b"", (("a", None), ("a", b""), ("b", bytes(range(256))))),
    Written(3, b"key", None, ()),
    event(7, 2),
    Written(2**40, b"\xff\x00", b'{"type": "assay.VoteCast.v9"}', (("\u00e4", b"x"),)),
    event(8, 1),
)


async def written(history: History, topic: str, end: int, start: int = 0) -> list[tuple[int, Written]]:
    found: list[Raw] = [raw async for batch in history.raw(topic, 0, end, start) for raw in batch]
    return [(raw.offset, Written(raw.timestamp, raw.key, raw.value, tuple(raw.headers))) for raw in found]


class HistoryContract:
    """Subclasses say which history by a fixture `world`."""

    async def test_ends_are_those_of_every_partition(self, world: World) -> None:
        topic, history = await world.holding(EVENTS[:3], (), EVENTS[3:5])
        assert await history.ends(topic) == {(topic, 0): 3, (topic, 1): 0, (topic, 2): 2}

    async def test_records_come_back_as_they_were_written(self, world: World) -> None:
        topic, history = await world.holding(ODD)
        assert await written(history, topic, len(ODD)) == list(enumerate(ODD))

    @pytest.mark.parametrize(("start", "end"), [(0, 25), (0, 0), (3, 4), (7, 19), (24, 25), (12, 12), (9, 3)])
    async def test_what_is_asked_for_and_nothing_else(self, world: World, start: int, end: int) -> None:
        topic, history = await world.holding(EVENTS)
        wanted = list(range(start, end))
        assert await written(history, topic, end, start) == [(at, EVENTS[at]) for at in wanted]
        assert [record.offset async for record in history.records(topic, 0, end, start)] == wanted
        stretches = [stretch async for stretch in history.stretches(topic, 0, end, start)]
        assert [offset for stretch in stretches for offset in stretch.offsets] == wanted
        assert [value for stretch in stretches for value in stretch.values] == [EVENTS[at].value for at in wanted]

    async def test_what_is_no_event_is_left_out_of_records(self, world: World) -> None:
        topic, history = await world.holding(ODD)
        found = [record async for record in history.records(topic, 0, len(ODD))]
        assert [(record.partition, record.offset, record.event.subject) for record in found] == [(0, 3, "s-7"), (0, 5, "s-8")]

    async def test_what_is_too_new_can_be_told(self, world: World) -> None:
        topic, history = await world.holding(ODD)
        with pytest.raises(AssayError, match=rf"a later version of Assay wrote this; where: {topic}/0@4"):
            [record async for record in history.records(topic, 0, len(ODD), too_new="stop")]

    async def test_a_time_leads_to_the_first_record_that_is_not_older(self, world: World) -> None:
        times = [10, 30, 20, 40, 40, 50]
        topic, history = await world.holding([event(number, time) for number, time in enumerate(times)], [])
        found = [await history.offset_at(topic, 0, time) for time in (0, 10, 11, 25, 31, 40, 50, 51)]
        assert found == [0, 0, 1, 1, 3, 3, 5, 6]
        assert await history.offset_at(topic, 1, 10) == 0
