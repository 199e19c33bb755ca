"""The comparison finds what is planted: a loss, a double, a stranger and an altered row."""

import zlib

import pytest

from infra.clickhouse.engine import Store
from infra.clickhouse.reconcile import Partition, reconcile
from infra.clickhouse.rows import checksum, checksum_sql, rows_of
from schemas.tables import SINK_TABLES, Table
from schemas.topics import EVENTS
from tests.analytics.broker import ODD, fresh_tables, nested, produce, vote
from tests.analytics.logs import Log, Record
from tests.analytics.test_sink import sink_all

COLUMNS = "topic, partition, offset, event_id, type, version, subject, time, source, data"


async def compared(store: Store, kafka: str, table: Table) -> tuple[Partition, ...]:
    return await reconcile(kafka, store.client(store.database), 0, tables=[table])


@pytest.fixture
async def table(store: Store, kafka: str) -> Table:
    facts, _ = await fresh_tables(kafka)
    await produce(kafka, facts, [vote(number) for number in range(50)])
    await sink_all(store, kafka, [facts])
    assert all(one.holds for one in await compared(store, kafka, facts))
    return facts


PLANTED = {
    "a loss": "DELETE FROM events WHERE offset = 7",
    "the last one lost": "DELETE FROM events WHERE offset = 49",
    "a stranger behind the end": f"INSERT INTO events ({COLUMNS}) SELECT * REPLACE (offset + 500 AS offset) FROM one",
    "a double on another partition": f"INSERT INTO events ({COLUMNS}) SELECT * REPLACE (partition + 1 AS partition) FROM one",
    "a double under another topic": f"INSERT INTO events ({COLUMNS}) SELECT * REPLACE ('other' AS topic) FROM one",
    "a loss and a double": "ALTER TABLE events UPDATE data = (SELECT any(data) FROM one), event_id = 'id-7' WHERE offset = 8",
    "altered data": "ALTER TABLE events UPDATE data = replaceOne(data, 'good', 'bad ') WHERE offset = 7",
    "altered time": f"INSERT INTO events ({COLUMNS}) SELECT * REPLACE (addMilliseconds(time, 1) AS time) FROM one",
}


@pytest.mark.parametrize("statement", PLANTED.values(), ids=PLANTED)
async def test_what_is_planted_is_found(store: Store, kafka: str, table: Table, statement: str) -> None:
    client = store.client(store.database)
    one = f"(SELECT {COLUMNS} FROM events WHERE offset = 7)"
    client.command(statement.replace("FROM one", f"FROM {one}"), settings={"mutations_sync": 2})
    assert not all(each.holds for each in await compared(store, kafka, table))


async def test_a_row_stored_twice_alike_is_no_difference(store: Store, kafka: str, table: Table) -> None:
    client = store.client(store.database)
    client.command(f"INSERT INTO events ({COLUMNS}) SELECT {COLUMNS} FROM events", settings={"insert_deduplicate": 0})
    assert all(each.holds for each in await compared(store, kafka, table))


def test_both_sides_compute_the_same_checksum_of_anything(store: Store) -> None:
    log, events = Log(), SINK_TABLES[0]
    for value in (*ODD, vote(1), vote(2, month=12)):
        log.append(EVENTS, value)
    log.store(store)
    asked = f"SELECT {checksum_sql(events)} FROM events FINAL"
    assert store.client(store.database).query(asked).first_row == (checksum(0, rows_of(events, log.records[EVENTS])),)


def test_contents_that_change_places_change_the_checksum() -> None:
    """They would not with a CRC, whose xor over rows of one length does not see it."""
    first, second = (b'{"id":"a"}', b'{"id":"b"}')
    events = SINK_TABLES[0]

    def total(*values: bytes) -> int:
        return checksum(0, rows_of(events, [Record(number, value) for number, value in enumerate(values)]))

    assert total(first, second) != total(second, first)
    assert zlib.crc32(b"0" + first) ^ zlib.crc32(b"1" + second) == zlib.crc32(b"0" + second) ^ zlib.crc32(b"1" + first)


def test_a_row_does_not_depend_on_how_deep_its_maker_stands() -> None:
    def made(frames: int) -> object:
        return made(frames - 1) if frames else rows_of(SINK_TABLES[0], [Record(0, nested(950))])._replace(time=None)

    assert made(0) == made(500)


def test_data_are_kept_as_they_were_sent() -> None:
    data = b'{ "n": 123456789012345678901234567890, "f":1e2 }'
    (kept,) = rows_of(SINK_TABLES[0], [Record(0, vote(1).replace(b'"data":{', b'"data":%b,"was":{' % data))]).data
    assert kept == data
