"""live = replay, all the time: rows that workers wrote since the last look, against the log folded on since then.

Nothing is begun again: the audited state lies in images of the audit's own, and of the state topic only what is new is read.
A partition is at hand at a time, and its rows stay packed until the log touches them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import orjson
from aiokafka import TopicPartition

from agents.clients import Consumer, new_consumer
from agents.state_log import FENCE_KEY
from infra.code import code_version
from infra.history import images
from infra.history.images import Chain, folder_of
from infra.history.imaging import Imager, tidy
from infra.history.source import History, decoded
from infra.processes import write_whole
from streams.projection import CONTROL_KEY, AnyProjection, row_bytes, topic_of

#: Records folded between two pauses, in which others get the processor, and rows are packed again.
STEP = 100_000
LOOK = "look.json"


@dataclass
class Look:
    """What the last look at a partition left: where to read on in the state topic, and the live rows that drifted."""

    state_offset: int = 0
    position: int = -1
    drifted: dict[str, int | None] = field(default_factory=dict[str, int | None])


class Audited(NamedTuple):
    """One partition: rows compared in this look, those that differ (also from before), and events that live has not flushed.

    `waits`: live is not yet where the audit was, or has no rows; then nothing was compared.
    """

    projection: str
    partition: int
    position: int
    behind: int
    folded: int
    compared: int
    drift: tuple[str, ...]
    waits: bool = False


async def audit(history: History, brokers: str, home: Path, projections: tuple[AnyProjection, ...]) -> AsyncIterator[Audited]:
    """Look at every partition once."""
    for projection in projections:
        for (_, partition), end in sorted((await history.ends(projection.source.name)).items()):
            yield await _Partition(history, brokers, home, projection, partition).look(end)


class _Partition:
    """One partition's audit. `home`: a folder of its own, which may be deleted: then it begins again."""

    def __init__(self, history: History, brokers: str, home: Path, projection: AnyProjection, partition: int) -> None:
        self._history, self._brokers = history, brokers
        self._projection, self._partition = projection, partition
        self._code = code_version()
        self._folder = folder_of(home, projection, self._code, partition)

    async def look(self, end: int) -> Audited:
        before = self._before()
        written, state_offset = await self._written(before.state_offset)
        position, chain = written.get(CONTROL_KEY, before.position), self._chain()
        if position is None or position < before.position or position + 1 < chain.end:
            return self._told(end, before, waits=True)
        imager, folded = await self._fold(chain, position + 1)
        digests = {key: digest for key, digest in written.items() if key != CONTROL_KEY}
        asked = {**before.drifted, **digests}
        for key in imager.touched:
            # The log says that it changed, and the workers never wrote it.
            asked.setdefault(key, None)
        drifted = {key: live for key, live in asked.items() if live != _replayed(imager, key)}
        if folded:
            imager.write(position + 1)
        look = Look(state_offset, position, drifted)
        self._save(look)
        return self._told(end, look, folded, len(asked))

    def _told(self, end: int, look: Look, folded: int = 0, compared: int = 0, waits: bool = False) -> Audited:
        place, drift = (self._projection.name, self._partition), tuple(sorted(look.drifted))
        # The log may have grown, and live gone on, since its end was asked for.
        behind = max(0, end - look.position - 1)
        return Audited(*place, look.position, behind, folded, compared, drift, waits)

    def _chain(self) -> Chain:
        about = {"projection": self._projection.name, "version": self._projection.version, "code": self._code}
        return images.load(self._folder) or Chain(format=1, log="audit", partition=self._partition, **about)  # type: ignore[arg-type]

    async def _fold(self, chain: Chain, end: int) -> tuple[Imager, int]:
        """On to where live is, in steps: what a step has written is packed again."""
        tidy(self._folder, chain)
        imager, start, place = self._imager(chain), chain.end, (self._projection.source.name, self._partition)
        at, touched = start, dict[str, None]()
        async for stretch in self._history.stretches(*place, end, start):
            for record in decoded(place, stretch):
                imager.feed(record)
            if stretch.offsets[-1] + 1 - at >= STEP:
                at = stretch.offsets[-1] + 1
                imager.write(at)
                touched.update(imager.touched)
                imager = self._imager(imager.chain)
            await asyncio.sleep(0)
        imager.touched = {**touched, **imager.touched}
        return imager, end - start

    def _imager(self, chain: Chain) -> Imager:
        return Imager(self._folder, self._projection, chain, STEP)

    async def _written(self, start: int) -> tuple[dict[str, int | None], int]:
        """Digests of the newest rows from this offset on (of the control row its position), and where the topic ends."""
        consumer = new_consumer(self._brokers, isolation_level="read_committed")
        place = TopicPartition(topic_of(self._projection).name, self._partition)
        await consumer.start()
        try:
            consumer.assign([place])
            return await _digests(consumer, place, start)
        finally:
            await consumer.stop()

    def _before(self) -> Look:
        try:
            return Look(**orjson.loads((self._folder / LOOK).read_bytes()))
        except FileNotFoundError:
            return Look()

    def _save(self, look: Look) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / LOOK, orjson.dumps(look))


