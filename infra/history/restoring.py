"""From an archive back into Kafka: each record to the very offset where it stood."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agents.clients import new_producer
from agents.publishing import Publisher, delivered
from infra.errors import AssayError, Exit
from infra.history.archive import ArchiveHistory
from infra.history.archiving import ARCHIVED, existing
from infra.history.kafka import KafkaHistory
from infra.history.segments import Manifest, place_of
from infra.history.source import Watch
from infra.kafka import broker
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from schemas.topics import TOPICS


def plan(settings: Settings, folder: Path) -> list[Manifest]:
    """The partitions to restore. Raises AssayError where they would not fit, or something is there already."""
    ArchiveHistory(folder)
    manifests = [manifest for _, manifest in sorted(existing(folder).items())]
    for manifest in manifests:
        _fits(manifest)
    if missing := sorted({*ARCHIVED} - {one.topic for one in manifests}):
        hint = (
            "bring the folder back from a copy; `assay archive` adds what came with a later version, as long as the log is there"
        )
        raise AssayError("the archive lacks a topic", where=folder, got=", ".join(missing), hint=hint, exit_code=Exit.FAILED)
    counts = {topic: sum(one.topic == topic for one in manifests) for topic in {one.topic for one in manifests}}
    for topic, count in sorted(counts.items()):
        if count != settings.kafka.partitions:
            raise AssayError(
                "the archive has another partition count than the settings say",
                where=topic,
                got=f"{count}, not {settings.kafka.partitions}",
                hint=f"set kafka.partitions = {count} (ASSAY_KAFKA__PARTITIONS): keys lie where it put them",
            )
    if not settings.kafka.brokers:
        _is_new(settings, folder)
    return manifests


def _fits(manifest: Manifest) -> None:
    """Kafka numbers records without gaps from 0 on, and so must the archive."""
    records = sum(segment.records for segment in manifest.segments)
    if manifest.first or records != manifest.end:
        got = f"{records} records at offsets {manifest.first} to {manifest.end - 1}"
        raise AssayError(
            "these records would not get their offsets again",
            where=f"{manifest.topic}/{manifest.partition}",
            got=got,
            hint="a log with gaps, or without its beginning, can be read from the archive (--source) but not restored",
            exit_code=Exit.FAILED,
        )


def _is_new(settings: Settings, folder: Path) -> None:
    # Keys are brought back first: no text can be opened without them, and they are in no archive.
    mine = (folder, *folder.parents, settings.data_dir / "keys")
    there = [path for path in settings.data_dir.glob("*") if path not in mine]
    if there:
        raise AssayError(
            "the data directory is not empty",
            where=settings.data_dir,
            got=", ".join(sorted(path.name for path in there)[:5]),
            hint="restore into a new one: --data-dir names it; what an interrupted restore left there is to be deleted first",
        )


def restore(settings: Settings, folder: Path, manifests: Sequence[Manifest], watch: Watch = lambda done, total: None) -> None:
    """Write all of it. Interrupted it leaves a part: then begin again in a new directory. Blocks."""
    if settings.kafka.brokers:
        asyncio.run(_restore(settings.kafka.brokers, settings, folder, manifests, watch))
    else:
        with broker.running(settings) as bootstrap, broker.half_a_log(settings):
            asyncio.run(_restore(bootstrap, settings, folder, manifests, watch))


async def _restore(brokers: str, settings: Settings, folder: Path, manifests: Sequence[Manifest], watch: Watch) -> None:
    await ensure_topics(brokers, settings, TOPICS)
    await _are_empty(brokers)
    history, total, done = ArchiveHistory(folder), sum(one.end for one in manifests), 0
    producer = new_producer(brokers)
    await producer.start()
    try:
        for manifest in manifests:
            await _write(history, manifest, Publisher(producer), partial(_advance, watch, done, total))
            done += manifest.end
    finally:
        await producer.stop()
    found = await KafkaHistory(brokers).ends(*{one.topic for one in manifests})
    for manifest in manifests:
        if found[place_of(manifest)] != manifest.end:
            got = f"it ends at {found[place_of(manifest)]}, not {manifest.end}: somebody else writes to it"
            raise AssayError("the restored log is not the archive's", place_of(manifest), got, exit_code=Exit.FAILED)


def _advance(watch: Watch, before: int, total: int, done: int) -> None:
    watch(before + done, total)


async def _are_empty(brokers: str) -> None:
    for (topic, partition), end in (await KafkaHistory(brokers).ends(*(topic.name for topic in TOPICS))).items():
        if end:
            hint = "restore into a broker of its own"
            raise AssayError("a topic is not empty", where=f"{topic}/{partition}", got=f"it ends at offset {end}", hint=hint)


async def _write(history: ArchiveHistory, manifest: Manifest, publisher: Publisher, watch: Callable[[int], None]) -> None:
    place = place_of(manifest)
    async for batch in history.raw(*place, manifest.end):
        for raw in batch:
            publisher.add(place, raw.key, raw.value, raw.timestamp, list(raw.headers))  # type: ignore[arg-type]
        await delivered(await publisher.send_all())
        watch(batch[-1].offset + 1)
