"""The batch consumer inside a real Faust app, fed with fetched records: what is committed, and when."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.app import create_app
from agents.settings import WorkerSettings
from agents.transport import BatchConsumer
from schemas.topics import EVENTS

ONE, TWO = TP(EVENTS.name, 0), TP(EVENTS.name, 1)
Fetched = dict[TP, list[ConsumerRecord]]


class Fed(BatchConsumer):
    """A batch consumer that is handed what it would fetch."""

    #: The generation of a rebalance that comes while it fetches.
    overtaken_by: int | None = None
    sought = 0

    def feed(self, fetched: Fetched) -> None:
        self.fetched = fetched

    async def _wait_next_records(self, timeout: float) -> tuple[Fetched, set[TP]]:
        if self.overtaken_by is not None:
            self.app.consumer_generation_id = self.overtaken_by
        return self.fetched, self._get_active_partitions()

    def highwater(self, tp: TP) -> int:
        return 1_000

    async def seek_to_committed(self) -> dict[TP, int]:
        self.sought += 1
        return {}


FedT = TypeVar("FedT", bound=Fed)


def record(tp: TP, offset: int) -> ConsumerRecord:
    return ConsumerRecord(tp.topic, tp.partition, offset, 1_000, 0, b"key", b"value", None, 3, 5, ())


async def nothing(*_: Any) -> None:
    """The app's own part in a rebalance, which starts and stops what does not run here."""


@pytest.fixture
async def consumer(tmp_path: Path) -> AsyncIterator[Fed]:
    async with in_app(Fed, tmp_path) as made:
        yield made


@asynccontextmanager
async def in_app(kind: type[FedT], home: Path) -> AsyncIterator[FedT]:
    """A consumer of this kind that has been given both partitions, in generation 1."""
    app = create_app(WorkerSettings(data_dir=home, agents="review"))
    app.topics._acking_topics.add(EVENTS.name)
    made = kind(app.transport, callback=nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing)
    app.consumer = made
    await assign(made, {ONE, TWO}, 1)
    yield made
    made._thread.thread_loop.close()  # opened for a thread that nobody started


async def assign(consumer: Fed, partitions: set[TP], generation: int) -> None:
    consumer.app.consumer_generation_id = generation
    await consumer.on_partitions_assigned(partitions, generation)


async def fetch(consumer: Fed, *offsets: int, tp: TP = ONE) -> Any:
    """The one message that a batch with these offsets becomes."""
    consumer.feed({tp: [record(tp, offset) for offset in offsets]})
    ((found, message),) = [pair async for pair in consumer.getmany(1.0)]
    assert found == tp
    consumer.track_message(message)
    return message


def committable(consumer: Fed) -> dict[TP, int]:
    return consumer._filter_committable_offsets([ONE, TWO])


async def test_a_batch_is_one_message_and_commits_with_its_last_offset(consumer: Fed) -> None:
    message = await fetch(consumer, 10, 11, 12)
    assert [one.offset for one in message.value] == [10, 11, 12]
    assert committable(consumer) == {}
    assert consumer.ack(message)
    assert committable(consumer) == {ONE: 13}
    assert committable(consumer) == {}


async def test_batches_commit_in_order_however_they_are_acknowledged(consumer: Fed) -> None:
    first, second, third = [await fetch(consumer, at, at + 1) for at in (0, 2, 4)]
    consumer.ack(third)
    assert committable(consumer) == {}
    consumer.ack(first)
    assert committable(consumer) == {ONE: 2}
    consumer.ack(second)
    assert committable(consumer) == {ONE: 6}


async def test_gaps_in_offsets_hold_nothing_up(consumer: Fed) -> None:
    """Markers of transactions and compacted records have offsets that nobody is given."""
    first, second = await fetch(consumer, 3, 7), await fetch(consumer, 40, 90)
    await consumer._add_gap(ONE, 8, 39)
    consumer.ack(first)
    assert committable(consumer) == {ONE: 8}
    consumer.ack(second)
    assert committable(consumer) == {ONE: 91}


