"""Every record becomes one row, once: whatever stands in the log, whoever is killed, whatever is delivered again."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from infra.clickhouse.engine import Store
from infra.clickhouse.reconcile import reconcile
from infra.clickhouse.rows import Record
from infra.clickhouse.sink import Limits, Place, Sink
from infra.errors import AssayError
from schemas.tables import Table
from tests.analytics.broker import ODD, fresh_tables, produce, vote

QUICK = Limits(rows=100, seconds=0.05)
WAIT_SECONDS = 60


async def sink_all(store: Store, kafka: str, tables: Sequence[Table], limits: Limits = QUICK) -> Sink:
    """Run a sink until it has stored what stands in the log."""
    sink, stop = Sink(store, kafka, limits, tables), asyncio.Event()
    running = asyncio.create_task(sink.run(stop))
    async with asyncio.timeout(WAIT_SECONDS):
        while not running.done() and (not sink.started.is_set() or sink.lag):  # noqa: ASYNC110  # progress is a number
            await asyncio.sleep(0.02)
    stop.set()
    await running
    return sink


class Gated(Sink):
    """Inserts once the gate is open."""

    gate = threading.Event()

    def _insert(self, place: Place, records: list[Record], parts: list[Any]) -> None:
        self.gate.wait()
        super()._insert(place, records, parts)

    @property
    def held_bytes(self) -> int:
        return sum(place.held_bytes for place in self.places.values())


async def holds(store: Store, kafka: str, tables: Sequence[Table]) -> bool:
    client = store.client(store.database)
    return all(one.holds for one in await reconcile(kafka, client, 0, tables=tables))


def count(store: Store, what: str) -> Any:
    return store.client(store.database).query(f"SELECT {what} FROM events FINAL").first_row


async def test_facts_and_bytes_alike_are_stored_and_counted(any_store: Store, kafka: str) -> None:
    tables = await fresh_tables(kafka)
    facts, quarantine = tables
    await produce(kafka, facts, [vote(number) for number in range(250)], 0)
    await produce(kafka, facts, [vote(250), *ODD, vote(251)], 1)
    await produce(kafka, quarantine, [b"bytes", b"\xff", None], 0)
    sink = await sink_all(any_store, kafka, tables)
    status = sink.status()
    assert (status["lag"], status["rows"], status["buffered_rows"]) == (0, 255 + len(ODD), 0)
    assert {one["position"] for one in status["partitions"]} == {250, 2 + len(ODD), 3, 0}
    assert count(any_store, "count(), countIf(type = 'VoteCast')") == (252 + len(ODD), 252)
    assert await holds(any_store, kafka, tables)


async def test_a_stopped_sink_goes_on_where_it_was(any_store: Store, kafka: str) -> None:
    tables = await fresh_tables(kafka)
    for part in range(3):
        await produce(kafka, tables[0], [vote(number) for number in range(100 * part, 100 * part + 100)])
        sink = await sink_all(any_store, kafka, tables)
        assert sink.places[min(sink.places)].position == 100 * (part + 1)
    assert count(any_store, "count()") == (300,)
    assert await holds(any_store, kafka, tables)


async def test_overlapping_redelivery_counts_once(any_store: Store, kafka: str) -> None:
    """Ranges that overlap have other tokens, so it is the key that has to make one row of two."""
    tables = await fresh_tables(kafka)
    await produce(kafka, tables[0], [vote(number, month=1 + number % 2) for number in range(300)])
    await sink_all(any_store, kafka, tables)
    topic = tables[0].topic
    assert topic
    row = [[topic.name, 0, 37, 290, True]]
    any_store.client(any_store.database).insert(
        "sink_progress", row, column_names=["topic", "partition", "first", "next", "pending"]
    )
    sink = await sink_all(any_store, kafka, tables, Limits(rows=70, seconds=0.05))
    assert sink.status()["lag"] == 0
    assert count(any_store, "count(), uniqExact(event_id)") == (300, 300)
    assert await holds(any_store, kafka, tables)
    noted = any_store.client(any_store.database).query("SELECT pending FROM sink_progress FINAL").result_rows
    assert noted == [(False,)]


async def test_one_event_twice_in_the_log_is_two_rows_and_one_vote(any_store: Store, kafka: str) -> None:
    tables = await fresh_tables(kafka)
    await produce(kafka, tables[0], [vote(1), vote(2), vote(1)])
    await sink_all(any_store, kafka, tables)
    assert count(any_store, "count()") == (3,)
    assert any_store.client(any_store.database).query("SELECT count() FROM v_votes").first_row == (2,)
    assert await holds(any_store, kafka, tables)


async def test_another_log_than_before_is_refused(any_store: Store, kafka: str) -> None:
    tables = await fresh_tables(kafka)
    topic = tables[0].topic
    assert topic
    row = [[topic.name, 0, 5_000, "2026-01-01"]]
    any_store.client(any_store.database).insert("events", row, column_names=["topic", "partition", "offset", "time"])
    with pytest.raises(AssayError, match="ahead of the log"):
        await sink_all(any_store, kafka, tables)


class Stepwise(Sink):
    """A write ends when its partition's gate is opened."""

    def __init__(self, store: Store, limits: Limits) -> None:
        super().__init__(store, "nowhere", limits)
        self.gates = [asyncio.Event(), asyncio.Event()]

    async def _write(self, place: Place, stop: asyncio.Event) -> None:
        place.take()
        await self.gates[place.partition].wait()
        place.written()


async def test_a_small_write_that_ends_makes_no_room_to_read_more(any_store: Store) -> None:
    sink = Stepwise(any_store, Limits(buffered_bytes=1_000))
    for number, size in enumerate((100, 5_000)):
        waiting: list[Any] = ["a record"]
        at, table = TopicPartition("t", number), next(iter(sink.tables.values()))
        sink.places[at] = Place(table, "t", number, 0, 1, buffer=waiting, buffered_bytes=size)
    writing = asyncio.create_task(sink._write_due(asyncio.Event()))
    sink.gates[0].set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not writing.done()
    sink.gates[1].set()
    await writing


@pytest.mark.parametrize(("bound", "fills"), [(200_000, True), (1 << 30, False)])
async def test_while_an_insert_stalls_no_more_is_read_than_the_bound(
    any_store: Store, kafka: str, bound: int, fills: bool
) -> None:
    tables = await fresh_tables(kafka)
    await produce(kafka, tables[0], [vote(number) for number in range(3_000)])
    sink, stop = Gated(any_store, kafka, Limits(rows=100, seconds=0.05, buffered_bytes=bound), tables), asyncio.Event()
    sink.gate.clear()
    running = asyncio.create_task(sink.run(stop))
    seen = [0]
    while not seen[-1] or len(set(seen[-20:])) > 1:
        await asyncio.sleep(0.05)
        seen.append(sink.held_bytes)
    assert seen[-1] < bound + 100 * 1_000  # and the 100 rows, of less than a kilobyte each, that passed it
    assert (bound <= seen[-1]) is fills
    sink.gate.set()
    while sink.lag:  # noqa: ASYNC110  # progress is a number
        await asyncio.sleep(0.02)
    stop.set()
    await running
    assert await holds(any_store, kafka, tables)


async def test_a_missing_topic_is_named(any_store: Store, kafka: str) -> None:
    from schemas.topics import Topic

    table = Table("events", "", (), Topic("test.no-such-topic", "", ""))
    with pytest.raises(AssayError, match=r"a topic is missing; where: test\.no-such-topic"):
        await sink_all(any_store, kafka, [table])
