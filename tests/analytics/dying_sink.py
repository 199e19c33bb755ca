"""A sink in a process of its own that kills itself (SIGKILL) at its n-th write to the store, before or behind it."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from infra.clickhouse.engine import Embedded, open_store
from infra.clickhouse.sink import Limits, Sink
from infra.settings import Settings
from schemas.tables import SINK_TABLES, Table
from schemas.topics import Topic


class Dying(Sink):
    """Counts the writes that a crash can fall between: inserts and notes."""

    writes_left = 0
    behind = False

    def _insert_part(self, *arguments: Any) -> None:
        self._die_around(super()._insert_part, arguments)

    def _note(self, *arguments: Any) -> None:
        self._die_around(super()._note, arguments)

    def _die_around(self, write: Any, arguments: Any) -> None:
        self.writes_left -= 1
        if self.writes_left == 0 and not self.behind:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*arguments)
        if self.writes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(data_dir: str, kafka: str, topic: str, writes: str, when: str) -> None:
    store = open_store(Settings(data_dir=Path(data_dir)))
    assert isinstance(store, Embedded)
    events = SINK_TABLES[0]
    table = Table(events.name, events.help, events.columns, Topic(topic, "subject", "facts"))
    sink = Dying(store, kafka, Limits(rows=100, seconds=0.05), [table])
    sink.writes_left, sink.behind = int(writes), when == "behind"
    await sink.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