async def test_partitions_commit_by_themselves(consumer: Fed) -> None:
    await fetch(consumer, 0, 1)
    other = await fetch(consumer, 5, 6, tp=TWO)
    consumer.ack(other)
    assert committable(consumer) == {TWO: 7}


async def test_an_acknowledgement_from_an_earlier_generation_commits_nothing(consumer: Fed) -> None:
    """Faust acknowledges what it skips after a rebalance, when the same records are on their way again."""
    early = await fetch(consumer, 0, 1)
    await consumer.on_partitions_revoked({ONE, TWO})
    await assign(consumer, {ONE, TWO}, 2)
    again = await fetch(consumer, 0, 1)
    assert not consumer.ack(early)
    assert early.acked
    assert early not in consumer.unacked
    assert committable(consumer) == {}
    consumer.ack(again)
    assert committable(consumer) == {ONE: 2}


async def test_what_was_in_flight_at_a_revocation_blocks_no_later_commit(consumer: Fed) -> None:
    await fetch(consumer, 0, 1)
    await fetch(consumer, 2, 3)
    await consumer.on_partitions_revoked({ONE, TWO})
    assert committable(consumer) == {}
    await assign(consumer, {ONE}, 2)
    consumer.ack(await fetch(consumer, 0, 1, 2))
    assert committable(consumer) == {ONE: 3}


async def test_what_is_read_again_after_a_stopped_flow_blocks_no_commit(consumer: Fed) -> None:
    """The same records come cut otherwise, in the same generation."""
    await fetch(consumer, 0, 1, 2)
    consumer.flow_active = False
    consumer.feed({ONE: [record(ONE, 3)]})
    assert [pair async for pair in consumer.getmany(1.0)] == []
    consumer.flow_active = True
    consumer.ack(await fetch(consumer, 0, 1))
    assert committable(consumer) == {ONE: 2}


async def test_a_fetch_that_a_whole_rebalance_overtakes_is_fetched_again(consumer: Fed) -> None:
    """In the new generation it would commit past what lies before it, which the partition's last owner has not handled."""
    consumer.overtaken_by = 2
    consumer.feed({ONE: [record(ONE, 7)]})
    assert [pair async for pair in consumer.getmany(1.0)] == []
    assert consumer.sought == 1
    consumer.ack(await fetch(consumer, 4, 5))
    assert committable(consumer) == {ONE: 6}


async def test_a_rebalance_between_two_partitions_hands_out_nothing_more(consumer: Fed) -> None:
    consumer.feed({ONE: [record(ONE, 0)], TWO: [record(TWO, 0)]})
    given = consumer.getmany(1.0)
    tp, _ = await anext(given)
    consumer.app.consumer_generation_id = 2
    assert [pair async for pair in given] == []
    assert tp == ONE


class Asked:
    """What of the consumer's thread is asked for a fetch: it notes of which partitions."""

    def __init__(self, thread: Any) -> None:
        self.thread_loop = thread.thread_loop
        self.partitions: list[set[TP]] = []

    async def getmany(self, active_partitions: set[TP], timeout: float) -> Fetched:
        self.partitions.append(active_partitions)
        return {}


async def test_nothing_is_fetched_of_a_partition_that_no_runner_knows(consumer: Fed) -> None:
    """Faust resumes the flow while our part in a rebalance waits for the broker: what came then waited for the next record."""
    asked = consumer._thread = Asked(consumer._thread)
    assert await consumer._getmany({ONE, TWO}, 1.0) == {}
    consumer.app.condition.assigned = frozenset({(ONE.topic, ONE.partition)})
    await consumer._getmany({ONE, TWO}, 1.0)
    assert asked.partitions == [{ONE}]


def test_a_batch_is_as_small_as_its_agent_needs(tmp_path: Path) -> None:
    """Texts take a model milliseconds each; whoever starts the analysis by hand need not know."""
    folds, analysis = (
        create_app(WorkerSettings(data_dir=tmp_path, agents=agents, batch_records=3_000)) for agents in ("review", "analysis")
    )
    assert folds.conf.broker_max_poll_records == 3_000
    assert analysis.conf.broker_max_poll_records == 256
