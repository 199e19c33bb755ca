"""A sink that is killed at any of its writes loses nothing and doubles nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from infra.clickhouse import migrate
from schemas.tables import Table
from tests.analytics.broker import fresh_tables, produce, vote
from tests.analytics.conftest import embedded
from tests.analytics.test_sink import count, holds, sink_all
from tests.conftest import PARTITIONS

# Two months in each batch: a note, two inserts and a note; 350 votes are four such batches.
CRASHES = ((1, "behind"), (2, "behind"), (3, "behind"), (7, "before"))


async def test_killed_at_every_write_nothing_is_lost_or_doubled(kafka: str, tmp_path: Path) -> None:
    tables = await fresh_tables(kafka)
    with embedded(tmp_path) as store:
        migrate.up(store)
    for number, (writes, when) in enumerate(CRASHES):
        votes = [vote(350 * number + each, month=1 + each % 2) for each in range(350)]
        await produce(kafka, tables[0], votes, partition=number % PARTITIONS)
        died = await asyncio.to_thread(_crash, tmp_path, kafka, tables[0], writes, when)
        assert died == -signal.SIGKILL, f"{writes} {when}"
    with embedded(tmp_path) as store:
        partly = count(store, "count()")[0]
        assert 0 < partly < 350 * len(CRASHES)
        await sink_all(store, kafka, tables)
        assert count(store, "count(), uniqExact(event_id)") == (350 * len(CRASHES), 350 * len(CRASHES))
        assert await holds(store, kafka, tables)


def _crash(data_dir: Path, kafka: str, table: Table, writes: int, when: str) -> int:
    assert table.topic
    command = [sys.executable, "-m", "tests.analytics.dying_sink", str(data_dir), kafka, table.topic.name, str(writes), when]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False, timeout=60).returncode
