"""An archive first, and Kafka for what came since."""

from collections.abc import AsyncIterator, Sequence

from infra.errors import AssayError, Exit
from infra.history.archive import ArchiveHistory
from infra.history.kafka import KafkaHistory
from infra.history.segments import Manifest, digest_of
from infra.history.source import Place, Raw, Stretch, columns, decoded_all
from streams.projection import Record


class JoinedHistory:
    """The archive's records, then those behind them in Kafka, which must hold the archive's last one where it stands there."""

    def __init__(self, archive: ArchiveHistory, kafka: KafkaHistory) -> None:
        self.archive, self.kafka = archive, kafka

    async def ends(self, *topics: str) -> dict[Place, int]:
        archived, there = await self.archive.ends(*topics), await self.kafka.ends(*topics)
        for place, end in there.items():
            hold_ends(self.archive.manifest(place), end)
        return archived | there

    async def records(
        self, topic: str, partition: int, end: int, start: int = 0, too_new: str = "quarantine"
    ) -> AsyncIterator[Record]:
        async for record in decoded_all((topic, partition), self.stretches(topic, partition, end, start), too_new):
            yield record

    async def stretches(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Stretch]:
        seam = self._seam(topic, partition)
        if start < min(end, seam):
            async for stretch in self.archive.stretches(topic, partition, min(end, seam), start):
                yield stretch
        async for batch in self._tail(topic, partition, end, max(start, seam)):
            yield columns(batch)

    async def raw(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Sequence[Raw]]:
        seam = self._seam(topic, partition)
        if start < min(end, seam):
            async for batch in self.archive.raw(topic, partition, min(end, seam), start):
                yield batch
        async for batch in self._tail(topic, partition, end, max(start, seam)):
            yield batch

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        manifest = self.archive.manifest((topic, partition))
        if manifest is not None and any(segment.newest_ms >= time_ms for segment in manifest.segments):
            return await self.archive.offset_at(topic, partition, time_ms)
        return max(await self.kafka.offset_at(topic, partition, time_ms), self._seam(topic, partition))

    def _seam(self, topic: str, partition: int) -> int:
        manifest = self.archive.manifest((topic, partition))
        return 0 if manifest is None else manifest.end

    async def _tail(self, topic: str, partition: int, end: int, start: int) -> AsyncIterator[Sequence[Raw]]:
        manifest = self.archive.manifest((topic, partition))
        if start >= end:
            return
        if manifest is None or start > manifest.end:
            async for batch in self.kafka.raw(topic, partition, end, start):
                yield batch
            return
        async for batch in after(self.kafka, manifest, end):
            yield batch


async def after(kafka: KafkaHistory, manifest: Manifest, end: int) -> AsyncIterator[Sequence[Raw]]:
    """What Kafka has behind the archive, once it has shown the archive's last record in its place."""
    known = int(bool(manifest.segments))
    async for batch in kafka.raw(manifest.topic, manifest.partition, end, manifest.end - known):
        if known:
            hold_against(manifest, batch[0])
        if len(batch) > known:
            yield batch[known:]
        known = 0


def hold_ends(manifest: Manifest | None, end: int) -> None:
    """Raises AssayError where Kafka ends before its archive."""
    if manifest is not None and end < manifest.end:
        got = f"Kafka ends at offset {end}, and the archive at {manifest.end}"
        raise _two_logs(f"{manifest.topic}/{manifest.partition}", got)


def hold_against(manifest: Manifest, found: Raw) -> None:
    """Raises AssayError unless this is the archive's last record, where Kafka has it."""
    where = f"{manifest.topic}/{manifest.partition}@{manifest.end - 1}"
    if found.offset >= manifest.end:
        got = f"the first record that Kafka has is at {found.offset}, and the archive ends at {manifest.end}"
        hint = "what lies between is lost, unless another archive has it"
        raise AssayError("the log begins after the archive's end", where, got, hint, Exit.FAILED)
    if digest_of(found) != manifest.segments[-1].last:
        raise _two_logs(where, "another record stands there")


def _two_logs(where: str, got: str) -> AssayError:
    hint = "is this the broker that the archive was made from? See ASSAY_KAFKA__BROKERS, --data-dir and --to"
    return AssayError("Kafka and the archive are of two logs", where, got, hint, Exit.FAILED)
