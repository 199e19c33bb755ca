"""Agents as a user of plain Faust writes them, one for each trap: `faust -A tests.agents.plain_faust worker`."""

import asyncio
import os
from pathlib import Path
from typing import Any

import faust

app = faust.App(
    os.environ["PLAIN_APP"],
    broker=f"kafka://{os.environ['PLAIN_BROKERS']}",
    datadir=os.environ["PLAIN_HOME"],
    store="memory://",
    topic_partitions=1,
    value_serializer="raw",
    broker_commit_interval=float(os.environ["PLAIN_COMMIT_SECONDS"]),
    stream_wait_empty=False,
    # The least that a broker allows: so long a killed worker holds its partitions.
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    web_enabled=False,
)

counted = app.topic(f"{app.conf.id}-counted")
failing = app.topic(f"{app.conf.id}-failing")
taken = app.topic(f"{app.conf.id}-taken")
overtaken = app.topic(f"{app.conf.id}-overtaken")

counts = app.Table("counts", default=int, partitions=1)


def tell(name: str, what: object) -> None:
    with (Path(os.environ["PLAIN_HOME"]) / name).open("a") as said:
        said.write(f"{what}\n")


@app.agent(counted)
async def count(stream: Any) -> None:
    """Counts each event in a Table."""
    async for _ in stream:
        counts["events"] += 1
        tell("counted", counts["events"])


@app.agent(failing)
async def fail(stream: Any) -> None:
    """Handles no event."""
    async for value in stream:
        tell("failing", value)
        raise RuntimeError("planted")


@app.agent(taken)
async def take(stream: Any) -> None:
    """Handles no batch."""
    # In time for any machine: its events are there before it starts.
    async for batch in stream.take(10, within=60.0):
        tell("taken", len(batch))
        raise RuntimeError("planted")


@app.agent(overtaken, concurrency=2)
async def overtake(stream: Any) -> None:
    """Never finishes the first event."""
    async for value in stream:
        if value == b"0":
            await asyncio.Event().wait()
        tell("overtaken", value)
