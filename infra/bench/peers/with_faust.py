"""The peer plain Faust: one event at a time into a Table with its changelog, facts by its producer, at least once."""

import asyncio
import os
import sys
from typing import Any

import faust

from infra.bench.peers.task import Task, Watch, step, told

RAW: dict[str, Any] = {"key_type": bytes, "key_serializer": "raw", "value_type": bytes, "value_serializer": "raw"}


def make(task: Task) -> faust.App:
    watch = Watch(task.events)
    app = faust.App(
        task.prefix,
        broker=f"kafka://{task.brokers}",
        store="memory://",
        datadir=task.home,
        autodiscover=False,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        topic_disable_leader=True,
        web_enabled=False,
    )
    events = app.topic(task.topic, **RAW)
    outputs = {name: app.topic(name, **RAW) for name in task.outputs}
    rows = app.Table("rows", partitions=task.partitions, key_type=bytes, value_type=bytes)
    sent: list[Any] = []

    @app.agent(events)
    async def fold(stream: Any) -> None:
        async for event in stream.events():
            last = watch.saw_the_last()
            key, message = event.key, event.message
            row, made = step(key.decode(), rows.get(key), (message.partition, message.offset), event.value)
            if row is not None:
                rows[key] = row
            for fact in made:
                sent.append(await outputs[task.output_of(fact)].send(key=fact.key.encode(), value=fact.value))
            if last:
                asyncio.get_running_loop().create_task(_end(app, watch, sent))

    return app


async def _end(app: faust.App, watch: Watch, sent: list[Any]) -> None:
    await asyncio.gather(*sent)
    await app.producer.flush()
    await app.consumer.commit()
    watch.say()
    os._exit(0)  # what Faust does on its way out is not measured


if __name__ == "__main__":
    faust.Worker(make(told(sys.argv[1:])), loglevel="error", quiet=True, redirect_stdouts=False).execute_from_commandline()
