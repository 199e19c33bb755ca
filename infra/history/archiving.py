"""From Kafka into an archive: what came since the last time, partition by partition."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from infra.errors import AssayError
from infra.history import segments
from infra.history.joined import after, hold_ends
from infra.history.kafka import KafkaHistory
from infra.history.segments import LOCK, MANIFEST, Manifest, columns_of, folder_of, table_of
from infra.history.source import Place, Raw, Watch
from infra.processes import held
from schemas.topics import FACT_TOPICS, QUARANTINE

#: State topics are left out: whatever stands there is folded again.
ARCHIVED = tuple(topic.name for topic in (*FACT_TOPICS, QUARANTINE))


class Limits(NamedTuple):
    """Of one segment. One that has less than a quarter of the records is written again with what comes next."""

    records: int = 200_000
    bytes: int = 64 << 20


LIMITS = Limits()


@dataclass(frozen=True)
class Copied:
    """One partition: offsets that were (or would be) added, and what the archive holds of it then."""

    topic: str
    partition: int
    start: int
    end: int
    segments: int
    bytes: int

    @property
    def records(self) -> int:
        return self.end - self.start


async def plan(kafka: KafkaHistory, folder: Path, topics: Sequence[str] = ARCHIVED) -> list[Copied]:
    """What `archive` would add. Raises AssayError where Kafka and the archive are of two logs, as far as offsets tell."""
    manifests = existing(folder)
    ends, starts = await kafka.ends(*topics), await kafka.starts(*topics)
    found: list[Copied] = []
    for place, end in sorted(ends.items()):
        manifest = manifests.get(place)
        hold_ends(manifest, end)
        found.append(_copied(place, manifest, manifest.end if manifest and manifest.segments else starts[place], end))
    return found


async def archive(
    kafka: KafkaHistory,
    folder: Path,
    watch: Watch = lambda done, total: None,
    limits: Limits = LIMITS,
    topics: Sequence[str] = ARCHIVED,
) -> list[Copied]:
    """Copy what the archive lacks. What was written counts at once: after an interruption it goes on from there."""
    with alone(folder):
        planned = await plan(kafka, folder, topics)
        manifests = existing(folder)
        log = next((manifest.log for manifest in manifests.values()), uuid.uuid4().hex)
        total, done, found = sum(one.records for one in planned), 0, []
        for one in planned:
            place = (one.topic, one.partition)
            manifest = manifests.get(place) or Manifest(format=1, log=log, topic=one.topic, partition=one.partition)
            writer = _Writer(folder_of(folder, place), manifest, one.start, limits)
            writer.tidy()
            async for batch in after(kafka, manifest, one.end) if manifest.segments else kafka.raw(*place, one.end, one.start):
                await writer.add(batch)
                watch(done + batch[-1].offset + 1 - one.start, total)
            await writer.finish()
            done += one.records
            found.append(_copied(place, writer.manifest, one.start, one.end))
        return found


def existing(folder: Path) -> dict[Place, Manifest]:
    """The manifests of an archive, by place; none where there is no archive. Raises AssayError where it is damaged."""
    loaded = [segments.load(path.parent) for path in sorted(folder.glob(f"*/*/{MANIFEST}"))]
    for manifest in loaded:
        if manifest.log != loaded[0].log:
            got = f"{manifest.topic}/{manifest.partition} is of {manifest.log}, {loaded[0].topic} of {loaded[0].log}"
            raise segments.damaged("the folder holds parts of two archives", folder, got)
    return {segments.place_of(manifest): manifest for manifest in loaded}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else writes there as long as the block runs. Raises AssayError."""
    with held(folder / LOCK) as lock:
        if lock is None:
            raise AssayError("another process writes to this archive", where=folder, hint="wait for it, or choose another --to")
        yield


def _copied(place: Place, manifest: Manifest | None, start: int, end: int) -> Copied:
    there = manifest.segments if manifest is not None else ()
    return Copied(*place, start, end, len(there), sum(segment.bytes for segment in there))


class _Writer:
    """Collects one partition's records, and writes a segment whenever there is enough for one."""

    def __init__(self, folder: Path, manifest: Manifest, start: int, limits: Limits) -> None:
        self.folder, self.manifest, self._start, self._limits = folder, manifest, start, limits
        self._waiting: list[Raw] = []
        self._bytes = 0

    def tidy(self) -> None:
        """Remove what crashes and longer segments have left behind; what is no segment of ours was refused before."""
        kept = {segment.name for segment in self.manifest.segments}
        for path in [*self.folder.glob("*.parquet"), *self.folder.glob("*.part")]:
            if path.name not in kept:
                path.unlink()

    async def add(self, batch: Sequence[Raw]) -> None:
        for raw in batch:
            self._waiting.append(raw)
            self._bytes += len(raw.value or b"")
            if len(self._waiting) >= self._limits.records or self._bytes >= self._limits.bytes:
                await self._write()

    async def finish(self) -> None:
        """Write what is left; a partition without records gets its manifest all the same, for there is one."""
        if self._waiting:
            await self._write()
        if not self.manifest.segments:
            segments.save(self.folder, self.manifest)

    async def _write(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        self.manifest = await asyncio.to_thread(self._written, waiting)
        self._start = self.manifest.end

    def _written(self, waiting: list[Raw]) -> Manifest:
        table, manifest, first = table_of(columns_of(waiting)), self.manifest, self._start
        short = manifest.segments[-1] if manifest.segments else None
        if short is not None and short.records < self._limits.records // 4 and short.bytes < self._limits.bytes // 4:
            # Its file stays until the next time, for whoever reads it just now.
            table = pa.concat_tables([segments.read(self.folder, manifest, short), table])
            manifest, first = manifest.model_copy(update={"segments": manifest.segments[:-1]}), short.first
        return segments.write(self.folder, manifest, table, waiting[-1], waiting[-1].offset + 1, first)
