"""assay snapshot create | list | show | verify | diff | reproduce | rebuild."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra import times
from infra.cli.output import DryRun, Json, emit, holds, note, table, watched
from infra.cli.sources import Origin, history
from infra.datasets import snapshots
from infra.datasets.snapshots import Check, Request, Sealed
from infra.errors import AssayError, Exit
from infra.runs import announce
from infra.wiring import settings
from schemas.manifest import FORMATS, Layout, Manifest, RowKind, SplitBy, SplitRule
from schemas.topics import EVENTS

Format = Literal["sft", "prompt-completion", "prompt-only", "preference", "unpaired"]
AsOf = Annotated[
    str | None,
    Parameter(
        name=["--as-of", "--at"],
        help="Where to stop: a time, as 2026-03-01 or 2026-03-01T12:00:00Z, or offsets of all partitions, as 0=1200,1=1187.",
    ),
]


def create(
    name: str | None = None,
    *,
    project: Annotated[tuple[str, ...], Parameter(negative="", help="Only this project; repeat it for more.")] = (),
    slice: Annotated[tuple[str, ...], Parameter(negative="", help="Only this slice, as en/*/chat; repeat it for more.")] = (),
    format: Annotated[Format | None, Parameter(help="What rows are, and the columns that load_dataset reads first.")] = None,
    kind: Annotated[RowKind, Parameter(help="completion: conversations; prompt: alone; preference: pairs.")] = "completion",
    as_of: AsOf = None,
    policy: Annotated[str | None, Parameter(help="Decide by this TOML file, or version of the log, instead.")] = None,
    split: Annotated[str, Parameter(help="Percent of groups to train on and to hold out.")] = "85/15",
    split_by: Annotated[SplitBy, Parameter(help="writer: no writer stands in two splits either.")] = "prompt",
    licence: Annotated[tuple[str, ...], Parameter(negative="", help="PROJECT=SPDX-ID for the card; repeat it for more.")] = (),
    source: Origin = "kafka",
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Write an immutable set of the approved data. Without a name, its digest names it.

    Pairs are decided comparisons whose prompt and completions are all approved. With --policy every vote of the log is
    weighed again by that policy, in the place of those that were recorded for the projects named, or for all.

    Examples:
        assay snapshot create mine --project oasst
        assay snapshot create pairs --project poems --format preference --dry-run
        assay snapshot create strict --project oasst --as-of 2026-03-01 --policy strict.toml --split 90/10
    """
    from infra.policies.given import given_policies

    offsets, time = _until(as_of)
    row_kind, layout = _format(format, kind)
    log = history(source)
    given = {} if policy is None else given_policies(log, policy, project)
    request = Request(
        name, row_kind, project, offsets, time, _slices(slice), _split(split, split_by), layout, given, _licences(licence)
    )
    with watched("read the log", json) as watch:
        built = snapshots.build(settings(), _named(request), watch, log)
        manifest = snapshots.manifest_of(built, request, ())
        planned = Sealed(manifest, snapshots.folder(settings(), manifest.name), created=False)
        sealed = planned if dry_run else snapshots.seal(settings(), request, built)
    _warn(sealed.manifest, json)
    _say(sealed, source, dry_run, json)


def _say(sealed: Sealed, source: str, dry_run: bool, json: bool) -> None:
    """Print what was sealed, and tell the log, where one was read."""
    if not dry_run and source in ("kafka", "both"):
        announce(settings(), [snapshots.sealed_event(sealed.manifest)])
    elif not dry_run:
        note("It was built from an archive: no SnapshotSealed says so on a log.", json)
    emit(sealed, json, _render_sealed)


def show(name: str, /, *, json: Json = False) -> None:
    """Print the manifest of a snapshot."""
    emit(_told(snapshots.load(settings(), name)), json, lambda _: _render_manifest(snapshots.load(settings(), name)))


def list_all(*, json: Json = False) -> None:
    """List the snapshots of this data directory, oldest first. Tainted ones hold texts of authors that were erased since."""
    found = snapshots.load_all(settings())
    emit([_told(one) for one in found], json, lambda _: _render_list(found))


def verify(name: str, /, *, source: Origin = "kafka", json: Json = False) -> Exit:
    """Check a snapshot's files, and build it again from the log. Exit code 1 where anything differs."""
    with watched("build it again", json) as watch:
        checks = snapshots.verify(settings(), name, watch, history(source))
    held = all(check.holds for check in checks)
    erased = snapshots.erased_in(settings(), name)
    said = {"name": name, "holds": held, "tainted": bool(erased), "erased": erased, "checks": checks}
    emit(said, json, lambda _: _render_checks(checks))
    return holds(held)