async def _digests(consumer: Consumer, place: TopicPartition, start: int) -> tuple[dict[str, int | None], int]:
    first, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
    consumer.seek(place, max(first, start))
    rows: dict[str, int | None] = {}
    while await consumer.position(place) < end:
        for raw in (await consumer.getmany(place, timeout_ms=200)).get(place, []):
            if raw.offset < end and raw.key != FENCE_KEY:
                rows[raw.key.decode()] = _digest(raw.key.decode(), raw.value)
        await asyncio.sleep(0)
    return rows, end


def _digest(key: str, value: bytes | None) -> int | None:
    """A row's checksum, whatever the order of its names; the position of the control row."""
    if value is None:
        return None
    packed = orjson.loads(value)
    if key == CONTROL_KEY:
        position: int = packed["position"]
        return position
    return crc32(orjson.dumps(packed, option=orjson.OPT_SORT_KEYS))


def _replayed(imager: Imager, key: str) -> int | None:
    state = imager.fold.state
    if key not in state.rows and key not in state.shared:
        return None
    return _digest(key, row_bytes(imager.fold.projection, state, key))


# --- metrics -----------------------------------------------------------------------------------


class Metrics:
    """What Prometheus is told. Never a person's or subject's id as a label."""

    def __init__(self, registry: Any) -> None:
        from prometheus_client import Counter, Gauge

        place = ["projection", "partition"]
        self._drift = Gauge("assay_audit_drift_rows", "Live rows that differ from a replay", ["projection"], registry=registry)
        self._behind = Gauge("assay_audit_behind_events", "Events that were not compared yet", place, registry=registry)
        self._position = Gauge(
            "assay_audit_position", "Offset up to which live and replay were compared", place, registry=registry
        )
        self._rows = Counter("assay_audit_rows", "Rows compared", ["projection"], registry=registry)
        self._folded = Counter("assay_audit_events", "Events folded again", ["projection"], registry=registry)
        self._rounds = Counter("assay_audit_rounds", "Looks at every partition", registry=registry)

    def tell(self, found: Mapping[tuple[str, int], Audited]) -> None:
        """One round's results, by place."""
        drift: dict[str, int] = {}
        for (projection, partition), one in found.items():
            drift[projection] = drift.get(projection, 0) + len(one.drift)
            self._behind.labels(projection, partition).set(one.behind)
            self._position.labels(projection, partition).set(one.position)
            self._rows.labels(projection).inc(one.compared)
            self._folded.labels(projection).inc(one.folded)
        for projection, rows in drift.items():
            self._drift.labels(projection).set(rows)
        self._rounds.inc()
