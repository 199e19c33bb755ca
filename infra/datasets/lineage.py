"""Lineage: what stands behind a snapshot or a model, and where a person's texts went."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra import runs
from infra.datasets import parquet, snapshots
from infra.history.kafka import KafkaHistory
from infra.kafka.reading import ends
from infra.settings import Settings
from infra.wiring import bootstrap
from schemas.events import AnyEvent, EvaluationFinished, TrainingFinished
from schemas.manifest import Manifest
from schemas.topics import EVENTS
from streams.authorship import Authorship


@dataclass(frozen=True)
class Holding:
    """One snapshot with texts of an author: which rows, and the runs that used it."""

    snapshot: str
    digest: str
    path: Path
    rows: tuple[str, ...]
    runs: tuple[str, ...]


def holding(settings: Settings, author: str) -> list[Holding]:
    """Snapshots of this data directory whose rows hold a text that this author wrote or edited, in any revision up to the one in
    the row, and the runs on them that the log knows. Oldest first. Reads the log and the rows' ids, and no text."""
    found = snapshots.load_all(settings)
    if not found:
        return []
    written, said = written_in(settings), runs.said(settings)
    held = [(one, rows_of(settings, one, written, {author})) for one in found]
    return [_holding(settings, manifest, rows, said) for manifest, rows in held if rows]


def taint(settings: Settings, author: str) -> list[Holding]:
    """Mark every snapshot that holds texts of an author who was erased; returns them. A mark changes no file of the snapshot."""
    held = holding(settings, author)
    for one in held:
        snapshots.taint(settings, one.snapshot, author, one.rows)
    return held


def tainted(settings: Settings, author: str) -> list[str]:
    """The snapshots that are marked for this author."""
    return [one.name for one in snapshots.load_all(settings) if author in snapshots.erased_in(settings, one.name)]


def _holding(settings: Settings, manifest: Manifest, rows: Sequence[str], said: Iterable[AnyEvent]) -> Holding:
    users = tuple(event.subject for event in said if uses(event, manifest.content_digest))
    return Holding(manifest.name, manifest.content_digest, snapshots.folder(settings, manifest.name), tuple(rows), users)


def uses(event: AnyEvent, digest: str) -> bool:
    """Whether a run was made with the snapshot of this digest."""
    data = event.data
    return isinstance(data, TrainingFinished | EvaluationFinished) and data.snapshot_digest == digest


def written_in(settings: Settings) -> Authorship:
    """Who wrote and edited what, in the whole log."""
    return asyncio.run(_written_in(bootstrap(settings)))


async def _written_in(brokers: str) -> Authorship:
    written = Authorship()
    for (topic, partition), end in (await ends(brokers, EVENTS.name)).items():
        async for record in KafkaHistory(brokers).records(topic, partition, end):
            written.feed(record)
    return written


def ids_of(settings: Settings, manifest: Manifest) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Each row's id and the submissions that it ends with; nothing, where an erasure took the files away."""
    return parquet.ids(manifest, snapshots.folder(settings, manifest.name)) if is_whole(settings, manifest) else ()


def is_whole(settings: Settings, manifest: Manifest) -> bool:
    folder = snapshots.folder(settings, manifest.name)
    return all((folder / file.path).exists() for file in manifest.files)


def rows_of(settings: Settings, manifest: Manifest, written: Authorship, authors: set[str]) -> list[str]:
    """Ids of the rows that hold a text by one of these authors; by the marks, where an erasure took the files away."""
    if not is_whole(settings, manifest):
        marks = snapshots.erased_in(settings, manifest.name)
        return sorted({row for author in authors for row in marks.get(author, ())})
    return sorted(
        row
        for row, submissions in ids_of(settings, manifest)
        if any(not authors.isdisjoint(written.authors(submission, manifest.offsets)) for submission in submissions)
    )
