"""Snapshots on disk: built from the log up to given offsets, sealed whole or not at all, and built again to verify."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

import schemas
import streams
from agents.keys import TextReader
from infra import parquet
from infra.errors import AssayError, Exit
from infra.kafka.reading import ends, records
from infra.runs import announce, now, run_event
from infra.sealing import unfinished
from infra.settings import Settings
from infra.wiring import bootstrap, key_store
from schemas.events import AnyEvent, SnapshotSealed
from schemas.manifest import LAYOUTS, NAME_PATTERN, Manifest, RowKind, SnapshotFile
from schemas.topics import EVENTS
from streams import dataset as data
from streams.pairs import pairs

MANIFEST = "manifest.json"
CARD = "README.md"
NAME = re.compile(NAME_PATTERN)
Watch = Callable[[int, int], None]


class Request(NamedTuple):
    """What should be in a snapshot. No name: its digest names it. No offsets: all that the log holds now."""

    name: str | None = None
    kind: RowKind = "completion"
    projects: tuple[str, ...] = ()
    offsets: Mapping[str, int] | None = None


class Built(NamedTuple):
    """A dataset in memory, and what it was built from."""

    dataset: data.Dataset
    offsets: dict[str, int]
    policy_versions: dict[str, int]


@dataclass(frozen=True)
class Sealed:
    """A snapshot on disk; not `created` when the very same one was there already."""

    manifest: Manifest
    path: Path
    created: bool


@dataclass(frozen=True)
class Check:
    """One promise of a snapshot, and what was found instead where it does not hold."""

    check: str
    holds: bool
    expected: str
    got: str


# --- building ----------------------------------------------------------------------------------


def build(settings: Settings, request: Request, watch: Watch = lambda done, total: None) -> Built:
    """Fold the log up to the offsets, in memory. Raises AssayError where nothing is approved."""
    built = asyncio.run(_build(settings, request, watch))
    if not built.dataset.examples:
        left_out = ", ".join(f"{count} {reason}" for reason, count in built.dataset.left_out.items())
        raise AssayError(
            f"nothing to put into a snapshot: {_NOTHING[request.kind]}",
            where=", ".join(request.projects) or "all projects",
            got=f"left out: {left_out}" if left_out else None,
            hint="`assay sql` on v_verdicts shows what is approved; votes decide, see `assay policy show`",
            exit_code=Exit.FAILED,
        )
    return built


_NOTHING = {
    "completion": "no approved completion has a whole approved conversation",
    "prompt": "no approved prompt has a whole approved conversation",
    "preference": "no comparison is decided between two approved completions of an approved prompt",
}


async def _build(settings: Settings, request: Request, watch: Watch) -> Built:
    brokers, too_new = bootstrap(settings), settings.worker.too_new
    log_ends = {f"{topic}/{number}": end for (topic, number), end in (await ends(brokers, EVENTS.name)).items()}
    offsets = _bounded(request.offsets, log_ends)
    desks = [await _desk(brokers, place, offsets, watch, too_new) for place in sorted(offsets)]
    texts = TextReader(key_store(settings))
    found = [_opened(submission, texts) for desk in desks for submission in desk.submissions()]
    versions: dict[str, int] = {}
    for desk in desks:
        for project, version in desk.policy_versions().items():
            versions[project] = max(version, versions.get(project, 0))
    if request.kind == "preference":
        compared = [comparison for desk in desks for comparison in desk.comparisons()]
        chosen = pairs(found, compared, request.projects)
    else:
        chosen = data.dataset(found, request.kind, request.projects)
    projects = {example.project for example in chosen.examples}
    return Built(chosen, offsets, {project: versions[project] for project in sorted(projects)})


def _opened(submission: data.Submission, texts: TextReader) -> data.Submission:
    """With its text as people read it, if it may stand in a row."""
    if not submission.approved:
        return submission
    text = texts.read(submission.id, submission.revision, submission.text, submission.by)
    return submission._replace(text="", erased=True) if text is None else submission._replace(text=text)


def _bounded(asked: Mapping[str, int] | None, log_ends: Mapping[str, int]) -> dict[str, int]:
    """The offsets asked for, which the log must reach; else the log's ends."""
    if asked is None:
        return dict(sorted(log_ends.items()))
    for place, offset in asked.items():
        if offset > log_ends.get(place, -1):
            raise AssayError(
                "the log does not reach that far",
                where=place,
                got=f"offset {offset}, but the log ends at {log_ends.get(place, 'no such partition')}",
                hint="is this the broker that the snapshot was made from? See ASSAY_KAFKA__BROKERS and --data-dir",
                exit_code=Exit.FAILED,
            )
    return dict(sorted(asked.items()))


async def _desk(brokers: str, place: str, offsets: Mapping[str, int], watch: Watch, too_new: str) -> data.Desk:
    """One partition, folded. `watch` is told of offsets read, over all partitions."""
    topic, _, number = place.rpartition("/")
    desk = data.Desk(int(number))
    before, total = sum(end for other, end in offsets.items() if other < place), sum(offsets.values())
    async for record in records(brokers, topic, desk.partition, offsets[place], too_new=too_new):
        desk.feed(record)
        if not record.offset % 1_000:
            watch(before + record.offset, total)
    watch(before + offsets[place], total)
    return desk


