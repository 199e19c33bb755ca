"""Snapshots on disk: built from the log up to given offsets, sealed whole or not at all, and built again to verify."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from agents.keys import TextReader
from infra.code import code_version
from infra.datasets import parquet
from infra.datasets.card import card
from infra.errors import AssayError, Exit
from infra.folders import unfinished
from infra.history.kafka import KafkaHistory
from infra.history.source import History, Watch
from infra.processes import write_whole
from infra.runs import announce, run_event
from infra.settings import Settings
from infra.times import now
from infra.wiring import bootstrap, key_store
from schemas.events import AnyEvent, AuthorErased, SnapshotSealed
from schemas.identity import unix_milliseconds
from schemas.manifest import LAYOUTS, NAME_PATTERN, GivenPolicy, Layout, Manifest, Quality, RowKind, SnapshotFile, SplitRule
from schemas.policy import Policy
from schemas.topics import EVENTS
from schemas.words import Provenance
from streams import dataset as data
from streams.pairs import chosen_pairs, judged
from streams.preferences import Comparison
from streams.projection import NOWHERE
from streams.quality import Judged, quality
from streams.weighing import NO_POLICY, InForce

MANIFEST = "manifest.json"
CARD = "README.md"
NAME = re.compile(NAME_PATTERN)
_NOTHING_NAMED: Mapping[Any, Any] = MappingProxyType({})


class Request(NamedTuple):
    """What should be in a snapshot. No name: its digest names it. Neither offsets nor a time: all that the log holds now; with
    both, the time only says where the offsets came from.

    `policies`: in the place of the recorded ones, by project, or by `*` for all.
    """

    name: str | None = None
    kind: RowKind = "completion"
    projects: tuple[str, ...] = ()
    offsets: Mapping[str, int] | None = None
    as_of: datetime | None = None
    slices: tuple[str, ...] = ()
    split: SplitRule = SplitRule()
    layout: Layout | None = None
    policies: Mapping[str, GivenPolicy] = _NOTHING_NAMED
    licences: Mapping[str, str] = _NOTHING_NAMED
    successor_of: str | None = None


class Built(NamedTuple):
    """A dataset in memory, and what it was built from."""

    dataset: data.Dataset
    offsets: dict[str, int]
    policy_versions: dict[str, int]
    policy_digest: str | None = None
    provenance: Mapping[Provenance, int] = _NOTHING_NAMED
    quality: Quality | None = None


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


def log_of(settings: Settings) -> History:
    """The log as Kafka has it."""
    return KafkaHistory(bootstrap(settings))


def build(settings: Settings, request: Request, watch: Watch = lambda done, total: None, log: History | None = None) -> Built:
    """Fold the log up to the offsets, in memory. Raises AssayError where nothing is approved, or what is cannot be split."""
    built = asyncio.run(folded(log or log_of(settings), settings, request, watch))
    if not built.dataset.examples:
        left_out = ", ".join(f"{count} {reason}" for reason, count in built.dataset.left_out.items())
        raise AssayError(
            f"nothing to put into a snapshot: {_NOTHING[request.kind]}",
            where=", ".join([*request.projects, *request.slices]) or "all projects",
            got=f"left out: {left_out}" if left_out else None,
            hint="`assay sql` on v_verdicts shows what is approved; votes decide, see `assay policy show`",
            exit_code=Exit.FAILED,
        )
    if request.split.by == "writer":
        _is_split(built.dataset)
    return built


def _is_split(found: data.Dataset) -> None:
    splits, largest = data.split_counts(found.examples), data.largest_group(found.examples)
    writers = len({writer for example in found.examples for writer in example.writers()})
    if not all(splits.values()):
        raise AssayError(
            "these rows cannot be split by writer: prompts and writers hang together",
            got=f"one group of {largest} of {len(found.examples)} rows by {writers} writers; {splits['test']} rows to hold out",
            hint="--split-by prompt keeps nearly equal prompts apart and lets a writer stand in both",
            exit_code=Exit.FAILED,
        )


_NOTHING = {
    "completion": "no approved completion has a whole approved conversation",
    "prompt": "no approved prompt has a whole approved conversation",
    "preference": "no comparison is decided between two approved completions of an approved prompt",
}


async def folded(log: History, settings: Settings, request: Request, watch: Watch) -> Built:
    """What `build` gives, also where that is nothing."""
    return built_from(*await harvests_of(log, settings, request, watch), request, TextReader(key_store(settings)))


async def harvests_of(
    log: History, settings: Settings, request: Request, watch: Watch
) -> tuple[list[data.Harvest], dict[str, int]]:
    """The log's partitions, folded, and the offsets that they were folded up to."""
    log_ends = {f"{topic}/{number}": end for (topic, number), end in (await log.ends(EVENTS.name)).items()}
    bounds = _bounded(request.offsets, log_ends)
    harvests, offsets = list[data.Harvest](), dict[str, int]()
    for place in sorted(bounds):
        harvest, offsets[place] = await _harvest(log, place, bounds, request, watch, settings.worker.too_new)
        harvest.erased |= await erased_since(log, place, offsets[place])
        harvests.append(harvest)
    return harvests, offsets


