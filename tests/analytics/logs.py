"""Records as a consumer hands them out, made of real events; partitions that remember their next offset."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.clickhouse.engine import Store
from infra.clickhouse.rows import arrow, by_month, rows_of
from schemas.catalogue import EVENT_OF, TYPE_OF
from schemas.identity import event_id
from schemas.tables import SINK_TABLES
from schemas.topics import Topic
from schemas.wire import encode
from schemas.words import Frozen, Origin

START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Record:
    """What the sink reads of aiokafka's ConsumerRecord."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def serialized_value_size(self) -> int:
        return len(self.value or b"")


@dataclass
class Log:
    """Some topics of one partition; every event is an hour after the one before."""

    records: dict[Topic, list[Record]] = field(default_factory=dict)

    def add(self, topic: Topic, subject: str, data: Frozen, id_: str = "") -> str:
        count = sum(len(records) for records in self.records.values())
        time = START + timedelta(hours=count)
        made: Any = EVENT_OF[type(data)]
        id_ = id_ or event_id(time, "test", count)
        event = made(id=id_, type=TYPE_OF[type(data)], source="test", subject=subject, time=time, data=data)
        self.append(topic, encode(event), subject.encode())
        return id_

    def append(self, topic: Topic, value: bytes | None, key: bytes | None = None, headers: Any = ()) -> None:
        records = self.records.setdefault(topic, [])
        records.append(Record(len(records), value, key, headers=headers))

    def origin(self, topic: Topic) -> Origin:
        """The place of the topic's newest record."""
        return Origin(partition=0, offset=len(self.records[topic]) - 1, index=0)

    def store(self, store: Store) -> None:
        """Every record as rows of the store, inserted as the sink inserts them."""
        client = store.client(store.database)
        for table in SINK_TABLES:
            if table.topic and (records := self.records.get(table.topic)):
                rows = rows_of(table, records)
                for part in by_month(rows, arrow(table.topic.name, 0, rows)):
                    # Without the engine's own deduplication, so that the views have to do theirs.
                    client.insert_arrow(f"{store.database}.{table.name}", part, settings={"insert_deduplicate": 0})
