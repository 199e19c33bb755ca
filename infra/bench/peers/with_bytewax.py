"""The peer bytewax: rows in memory, snapshots of changed ones to its recovery store every second, facts by its sink."""

import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from infra.bench.peers.task import STATE_SECONDS, Task, Watch, fold_one, told
from streams.projection import restore, row_bytes
from streams.review import REVIEW

Snapshot = tuple[str, bytes] | None


class OneSubject(op.StatefulBatchLogic[Any, Any, Snapshot]):  # type: ignore[misc]  # not in Assay's environment
    """The row of one subject, packed only when bytewax takes a snapshot."""

    def __init__(self, resumed: Snapshot, task: Task, watch: Watch) -> None:
        self._state = restore(REVIEW, [] if resumed is None else [resumed])
        self._task = task
        self._watch = watch

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        out = []
        for message in values:
            self._watch.saw_the_last()
            for fact in fold_one(self._state, (message.partition, message.offset), message.value):
                out.append(KafkaSinkMessage(fact.key.encode(), fact.value, topic=self._task.output_of(fact)))
        return out, op.StatefulBatchLogic.RETAIN

    def snapshot(self) -> Snapshot:
        key = next(iter(self._state.rows), None)
        return None if key is None else (key, row_bytes(REVIEW, self._state, key))


def main(task: Task) -> None:
    watch = Watch(task.events)
    brokers = task.brokers.split(",")
    flow = Dataflow("review")
    events = op.input("events", flow, KafkaSource(brokers, [task.topic], tail=False, batch_size=4_000))
    keyed = op.key_on("subject", events, lambda message: message.key.decode())
    made = op.stateful_batch("fold", keyed, lambda resumed: OneSubject(resumed, task, watch))
    sink = KafkaSink(brokers, None, {"compression.type": "lz4"})
    op.output("facts", op.key_rm("unkeyed", made), sink)
    task.home.mkdir(parents=True)
    init_db_dir(task.home, 1)
    recovery = RecoveryConfig(str(task.home))
    cli_main(flow, epoch_interval=timedelta(seconds=STATE_SECONDS), recovery_config=recovery)
    watch.say()


if __name__ == "__main__":
    main(told(sys.argv[1:]))