def built_from(
    harvests: Sequence[data.Harvest], offsets: dict[str, int], request: Request, texts: TextReader | None = None
) -> Built:
    """The dataset of the log's partitions, each folded up to its offset; without a reader, with texts as the log has them."""
    found = (submission for harvest in harvests for submission in harvest.submissions())
    submissions = list(found) if texts is None else [_opened(one, texts) for one in found]
    compared = [comparison for harvest in harvests for comparison in harvest.comparisons()]
    wanted = wanted_by(request)._replace(erased=frozenset(author for harvest in harvests for author in harvest.erased))
    chosen = chosen_pairs(submissions, compared, wanted) if request.kind == "preference" else data.chosen(submissions, wanted)
    projects = sorted({example.project for example in chosen.examples})
    in_force = _in_force(harvests, projects)
    judged = _judged(submissions, compared, wanted)
    return Built(
        chosen,
        offsets,
        {project: one.version for project, one in in_force.items()},
        policy_digest({project: one.policy for project, one in in_force.items()}),
        _provenance(chosen, submissions),
        quality((example.id for example in chosen.examples), judged),
    )


def wanted_by(request: Request) -> data.Wanted:
    return data.Wanted(request.kind, frozenset(request.projects), frozenset(request.slices), request.split)


def _in_force(harvests: Iterable[data.Harvest], projects: Iterable[str]) -> dict[str, InForce]:
    """The newest policy that any partition has."""
    found: dict[str, InForce] = dict.fromkeys(projects, NO_POLICY)
    for harvest in harvests:
        for project, one in harvest.policies().items():
            if project in found and one.version >= found[project].version:
                found[project] = one
    return found


def policy_digest(policies: Mapping[str, Policy]) -> str:
    """SHA-256 over the thresholds by project: the same policy has it under any version, whether recorded or given."""
    said = {project: policy.model_dump(mode="json") for project, policy in policies.items()}
    return sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _judged(
    submissions: Iterable[data.Submission], compared: Iterable[tuple[str, int, Comparison]], wanted: data.Wanted
) -> dict[str, Judged]:
    """What was said of everything of the kind, projects and slices that are wanted."""
    if wanted.kind == "preference":
        return {subject: judged(row) for subject, _, row in compared if wanted.has(row.project, row.slice)}
    return {
        one.id: one.judged
        for one in submissions
        if one.judged is not None and one.kind == wanted.kind and wanted.has(one.project, one.slice)
    }


def _provenance(chosen: data.Dataset, submissions: Iterable[data.Submission]) -> dict[Provenance, int]:
    """Of the rows' own texts: one completion or prompt, or the two of a pair."""
    made: dict[str, Provenance] = {one.id: one.provenance for one in submissions}
    found = Counter(made[one] for example in chosen.examples for one in example.texts())
    return dict(sorted(found.items()))


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
                hint="an archive is brought up to date by `assay archive`; if it is not one, is this the broker that the snapshot"
                " was made from? See ASSAY_KAFKA__BROKERS and --data-dir",
                exit_code=Exit.FAILED,
            )
    return dict(sorted(asked.items()))