def manifest_of(built: Built, request: Request, files: Sequence[SnapshotFile]) -> Manifest:
    kind, examples, left_out = built.dataset
    digest = data.content_digest(kind, examples)
    return Manifest(
        name=request.name or f"{kind}-{digest[:12]}",
        created_at=now(),
        kind=kind,
        projects=tuple(sorted(set(request.projects))),
        offsets=built.offsets,
        policy_versions=built.policy_versions,
        code_version=code_version(),
        rows=len(examples),
        splits=data.split_counts(examples),
        groups=data.group_counts(examples),
        slices=data.slice_counts(examples),
        left_out=left_out,
        columns={layout: data.columns(layout) for layout in LAYOUTS[kind]},
        files=tuple(files),
        content_digest=digest,
        lineage_digest=data.lineage_digest(kind, examples),
    )


def code_version() -> str:
    """The release, and a hash of the code that decides what is in a snapshot."""
    try:
        release = metadata.version("assay")
    except metadata.PackageNotFoundError:
        release = "0"
    digest = sha256()
    for package in (schemas, streams):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{release}+{digest.hexdigest()[:12]}"


# --- sealing -----------------------------------------------------------------------------------


def create(settings: Settings, request: Request, watch: Watch = lambda done, total: None) -> Sealed:
    """Build and seal a snapshot, and say so on the log. The same content under the same name is sealed only once."""
    sealed = seal(settings, request, build(settings, request, watch))
    announce(settings, [sealed_event(sealed.manifest)])
    return sealed


def seal(settings: Settings, request: Request, built: Built) -> Sealed:
    """Write what was built into a folder of its own, which appears whole or not at all."""
    home = settings.data_dir / "snapshots"
    with unfinished(home) as part:
        manifest = manifest_of(built, request, parquet.write(built.dataset, part))
        path = home / manifest.name
        there = path.exists()
        if there:
            manifest = _same(load(settings, manifest.name), manifest)
        else:
            (part / CARD).write_text(parquet.card(manifest), "utf-8")
            (part / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
            part.rename(path)
    return Sealed(manifest, path, not there)


def _same(there: Manifest, new: Manifest) -> Manifest:
    if there.content_digest == new.content_digest:
        return there
    raise AssayError(
        "a snapshot of this name exists, with other content, and snapshots never change",
        where=there.name,
        got=f"digest {new.content_digest[:12]} beside {there.content_digest[:12]}",
        hint="choose another name, or none: then the digest names it",
    )


def sealed_event(manifest: Manifest) -> AnyEvent:
    sealed = SnapshotSealed(
        name=manifest.name,
        digest=manifest.content_digest,
        rows=manifest.rows,
        splits={str(split): rows for split, rows in manifest.splits.items()},
        offsets=manifest.offsets,
        policy_versions=manifest.policy_versions,
        code_version=manifest.code_version,
    )
    return run_event(f"snapshot:{manifest.name}", sealed, manifest.created_at)


# --- reading -----------------------------------------------------------------------------------


def folder(settings: Settings, name: str) -> Path:
    return settings.data_dir / "snapshots" / name


def load(settings: Settings, name: str) -> Manifest:
    """The manifest of a snapshot. Raises AssayError where there is none of this name, or it is damaged."""
    path = folder(settings, name) / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        known = ", ".join(manifest.name for manifest in load_all(settings)[-5:]) or "there is none yet"
        hint = f"known: {known}; `assay snapshot create` makes one"
        raise AssayError("no such snapshot", where=path.parent, got=name, hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{'/'.join(map(str, first['loc']))}: {first['msg']}"
        raise AssayError(
            "a manifest is damaged", where=path, got=got, hint="create the snapshot again", exit_code=Exit.FAILED
        ) from error


def load_all(settings: Settings) -> list[Manifest]:
    """Every snapshot of the data directory, oldest first."""
    home = settings.data_dir / "snapshots"
    names = [path.parent.name for path in home.glob(f"[!.]*/{MANIFEST}")]
    return sorted((load(settings, name) for name in names), key=lambda manifest: (manifest.created_at, manifest.name))


# --- verifying ---------------------------------------------------------------------------------


def verify(settings: Settings, name: str, watch: Watch = lambda done, total: None) -> list[Check]:
    """Files against the manifest, rows against the digest, and both against a new build from the log."""
    manifest, path = load(settings, name), folder(settings, name)
    checks = [_file(path, file) for file in manifest.files]
    if all(check.holds for check in checks):
        rows = list(parquet.read(manifest, path))
        checks.append(_equal("rows in the files", manifest.content_digest, data.content_digest(manifest.kind, rows)))
        checks.append(_equal("lineage in the files", manifest.lineage_digest, data.lineage_digest(manifest.kind, rows)))
    request = Request(manifest.name, manifest.kind, manifest.projects, manifest.offsets)
    rebuilt = asyncio.run(_build(settings, request, watch))
    kind, examples, _ = rebuilt.dataset
    return [
        *checks,
        _equal("rows built again from the log", manifest.content_digest, data.content_digest(kind, examples)),
        _equal("lineage built again from the log", manifest.lineage_digest, data.lineage_digest(kind, examples)),
        _equal("policy versions in the log", str(manifest.policy_versions), str(rebuilt.policy_versions)),
    ]


def _file(path: Path, file: SnapshotFile) -> Check:
    try:
        found = parquet.sha256_of(path / file.path)
    except FileNotFoundError:
        found = "missing"
    return _equal(f"file {file.path}", file.sha256, found)


def _equal(check: str, expected: str, got: str) -> Check:
    return Check(check, expected == got, expected, got)
