"""Topics of a test's own on the real broker, and the table that the sink fills from one."""

import uuid
from collections.abc import Iterable

import orjson
from aiokafka import AIOKafkaProducer

from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from schemas.tables import FACT_COLUMNS, QUARANTINE_TABLE, Table
from schemas.topics import Topic

PARTITIONS = 2


async def fresh_tables(kafka: str) -> tuple[Table, Table]:
    """The tables `events` and `quarantine`, fed from topics that nobody else uses."""
    name = uuid.uuid4().hex[:12]
    facts, quarantine = Topic(f"test.facts.{name}", "subject", "facts"), Topic(f"test.quarantine.{name}", "key", "bytes")
    await ensure_topics(kafka, Settings(kafka=Kafka(partitions=PARTITIONS)), [facts, quarantine])
    return Table("events", "facts", FACT_COLUMNS, facts), Table("quarantine", "bytes", QUARANTINE_TABLE.columns, quarantine)


async def produce(kafka: str, table: Table, values: Iterable[bytes | None], partition: int = 0) -> None:
    assert table.topic
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(
                table.topic.name, value, b"key", partition, timestamp_ms=1_700_000_000_000, headers=[("code", b"x")]
            )
            for value in values
        ]
        for delivery in sent:
            await delivery
    finally:
        await producer.stop()


def vote(number: int, month: int = 1) -> bytes:
    """One vote as a producer sends it; the same number is the same event."""
    time = f"2026-{month:02d}-03T10:11:12.{number % 1000:03d}Z"
    event = {"specversion": "1.0", "id": f"id-{number}", "type": "assay.VoteCast.v1", "source": "test", "time": time}
    return orjson.dumps({**event, "subject": f"s{number % 7}", "data": {"voter": f"v{number % 5}", "label": "good", "n": number}})


def nested(levels: int) -> bytes:
    """An event whose data are arrays in arrays."""
    return b'{"id":"a","type":"x","subject":"s","source":"t","time":"","data":%b%b}' % (levels * b"[", levels * b"]")


#: What nobody can fold, and what has to be counted all the same.
ODD = (
    b"", None, b"\xff\x00\xfe", b"{", b"[1]", b"null", b'"text"', b"{}", b'{"id":7,"type":[],"data":1}',
    b'{"id":"a","type":"x","subject":"s","source":"t","time":"yesterday","data":{"n":1.5}}',
    b'{"id":"a","type":"assay.VoteCast.v99999","subject":"s","source":"t","time":"1066-10-14T00:00:00Z","data":null}',
    b'{"id":"a\\u0000b","type":"assay.New.v2","subject":"\xc3\xbc","source":"t","time":"2026-01-31T23:59:59.999999Z","data":[]}',
    b'{"id":"a","type":"assay.New.v2","subject":"s","source":"t","time":"2026-01-31T23:59:59","data":"no zone"}',
    b'{"id":"a","type":"assay.New.v2","subject":"s","source":"t","time":"1950-01-01T00:00:00.001Z","data":{}}',
    b'{ "id": "a", "type": "x", "subject": "s", "source": "t", "time": "", "data": { "big" : 12345678901234567890123 } }',
    b'{"id":"\\ud800","type":"x","subject":"s","source":"t","time":"","data":{}}',
    b'{"id":"\xed\xa0\x80","type":"x","subject":"s","source":"t","time":"","data":{}}',
    nested(950), nested(2_000),
)  # fmt: skip
