"""Snapshots made again: the same one elsewhere from its manifest, and a successor without texts that were erased."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from infra.datasets import snapshots
from infra.datasets.snapshots import Request, Sealed, request_of
from infra.errors import AssayError, Exit
from infra.history.source import History, Watch
from infra.settings import Settings
from schemas.manifest import Manifest
from schemas.topics import EVENTS


def reproduce(
    settings: Settings,
    path: Path,
    log: History,
    offsets: Mapping[str, int] | None = None,
    as_of: datetime | None = None,
    watch: Watch = lambda done, total: None,
    dry_run: bool = False,
) -> Sealed:
    """Build what a manifest says from a log, and seal it here if it has the manifest's digest; else raises AssayError.

    Up to the manifest's offsets where the log has these partitions, else up to its time; `offsets` or `as_of` say it otherwise.
    """
    manifest = snapshots.read_manifest(path / snapshots.MANIFEST if path.is_dir() else path)
    request = _asked(manifest, log, offsets, as_of)
    built = snapshots.build(settings, request, watch, log)
    again = snapshots.manifest_of(built, request, ())
    if again.content_digest != manifest.content_digest:
        raise AssayError(
            "this log gives another dataset",
            where=path,
            got=f"digest {again.content_digest[:12]} over {again.rows} rows; {manifest.content_digest[:12]} over {manifest.rows}",
            hint=_hint(again, manifest),
            exit_code=Exit.FAILED,
        )
    if dry_run:
        return Sealed(again, snapshots.folder(settings, again.name), created=False)
    return snapshots.seal(settings, request, built)


def _hint(again: Manifest, manifest: Manifest) -> str:
    if again.left_out.get("erased", 0) > manifest.left_out.get("erased", 0):
        return "authors of its texts were erased since: nothing gives them back"
    if again.code_version != manifest.code_version:
        return f"it was made by code {manifest.code_version}, and this is {again.code_version}"
    return "is it the log that the snapshot was made from? --as-of says up to where to read another one"


def _asked(manifest: Manifest, log: History, offsets: Mapping[str, int] | None, as_of: datetime | None) -> Request:
    request = request_of(manifest)
    if offsets is not None or as_of is not None:
        return request._replace(offsets=offsets, as_of=as_of)
    there = {f"{topic}/{number}" for topic, number in asyncio.run(log.ends(EVENTS.name))}
    if there == set(manifest.offsets):
        return request
    if manifest.as_of is None:
        raise AssayError(
            "the manifest's offsets are of other partitions than this log's",
            got=f"{len(there)} partitions; the manifest has {len(manifest.offsets)}",
            hint="--as-of with a time, or with offsets of this log, says up to where to read it",
        )
    return request._replace(offsets=None)


def successor(
    settings: Settings, name: str, watch: Watch = lambda done, total: None, log: History | None = None, dry_run: bool = False
) -> Sealed:
    """The same dataset at the same offsets without the texts that were erased since: NAME.2, NAME.3 and so on.

    Raises AssayError where nothing of it was erased.
    """
    manifest = snapshots.load(settings, name)
    request = request_of(manifest)._replace(name=_next_name(settings, name), successor_of=name)
    built = snapshots.build(settings, request, watch, log)
    again = snapshots.manifest_of(built, request, ())
    if again.content_digest == manifest.content_digest:
        raise AssayError("nothing of this snapshot was erased", where=name, hint="`assay snapshot verify` tells whether it holds")
    if dry_run:
        return Sealed(again, snapshots.folder(settings, again.name), created=False)
    return snapshots.seal(settings, request, built)


def _next_name(settings: Settings, name: str) -> str:
    stem = re.sub(r"\.\d+$", "", name)
    taken = {manifest.name for manifest in snapshots.load_all(settings)}
    number = next(number for number in range(2, len(taken) + 3) if f"{stem}.{number}" not in taken)
    return f"{stem[:60]}.{number}"
