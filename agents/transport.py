"""The batch transport: Faust's aiokafka driver, handing each fetched batch of a partition over as one message.

Faust spends two tasks on every message; one message a batch makes that cost vanish and keeps groups, rebalancing,
flow control, commits, web and sensors. A batch's offset is that of its last record, so committing a batch's
offset commits the batch.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, cast

from faust import Schema
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from agents.in_flight import InFlight

#: The broker URL's scheme that chooses this transport, as in `assay://127.0.0.1:9092`.
SCHEME = "assay"
#: How soon a partition is fetched whose recovery is done.
RECOVERING_SECONDS = 0.1
#: How long the broker may hold back the answer to a fetch that finds nothing. A partition whose records were being handed
#: over when the fetch went out is not in it, and is not fetched before it is answered; Faust would have it wait for 1.5 s.
FETCH_WAIT_MS = 100


class _ConsumerThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when it starts; Faust has no setting for it
        return consumer


class BatchConsumer(Consumer):
    """Yields ConsumerMessages whose value is the list of a partition's fetched records, in offset order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_flight = InFlight()

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        generation = self.app.consumer_generation_id
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active or self.app.consumer_generation_id != generation:
            await self._seek_back()
            return
        for tp, batch in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # a rebalance: whoever gets the partition reads these again
            if batch and (active is None or tp in active or tp in self._buffered_partitions):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                message = self._batch_message(tp, batch, generation)
                self._in_flight.hand_out(tp, message)
                yield tp, message

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Leave alone what is still being recovered: handed over, it would hold up the agent's other partitions. And what no
        runner knows yet: Faust resumes the flow beside our part in a rebalance, and a batch that comes before it is nobody's. It
        would be left alone, and nothing fetched again before the next record of its partition comes, or the next rebalance."""
        taken, active = cast(Any, self.app).condition.taken(), active_partitions or ()
        wanted = {tp for tp in active if (tp.topic, tp.partition) in taken}
        if not wanted:
            await asyncio.sleep(RECOVERING_SECONDS)
            return {}
        return await super()._getmany(wanted, timeout if len(wanted) == len(active) else RECOVERING_SECONDS)

    async def _seek_back(self) -> None:
        """Fetched while flow was stopped, or overtaken by a rebalance: go back to the committed offsets, or these records
        would be skipped; or what lies before them would be."""
        self._in_flight.clear()  # what is not committed is handed out again, perhaps cut otherwise
        try:
            await self.perform_seek()
        except Exception as error:  # the next rebalance seeks as well, so this is no reason to stop
            self.log.warning("cannot seek back to the committed offsets: %r", error)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """aiokafka leaves a partition where it is when nothing of it was ever committed: then back to the beginning."""
        committed: Mapping[TP, int] = await super().seek_to_committed()
        fresh = [tp for tp, offset in committed.items() if not offset]
        if fresh:
            await self._thread.seek_wait(await self._thread.earliest_offsets(*fresh))
        return committed

    async def verify_all_partitions_active(self) -> None:
        """Left to `agents.watchdog`, which asks the broker: Faust's own look dies of a position that is not known yet."""

    def _batch_message(self, tp: TP, batch: list[Any], generation: int) -> ConsumerMessage:
        last = batch[-1]
        return ConsumerMessage(
            last.topic,
            last.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            cast(bytes, batch),
            None,
            0,
            sum(record.serialized_value_size for record in batch),
            tp,
            generation_id=generation,
        )

    def ack(self, message: Message) -> bool:
        """Acknowledge a batch, unless it is of an earlier generation.

        Faust acknowledges what it skips after a rebalance. The same records were fetched again by then, and that
        acknowledgement would commit them before anybody has handled them.
        """
        if message.generation_id != self.app.consumer_generation_id:
            self._unacked_messages.discard(message)
            message.acked = True
            return False
        message.value = None  # handled; its records need not wait in memory for the commit
        return super().ack(message)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        """Also what was acknowledged before a revocation, of which Faust's own notes are gone by then."""
        return (tp for tp in self._in_flight if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        """One past the last batch before the first that is not acknowledged: batches commit in order."""
        done = self._in_flight.finish(tp)
        if done is None:
            return None
        self._acked_index[tp] = {offset for offset in self._acked_index[tp] if offset > done}
        self._acked[tp] = [offset for offset in self._acked[tp] if offset > done]
        return done + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Every batch is a gap of its own length to the offset book-keeping, which `_new_offset` replaces."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        self._in_flight.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # Batches of an earlier generation are never acknowledged in this one; they would block its commits.
        self._in_flight.clear()
        await super().on_partitions_assigned(assigned, generation_id)


class BatchTransport(Transport):
    Consumer: ClassVar[type[BatchConsumer]] = BatchConsumer


class BatchSchema(Schema[Any, Any]):
    """Hands a batch to the agent as it is: decoding is the agent's, record by record."""

    def compile(self, app: Any, **_: Any) -> Any:
        create_event = app.create_event

        async def decode(message: Message, **_: Any) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode


TRANSPORTS.aliases[SCHEME] = f"{__name__}:BatchTransport"
