"""Which history is meant, and what part of it: `kafka`, `archive`, `both` or a folder; an offset or a time."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from infra import times
from infra.code import code_version
from infra.errors import AssayError
from infra.history.archive import ArchiveHistory
from infra.history.asof import Images
from infra.history.joined import JoinedHistory
from infra.history.kafka import KafkaHistory
from infra.history.source import History, Place
from infra.settings import Settings
from infra.wiring import bootstrap
from schemas.identity import unix_milliseconds


class Source(NamedTuple):
    """A history by name, so that another process can open it as well: of brokers, of an archive's folder, or of both."""

    brokers: str | None
    folder: Path | None

    def open(self) -> History:
        if self.folder is None:
            assert self.brokers is not None
            return KafkaHistory(self.brokers)
        archive = ArchiveHistory(self.folder)
        return archive if self.brokers is None else JoinedHistory(archive, KafkaHistory(self.brokers))

    def images(self) -> Images:
        return Images(self.folder, code_version())


def folder_of(settings: Settings) -> Path:
    return settings.data_dir / "archive"


def source(settings: Settings, said: str) -> Source:
    """What `--source` says; a folder is an archive."""
    if said == "kafka":
        return Source(bootstrap(settings), None)
    if said in ("archive", "both"):
        return Source(bootstrap(settings) if said == "both" else None, folder_of(settings))
    return Source(None, Path(said).expanduser().absolute())


class At(NamedTuple):
    """A bound of a replay: an offset in every partition, or a time."""

    offset: int | None = None
    time_ms: int | None = None

    async def offset_in(self, history: History, place: Place, end: int) -> int:
        """The first offset that the bound leaves out (or lets in), at most the end."""
        if self.time_ms is not None:
            return min(end, await history.offset_at(*place, self.time_ms))
        return end if self.offset is None else min(end, self.offset)


def bound(said: str) -> At:
    """`1000` is an offset; `@1767225600000` is a time in milliseconds, as kcat has it; else an ISO time, UTC unless it says."""
    if re.fullmatch(r"\d{1,19}", said):
        return At(offset=int(said))
    if re.fullmatch(r"@\d{1,15}", said):
        return At(time_ms=int(said[1:]))
    try:
        return At(time_ms=unix_milliseconds(times.read(said.removeprefix("@"))))
    except (ValueError, OverflowError) as error:
        hint = "an offset as 1000, milliseconds as @1767225600000, or a time as 2026-01-01T12:00Z"
        raise AssayError("no offset and no time", got=said, hint=hint) from error


async def extents(history: History, topics: Iterable[str], start: At, end: At) -> list[tuple[Place, int, int]]:
    """Where the bounds lie in every partition of these topics."""
    found: list[tuple[Place, int, int]] = []
    for place, behind in sorted((await history.ends(*topics)).items()):
        until = await end.offset_in(history, place, behind)
        first = 0 if start == At() else await start.offset_in(history, place, behind)
        found.append((place, first, until))
    if not found:
        raise AssayError("there is no history of it", where=", ".join(topics), hint="`assay archive`, or --source kafka")
    return found
