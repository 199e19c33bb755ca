"""The peer quixstreams: rows in its RocksDB state with a changelog, facts by its producer, at least once."""

import sys
from typing import Any

from quixstreams import Application, message_context
from quixstreams.models import Serializer

from infra.bench.peers.task import STATE_SECONDS, Task, Watch, step, told
from streams.projection import Fact


class ValueOf(Serializer):  # type: ignore[misc]  # not in Assay's environment
    """A fact's bytes."""

    def __call__(self, fact: Fact, ctx: Any) -> bytes:
        return fact.value


def main(task: Task) -> None:
    watch = Watch(task.events)

    def count(*_: Any) -> None:
        if watch.saw_the_last():
            app.stop()

    app = Application(
        broker_address=task.brokers,
        consumer_group=task.prefix,
        auto_offset_reset="earliest",
        commit_interval=STATE_SECONDS,
        state_dir=task.home,
        producer_extra_config={"compression.type": "lz4"},
        on_message_processed=count,
        auto_create_topics=True,
        loglevel="WARNING",
    )
    source = app.topic(task.topic, key_deserializer="str", value_deserializer="bytes")
    outputs = {
        name: app.topic(name, key_serializer="str", value_serializer=ValueOf())  # facts carry their bytes
        for name in task.outputs
    }
    frame = app.dataframe(source).apply(_fold, stateful=True, expand=True, metadata=True)
    frame.to_topic(lambda fact, *_: outputs[task.output_of(fact)], key=lambda fact: fact.key)
    app.run()
    watch.say()


def _fold(value: bytes, key: str, timestamp: int, headers: Any, state: Any) -> list[Fact]:
    at = message_context()
    row, made = step(key, state.get_bytes("row"), (at.partition, at.offset), value)
    if row is not None:
        state.set_bytes("row", row)
    return made


if __name__ == "__main__":
    main(told(sys.argv[1:]))
