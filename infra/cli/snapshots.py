"""assay snapshot create | list | show | verify."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter
from rich.console import RenderableType

from infra import snapshots
from infra.cli.output import DryRun, Json, emit, holds, progress, table
from infra.errors import AssayError, Exit
from infra.snapshots import Check, Request, Sealed, Watch
from infra.wiring import settings
from schemas.manifest import Manifest, RowKind
from schemas.topics import EVENTS


def create(
    name: str | None = None,
    *,
    project: Annotated[tuple[str, ...], Parameter(negative="", help="Only this project; repeat it for more.")] = (),
    kind: Annotated[RowKind, Parameter(help="completion: conversations; prompt: alone; preference: pairs.")] = "completion",
    at: Annotated[str | None, Parameter(help="Offsets to stop before, as 0=1200,1=1187; of all partitions.")] = None,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Write an immutable set of the approved data. Without a name, its digest names it.

    Pairs are decided comparisons whose prompt and completions are all approved.

    Examples:
        assay snapshot create mine --project oasst
        assay snapshot create pairs --project poems --kind preference --dry-run
    """
    request = Request(name, kind, project, None if at is None else _offsets(at))
    with _watched("read the log", json) as watch:
        if dry_run:
            manifest = snapshots.manifest_of(snapshots.build(settings(), _named(request), watch), request, ())
            sealed = Sealed(manifest, snapshots.folder(settings(), manifest.name), created=False)
        else:
            sealed = snapshots.create(settings(), _named(request), watch)
    emit(sealed, json, _render_sealed)


def show(name: str, *, json: Json = False) -> None:
    """Print the manifest of a snapshot."""
    emit(snapshots.load(settings(), name), json, _render_manifest)


def list_all(*, json: Json = False) -> None:
    """List the snapshots of this data directory, oldest first."""
    emit(snapshots.load_all(settings()), json, _render_list)


def verify(name: str, *, json: Json = False) -> Exit:
    """Check a snapshot's files, and build it again from the log. Exit code 1 where anything differs."""
    with _watched("build it again", json) as watch:
        checks = snapshots.verify(settings(), name, watch)
    held = all(check.holds for check in checks)
    emit({"name": name, "holds": held, "checks": checks}, json, lambda _: _render_checks(checks))
    return holds(held)


def _named(request: Request) -> Request:
    name = request.name
    if name is None or snapshots.NAME.fullmatch(name):
        return request
    hint = "small letters, digits, dots, dashes and underscores, at most 64, beginning with a letter or digit"
    raise AssayError("that is no name for a snapshot", got=name, hint=hint)


def _offsets(text: str) -> dict[str, int]:
    """`0=1200,1=1187` as offsets of the events' partitions."""
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {f"{EVENTS.name}/{int(partition)}": int(offset) for partition, offset in pairs}
    except ValueError as error:
        raise AssayError("--at is not understood", got=text, hint="write it as 0=1200,1=1187: partition=offset") from error


@contextmanager
def _watched(what: str, json: bool) -> Iterator[Watch]:
    with progress(json) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _render_sealed(sealed: Sealed) -> RenderableType:
    state = "sealed" if sealed.created else "already there" if sealed.path.exists() else "would be sealed"
    return table(("", ""), [(state, sealed.path), *_facts(sealed.manifest)])


def _render_manifest(manifest: Manifest) -> RenderableType:
    slices = [(f"  {name}", f"{counts['train']} train, {counts['test']} test") for name, counts in manifest.slices.items()]
    offsets = [(f"  {place}", offset) for place, offset in manifest.offsets.items()]
    return table(("", ""), [*_facts(manifest), ("slices", ""), *slices, ("log offsets", ""), *offsets])


def _facts(manifest: Manifest) -> list[tuple[str, object]]:
    splits = ", ".join(
        f"{manifest.splits[split]} {split} ({manifest.groups[split]} groups of prompts)" for split in manifest.splits
    )
    left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in manifest.left_out.items())
    policies = ", ".join(f"{project} v{version}" for project, version in manifest.policy_versions.items())
    return [
        ("name", manifest.name),
        ("rows", f"{manifest.rows}: {splits}"),
        ("left out", left_out or "none"),
        ("digest", manifest.content_digest),
        ("policies", policies),
        ("code", manifest.code_version),
        ("created", manifest.created_at.isoformat()),
    ]


def _render_list(found: list[Manifest]) -> RenderableType:
    rows = [
        (one.name, one.kind, one.rows, one.splits["train"], one.splits["test"], one.content_digest[:12], one.created_at)
        for one in found
    ]
    return table(("name", "kind", "#rows", "#train", "#test", "digest", "created"), rows)


def _render_checks(checks: list[Check]) -> RenderableType:
    rows = [(check.check, "yes" if check.holds else "NO", "" if check.holds else check.got) for check in checks]
    return table(("check", "holds", "found instead"), rows)