def diff(name: str, other: str, /, *, source: Origin = "kafka", json: Json = False) -> None:
    """Say which rows two snapshots do not have alike, and for each why.

    Examples:
        assay snapshot diff march april
        assay snapshot diff mine strict --json
    """
    from infra.datasets.differences import compare

    with watched("read the log", json) as watch:
        found = compare(settings(), name, other, watch, history(source))
    counts = Counter((one.change, one.reason) for one in found.rows)
    summary = [{"change": change, "reason": reason, "rows": rows} for (change, reason), rows in sorted(counts.items())]
    rows = [one._asdict() | {"place": None if one.place is None else one.place._asdict()} for one in found.rows]
    said = {"a": name, "b": other, "backwards": found.backwards, "summary": summary, "rows": rows}
    emit(said, json, lambda _: _render_diff(found))


def reproduce(
    manifest: Path,
    *,
    as_of: AsOf = None,
    source: Origin = "kafka",
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Build the snapshot of a manifest (or of its folder) on this data directory, and seal it if it has the very same digest.

    Where this log has other partitions than the manifest's, it is read up to the manifest's time, or up to --as-of.

    Examples:
        assay snapshot reproduce mine/manifest.json
        assay snapshot reproduce mine --source /mnt/backup/assay
    """
    from infra.datasets.copies import reproduce as again

    offsets, time = _until(as_of)
    with watched("read the log", json) as watch:
        sealed = again(settings(), manifest, history(source), offsets, time, watch, dry_run)
    _say(sealed, source, dry_run, json)


def rebuild(name: str, /, *, source: Origin = "kafka", json: Json = False, dry_run: DryRun = False) -> None:
    """Make the successor of a snapshot: the same rows at the same offsets, without texts whose authors were erased.

    Examples:
        assay snapshot rebuild mine
    """
    from infra.datasets.copies import successor

    with watched("read the log", json) as watch:
        sealed = successor(settings(), name, watch, history(source), dry_run)
    _say(sealed, source, dry_run, json)


# --- what was asked ----------------------------------------------------------------------------


def _named(request: Request) -> Request:
    name = request.name
    if name is None or snapshots.NAME.fullmatch(name):
        return request
    hint = "small letters, digits, dots, dashes and underscores, at most 64, beginning with a letter or digit"
    raise AssayError("that is no name for a snapshot", got=name, hint=hint)


def _until(text: str | None) -> tuple[dict[str, int] | None, datetime | None]:
    """Offsets of the events' partitions, as `0=1200,1=1187`, or a time."""
    if text is None:
        return None, None
    try:
        if "=" not in text:
            return None, times.read(text)
        pairs = [pair.split("=") for pair in text.split(",")]
        return {f"{EVENTS.name}/{int(partition)}": int(offset) for partition, offset in pairs}, None
    except (ValueError, OverflowError) as error:
        hint = "a time is written as 2026-03-01T12:00:00Z, and is UTC where it says nothing; offsets as 0=1200,1=1187"
        raise AssayError("--as-of is not understood", got=text, hint=hint) from error


def _format(name: str | None, kind: RowKind) -> tuple[RowKind, Layout | None]:
    if name is None:
        return kind, None
    found, layout = FORMATS[name]
    if kind not in ("completion", found):
        raise AssayError("--format and --kind contradict each other", got=f"{name} and {kind}", hint="leave --kind out")
    return found, layout


def _slices(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if pattern.count("/") != 2 or not set(pattern) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-/*"):
            raise AssayError("that is no slice", got=pattern, hint="language/domain/skill, as en/general/chat or en/*/*")
    return patterns


def _split(text: str, by: SplitBy) -> SplitRule:
    train, _, test = text.partition("/")
    if not (train.isdecimal() and test.isdecimal() and int(train) + int(test) == 100 and 1 <= int(test) <= 50):
        raise AssayError("--split is not understood", got=text, hint="write it as 85/15; at most half can be held out")
    return SplitRule(test_percent=int(test), by=by)


def _licences(said: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in said]
    for project, _, licence in pairs:
        if not project or not licence:
            raise AssayError("--licence is not understood", got=project, hint="write it as oasst=Apache-2.0")
    return {project: licence for project, _, licence in pairs}


# --- what is said ------------------------------------------------------------------------------


def _warn(manifest: Manifest, json: bool) -> None:
    asked, held = manifest.split.test_percent, 100 * manifest.splits["test"] / manifest.rows
    if manifest.largest_group * 100 > asked * manifest.rows and manifest.rows > 100:
        what = "prompts and writers" if manifest.split.by == "writer" else "nearly equal prompts"
        share = 100 * manifest.largest_group / manifest.rows
        note(f"One group of {what} has {share:.0f} % of all rows; {held:.1f} % are held out, of {asked} % asked for.", json)


def _told(manifest: Manifest) -> dict[str, Any]:
    erased = snapshots.erased_in(settings(), manifest.name)
    return manifest.model_dump(mode="json") | {"tainted": bool(erased), "erased": erased}


def _render_sealed(sealed: Sealed) -> RenderableType:
    state = "sealed" if sealed.created else "already there" if sealed.path.exists() else "would be sealed"
    return table(("", ""), [(state, sealed.path), *_facts(sealed.manifest)])


def _render_manifest(manifest: Manifest) -> RenderableType:
    from infra.datasets.card import quality_lines

    slices = [(f"  {name}", f"{counts['train']} train, {counts['test']} test") for name, counts in manifest.slices.items()]
    offsets = [(f"  {place}", offset) for place, offset in manifest.offsets.items()]
    known = [("quality", "")] if manifest.quality else []
    known += [("", line.removeprefix("- ")) for line in (quality_lines(manifest.quality) if manifest.quality else ())]
    return table(("", ""), [*_facts(manifest), ("slices", ""), *slices, *known, ("log offsets", ""), *offsets])


def _facts(manifest: Manifest) -> list[tuple[str, object]]:
    what = "prompts and writers" if manifest.split.by == "writer" else "prompts"
    splits = ", ".join(f"{manifest.splits[one]} {one} ({manifest.groups[one]} groups of {what})" for one in manifest.splits)
    left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in manifest.left_out.items())
    given = " (given in the place of the recorded ones)" if manifest.given_policies else ""
    policies = ", ".join(f"{project} v{version}" for project, version in manifest.policy_versions.items())
    origin = ", ".join(f"{count} {name}" for name, count in manifest.provenance.items())
    tainted = _tainted(manifest)
    return [
        ("name", manifest.name),
        *([("TAINTED", f"{tainted} rows of erased authors; `assay snapshot rebuild {manifest.name}`")] if tainted else []),
        ("rows", f"{manifest.rows}: {splits}"),
        ("left out", left_out or "none"),
        ("origin", origin or "not counted"),
        ("digest", manifest.content_digest),
        ("policies", policies + given),
        ("code", manifest.code_version),
        ("created", manifest.created_at.isoformat()),
    ]


def _tainted(manifest: Manifest) -> int:
    return len({row for rows in snapshots.erased_in(settings(), manifest.name).values() for row in rows})


def _render_list(found: list[Manifest]) -> RenderableType:
    def row(one: Manifest) -> tuple[object, ...]:
        tainted, splits = _tainted(one), one.splits
        counts = (one.rows, splits["train"], splits["test"])
        created, harm = f"{one.created_at:%Y-%m-%dT%H:%M:%SZ}", f"{tainted} rows" if tainted else ""
        return one.name, one.kind, *counts, one.content_digest[:12], created, harm

    return table(("name", "kind", "#rows", "#train", "#test", "digest", "created", "tainted"), map(row, found))


def _render_checks(checks: list[Check]) -> RenderableType:
    rows = [(check.check, "yes" if check.holds else "NO", "" if check.holds else check.got) for check in checks]
    return table(("check", "holds", "found instead"), rows)


def _render_diff(found: Any) -> RenderableType:
    from streams.differences import REASONS

    counts = Counter((one.change, one.reason) for one in found.rows)
    summary = [(change, reason, rows, REASONS[reason]) for (change, reason), rows in sorted(counts.items())]
    rows = [(one.change, one.row, one.reason, one.subject, _place(one), ", ".join(one.fields)) for one in found.rows]
    if not rows:
        return "the two have the same rows"
    about = "The second stands earlier in the log: reasons tell what happened from it to the first." if found.backwards else ""
    shown = table(("change", "row", "reason", "because of", "record", "fields"), rows)
    return Group(table(("change", "reason", "#rows", ""), summary), "", about, shown)


def _place(one: Any) -> str:
    return "" if one.place is None else f"{one.place.event.split('.')[1]} at {one.place.partition}@{one.place.offset}"
