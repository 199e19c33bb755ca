"""assay archive | restore."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra.cli.output import DryRun, Json, Positive, emit, table, watched
from infra.history.archiving import Copied
from infra.history.imaging import EVERY
from infra.wiring import bootstrap, settings

Folder = Annotated[Path | None, Parameter(help="Folder of the archive; default: `archive` in the data directory.")]


def archive(
    *,
    to: Folder = None,
    images: Annotated[bool, Parameter(help="Also write state images, from which `assay replay --as-of` begins.")] = True,
    image_every: Annotated[Positive, Parameter(help="Records of a partition between two images.")] = EVERY,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Copy every fact topic and quarantine into Parquet files, and go on where the last time ended.

    A file appears whole or not at all, and a manifest in each partition's folder has its checksum. Run it as often as you
    like, beside everything else; it joins no group. What it made once it never needs from Kafka again.

    Examples:
        assay archive --dry-run
        assay archive --to /mnt/backup/assay --json
    """
    from infra.history.archiving import plan
    from infra.history.choosing import folder_of
    from infra.history.kafka import KafkaHistory

    folder = folder_of(settings()) if to is None else to.expanduser().absolute()
    kafka = KafkaHistory(bootstrap(settings()))
    imaged: list[dict[str, Any]] = []
    if dry_run:
        copied = asyncio.run(plan(kafka, folder))
    else:
        copied, imaged = _archive(kafka, folder, image_every if images else 0, json)
    found = {
        "folder": str(folder),
        "dry_run": dry_run,
        "records": sum(one.records for one in copied),
        "partitions": [{**asdict(one), "records": one.records} for one in copied],
        "images": imaged,
    }
    emit(found, json, _render)


def _archive(kafka: Any, folder: Path, every: int, json: bool) -> tuple[list[Copied], list[dict[str, Any]]]:
    from infra.history.archiving import archive as copy
    from infra.history.imaging import image_all

    with watched("copying", json) as watch:
        copied = asyncio.run(copy(kafka, folder, watch))
    if not every:
        return copied, []
    with watched("images of the state", json) as watch:
        return copied, asyncio.run(image_all(folder, every, watch))


def _render(found: dict[str, Any]) -> RenderableType:
    rows = [
        (one["topic"], one["partition"], one["start"], one["end"], one["records"], one["segments"], one["bytes"])
        for one in found["partitions"]
    ]
    copied = table(("topic", "#partition", "#from", "#to", "#records", "#segments", "#bytes"), rows)
    said = "would be added to" if found["dry_run"] else "added to"
    imaged = [(one["projection"], one["partition"], one["images"], one["end"]) for one in found["images"]]
    images = table(("projection", "#partition", "#images", "#up to"), imaged) if imaged else ""
    return Group(copied, "", images, f"{found['records']} records {said} {found['folder']}")


def restore(
    source: Annotated[Path | None, Parameter(help="Folder of the archive; default: `archive` in the data directory.")] = None,
    /,
    *,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Bring a lost log back from an archive: the same records at the same offsets, times, keys and headers.

    It starts a broker on a data directory that has none (or takes ASSAY_KAFKA__BROKERS, whose topics must be empty), makes the
    topics with the archive's number of partitions, and stops it again. Workers then fold the log anew.

    Examples:
        assay restore /mnt/backup/assay --data-dir /srv/assay --dry-run
        assay restore /mnt/backup/assay --data-dir /srv/assay
    """
    from infra.history.choosing import folder_of
    from infra.history.restoring import plan
    from infra.history.restoring import restore as bring_back

    folder = folder_of(settings()) if source is None else source.expanduser().absolute()
    planned = plan(settings(), folder)
    if not dry_run:
        with watched("restoring", json) as watch:
            bring_back(settings(), folder, planned, watch)
    found = {
        "folder": str(folder),
        "dry_run": dry_run,
        "records": sum(manifest.end for manifest in planned),
        "partitions": [{"topic": one.topic, "partition": one.partition, "records": one.end} for one in planned],
    }
    emit(found, json, _render_restored)


def _render_restored(found: dict[str, Any]) -> RenderableType:
    rows = [tuple(one.values()) for one in found["partitions"]]
    said = "would be restored" if found["dry_run"] else "restored"
    return Group(
        table(("topic", "#partition", "#records"), rows), "", f"{found['records']} records {said} from {found['folder']}"
    )