async def _harvest(
    log: History, place: str, bounds: Mapping[str, int], request: Request, watch: Watch, too_new: str
) -> tuple[data.Harvest, int]:
    """One partition folded, and the offset that it was folded up to: the bound, or the first event of the time that was asked
    for. `watch` is told of offsets read, over all partitions."""
    topic, _, number = place.rpartition("/")
    harvest = data.Harvest(int(number), in_force_of(request.policies))
    until = None if request.as_of is None or request.offsets is not None else unix_milliseconds(request.as_of)
    before, total = sum(end for other, end in bounds.items() if other < place), sum(bounds.values())
    async for record in log.records(topic, harvest.partition, bounds[place], too_new=too_new):
        if until is not None and record.time_ms >= until:
            return harvest, record.offset
        harvest.feed(record)
        if not record.offset % 1_000:
            watch(before + record.offset, total)
    watch(before + bounds[place], total)
    return harvest, bounds[place]


def in_force_of(policies: Mapping[str, GivenPolicy]) -> dict[str, InForce]:
    return {project: InForce(one.version, one.policy, NOWHERE) for project, one in policies.items()}


async def erased_since(log: History, place: str, start: int) -> set[str]:
    """Authors erased behind the offsets: their texts can be read no more, whichever time a snapshot is of."""
    topic, _, number = place.rpartition("/")
    end, found = (await log.ends(topic))[topic, int(number)], set[str]()
    async for record in log.records(topic, int(number), end, start):
        if isinstance(record.event.data, AuthorErased):
            found.add(record.event.data.author)
    return found


def manifest_of(built: Built, request: Request, files: Sequence[SnapshotFile]) -> Manifest:
    kind, examples, left_out = built.dataset
    digest = data.content_digest(kind, examples)
    return Manifest(
        name=request.name or f"{kind}-{digest[:12]}",
        created_at=now(),
        kind=kind,
        layout=request.layout,
        projects=tuple(sorted(set(request.projects))),
        asked_slices=tuple(sorted(set(request.slices))),
        split=request.split,
        as_of=request.as_of,
        offsets=built.offsets,
        given_policies=dict(request.policies),
        policy_versions=built.policy_versions,
        policy_digest=built.policy_digest,
        code_version=code_version(),
        rows=len(examples),
        splits=data.split_counts(examples),
        groups=data.group_counts(examples),
        largest_group=data.largest_group(examples),
        slices=data.slice_counts(examples),
        left_out=left_out,
        provenance=dict(built.provenance),
        licences=dict(sorted(request.licences.items())),
        quality=built.quality,
        successor_of=request.successor_of,
        columns={layout: data.columns(layout) for layout in LAYOUTS[kind]},
        files=tuple(files),
        content_digest=digest,
        lineage_digest=data.lineage_digest(kind, examples),
    )


def request_of(manifest: Manifest) -> Request:
    """What has to be asked to get this snapshot again from its log."""
    return Request(
        name=manifest.name,
        kind=manifest.kind,
        projects=manifest.projects,
        offsets=manifest.offsets,
        as_of=manifest.as_of,
        slices=manifest.asked_slices,
        split=manifest.split,
        layout=manifest.layout,
        policies=manifest.given_policies,
        licences=manifest.licences,
        successor_of=manifest.successor_of,
    )


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
            (part / CARD).write_text(card(manifest), "utf-8")
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
    given = {project: one.policy.model_dump() for project, one in manifest.given_policies.items()}
    sealed = SnapshotSealed(
        name=manifest.name,
        digest=manifest.content_digest,
        lineage_digest=manifest.lineage_digest,
        kind=manifest.kind,
        projects=manifest.projects,
        slices=manifest.asked_slices,
        split=manifest.split,
        rows=manifest.rows,
        splits={str(split): rows for split, rows in manifest.splits.items()},
        as_of=manifest.as_of,
        offsets=manifest.offsets,
        policy_versions=manifest.policy_versions,
        given_policies=given,
        policy_digest=manifest.policy_digest,
        code_version=manifest.code_version,
        successor_of=manifest.successor_of,
    )
    return run_event(f"snapshot:{manifest.name}", sealed, manifest.created_at)


# --- reading -----------------------------------------------------------------------------------


def folder(settings: Settings, name: str) -> Path:
    return settings.data_dir / "snapshots" / name


