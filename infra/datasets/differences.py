"""Two snapshots side by side: which rows differ, and for each the reason, out of the log."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agents.keys import TextReader
from infra.datasets import parquet, snapshots
from infra.datasets.snapshots import Request, in_force_of, log_of, request_of
from infra.errors import AssayError, Exit
from infra.history.source import History, Watch
from infra.settings import Settings
from infra.wiring import key_store
from schemas.manifest import Manifest
from schemas.topics import EVENTS
from streams.differences import Change, Difference, Step, WatchedHarvest, contents, differences, world
from streams.projection import Json


class Compared(NamedTuple):
    """The rows that differ. `backwards`: B stands earlier in the log than A, and reasons tell what happened from B to A."""

    before: Manifest
    after: Manifest
    backwards: bool
    rows: list[Difference]


def compare(
    settings: Settings, name: str, other: str, watch: Watch = lambda done, total: None, log: History | None = None
) -> Compared:
    """Raises AssayError where the two are of different kinds, or of logs that do not contain each other."""
    first, last = snapshots.load(settings, name), snapshots.load(settings, other)
    if first.kind != last.kind:
        raise AssayError("snapshots of two kinds have no row in common", got=f"{first.kind} and {last.kind}")
    backwards = not _contains(last, first)
    early, late = (last, first) if backwards else (first, last)
    if not _contains(late, early):
        hint = "neither log is a beginning of the other: were they made of two logs?"
        raise AssayError(
            "the two cannot be compared", where=f"{name} and {other}", got="offsets", hint=hint, exit_code=Exit.FAILED
        )
    found = asyncio.run(_compared(log or log_of(settings), settings, early, late, watch))
    return Compared(first, last, backwards, [_inverted(one) for one in found] if backwards else found)


def _contains(late: Manifest, early: Manifest) -> bool:
    same = late.offsets.keys() == early.offsets.keys()
    return same and all(offset <= late.offsets[place] for place, offset in early.offsets.items())


_OTHER_WAY: dict[Change, Change] = {"added": "removed", "removed": "added", "changed": "changed"}


def _inverted(one: Difference) -> Difference:
    return one._replace(change=_OTHER_WAY[one.change])


async def _compared(log: History, settings: Settings, early: Manifest, late: Manifest, watch: Watch) -> list[Difference]:
    """Datasets on the way from A to B, of which each differs from the one before in one thing only."""
    a, b = request_of(early), request_of(late)
    harvests, texts = _harvests(early, a), TextReader(key_store(settings))
    await _feed(log, settings, harvests, {}, early.offsets, watch)
    for harvest in harvests:
        harvest.erased |= await snapshots.erased_since(log, _place(harvest), early.offsets[_place(harvest)])
    start, rows_start = world(harvests), _rows(harvests, early, a, texts)
    await _feed(log, settings, harvests, early.offsets, late.offsets, watch)
    end, rows_end = world(harvests), _rows(harvests, late, a, texts)
    others = harvests
    if a.policies != b.policies:
        others = _harvests(late, b)
        await _feed(log, settings, others, {}, late.offsets, watch)
        for other, harvest in zip(others, harvests, strict=True):
            other.erased |= harvest.erased
    rows_policy, rows_asked = _rows(others, late, a, texts), _rows(others, late, b, texts)
    files_a = _in_files(settings, early, rows_start)
    files_b = _in_files(settings, late, rows_asked)
    steps = [
        Step("files", files_a, rows_start),
        Step("log", rows_start, rows_end),
        Step("policy", rows_end, rows_policy),
        Step("asked", rows_policy, rows_asked),
        Step("files", rows_asked, files_b),
    ]
    return list(differences(steps, start, end))


def _in_files(settings: Settings, manifest: Manifest, rebuilt: dict[str, Json]) -> dict[str, Json]:
    """The rows as they stand in the files. Where an erasure took the files away, what can be built again, and of erased rows that
    there were any."""
    path = snapshots.folder(settings, manifest.name)
    if all((path / file.path).exists() for file in manifest.files):
        return contents(parquet.read(manifest, path))
    marked = {row: dict[str, Any]() for rows in snapshots.erased_in(settings, manifest.name).values() for row in rows}
    return marked | rebuilt


def _harvests(manifest: Manifest, request: Request) -> list[WatchedHarvest]:
    given = in_force_of(request.policies)
    return [WatchedHarvest(int(place.rpartition("/")[2]), given) for place in sorted(manifest.offsets)]


def _rows(harvests: Sequence[WatchedHarvest], manifest: Manifest, request: Request, texts: TextReader) -> dict[str, Json]:
    return contents(snapshots.built_from(harvests, dict(manifest.offsets), request, texts).dataset)


def _place(harvest: WatchedHarvest) -> str:
    return f"{EVENTS.name}/{harvest.partition}"


async def _feed(
    log: History,
    settings: Settings,
    harvests: Sequence[WatchedHarvest],
    starts: Mapping[str, int],
    ends: Mapping[str, int],
    watch: Watch,
) -> None:
    total = sum(ends.values())
    for harvest in harvests:
        place = _place(harvest)
        topic = place.rpartition("/")[0]
        async for record in log.records(topic, harvest.partition, ends[place], starts.get(place, 0), settings.worker.too_new):
            harvest.feed(record)
        watch(sum(end for other, end in ends.items() if other <= place), total)