def load(settings: Settings, name: str) -> Manifest:
    """The manifest of a snapshot. Raises AssayError where there is none of this name, or it is damaged."""
    path = folder(settings, name) / MANIFEST
    try:
        found = read_manifest(path) if NAME.fullmatch(name) else None
        if found is not None and found.name != name:
            hint = "a folder that was renamed or copied by hand; an erasure would look for its files elsewhere"
            raise AssayError("a manifest is of another snapshot", path, found.name, hint, Exit.FAILED)
        if found is not None:
            return found
        raise FileNotFoundError(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        known = ", ".join(manifest.name for manifest in load_all(settings)[-5:]) or "there is none yet"
        hint = f"known: {known}; `assay snapshot create` makes one"
        raise AssayError("no such snapshot", where=path.parent, got=name, hint=hint) from error


def read_manifest(path: Path) -> Manifest:
    """Raises AssayError where it is damaged."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
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


# --- texts that were erased ------------------------------------------------------------------------

ERASED = "erased.json"


def taint(settings: Settings, name: str, author: str, rows: Sequence[str]) -> None:
    """Mark a snapshot as one that still holds texts of an erased author. The mark stands beside the files, which never change."""
    marks = erased_in(settings, name) | {author: sorted(rows)}
    write_whole(folder(settings, name) / ERASED, orjson.dumps(marks, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def erased_in(settings: Settings, name: str) -> dict[str, list[str]]:
    """Rows that hold texts of erased authors, by author, as far as the snapshot is marked."""
    try:
        marks: dict[str, list[str]] = orjson.loads((folder(settings, name) / ERASED).read_bytes())
        return marks
    except FileNotFoundError:
        return {}


# --- verifying ---------------------------------------------------------------------------------


def verify(settings: Settings, name: str, watch: Watch = lambda done, total: None, log: History | None = None) -> list[Check]:
    """Files against the manifest, rows against the digest, and both against a new build from the log."""
    manifest, path = load(settings, name), folder(settings, name)
    checks = [_file(path, file) for file in manifest.files]
    if all(check.holds for check in checks):
        rows = list(parquet.read(manifest, path))
        checks.append(_equal("rows in the files", manifest.content_digest, data.content_digest(manifest.kind, rows)))
        checks.append(_equal("lineage in the files", manifest.lineage_digest, data.lineage_digest(manifest.kind, rows)))
    again = asyncio.run(folded(log or log_of(settings), settings, request_of(manifest), watch))
    return [*checks, *_built_again(manifest, again)]


def _built_again(manifest: Manifest, again: Built) -> list[Check]:
    kind, examples, left_out = again.dataset
    erased = left_out.get("erased", 0) - manifest.left_out.get("erased", 0)
    remedy = f"{erased} rows; `assay snapshot rebuild {manifest.name}` makes a successor without them"
    checks = [
        Check("no row holds a text of an erased author", not erased, "0 rows", remedy),
        _equal("rows built again from the log", manifest.content_digest, data.content_digest(kind, examples)),
        _equal("lineage built again from the log", manifest.lineage_digest, data.lineage_digest(kind, examples)),
        _equal("policy versions in the log", str(manifest.policy_versions), str(again.policy_versions)),
    ]
    if manifest.quality is None:
        return checks
    expected, got = _unlike(manifest.quality, again.quality)
    return [
        *checks,
        _equal("thresholds in force", str(manifest.policy_digest), str(again.policy_digest)),
        _equal("quality counted again", expected, got),
    ]


def _unlike(one: Quality, other: Quality | None) -> tuple[str, str]:
    """The figures that differ, of both."""
    figures, others = (found.model_dump() if found else {} for found in (one, other))
    names = [name for name, value in figures.items() if others.get(name) != value]
    return tuple(", ".join(f"{name} {found.get(name)}" for name in names) for found in (figures, others))  # type: ignore[return-value]


def _file(path: Path, file: SnapshotFile) -> Check:
    try:
        found = parquet.sha256_of(path / file.path)
    except FileNotFoundError:
        found = "missing"
    return _equal(f"file {file.path}", file.sha256, found)


def _equal(check: str, expected: str, got: str) -> Check:
    return Check(check, expected == got, expected, got)
