"""assay erase."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra import erasure
from infra.cli.output import DryRun, Json, emit, holds, plain, table, watched
from infra.datasets.lineage import holding
from infra.erasure import Survey
from infra.errors import AssayError, Exit
from infra.folders import sweep
from infra.scanning import Scan, scan
from infra.wiring import settings


def erase(
    author: str,
    *,
    reason: Annotated[str | None, Parameter(help="Why; it stands in the log for ever, so say nothing personal.")] = None,
    check: Annotated[bool, Parameter(negative="", help="Look for the texts in every file afterwards; see --texts.")] = False,
    texts: Annotated[Path | None, Parameter(help="Texts to look for, a JSON string a line; default: those that open.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> Exit:
    """Destroy the keys of an author's words, for good: nobody reads them again, in the log, ClickHouse, or a copy of either.

    Verdicts, votes and counts stay: they rest on what was recorded about the texts. Snapshots with one of the texts lose their
    data files and are named; trained models may have learnt it, and are named. Words that were never sealed stay readable
    where they stand: they are counted, and the exit code is 1. Run it again to complete what was interrupted.

    Examples:
        assay erase w-0117 --dry-run
        assay erase w-0117 --reason "asked for it on 2026-03-10" --check
        assay erase w-0117 --check --texts their-texts.jsonl
    """
    with watched("read the log", json) as watch:
        found = erasure.look(settings(), author, open_texts=check and texts is None, watch=watch)
    wanted = _wanted(found, texts) if check else []
    done = erasure.would_erase(settings(), found) if dry_run else erasure.erase(settings(), found, reason)
    copies = _copies(author, dry_run)
    if not dry_run:
        erasure.complete(settings(), author)
    looked = _look(wanted, json) if check else None
    said = {**asdict(done), **copies, "dry_run": dry_run, "check": looked and {"holds": looked.holds, **asdict(looked)}}
    emit(said, json, lambda _: _render(said, looked))
    return holds(done.holds and (looked is None or dry_run or looked.holds))


def _copies(author: str, dry_run: bool) -> dict[str, Any]:
    """Snapshots that hold a text lose their data files; models that learnt from these are only named."""
    held = holding(settings(), author)
    if not dry_run:
        sweep(settings().data_dir / "snapshots")
        for one in held:
            erasure.purge(settings(), author, one)
    snapshots = [{"snapshot": one.snapshot, "digest": one.digest, "rows": len(one.rows)} for one in held]
    return {"snapshots": snapshots, "runs": sorted({run for one in held for run in one.runs})}


def _wanted(found: Survey, texts: Path | None) -> list[str]:
    """What to look for, opened while it opens."""
    wanted = found.texts if texts is None else _texts(texts)
    if not wanted:
        hint = "they were erased before, or never sealed and gone: give them with --texts FILE, a JSON string a line"
        raise AssayError("there is no text to look for", got=found.author, hint=hint)
    return wanted


def _look(wanted: list[str], json: bool) -> Scan:
    with watched("look into every file", json) as watch:
        return scan(settings(), wanted, watch)


def _texts(path: Path) -> list[str]:
    import orjson

    found: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise AssayError("this is no JSON string", where=f"{path}:{number}", got=error, hint="one a line") from None
        if not isinstance(said, str):
            raise AssayError("this is no JSON string", where=f"{path}:{number}", got=type(said).__name__, hint="one a line")
        found.append(said)
    return found


_STATES = {
    "erased": "erased",
    "completed": "erased before, and now completed",
    "erased_before": "erased before: nothing was left to do",
    "would_be_erased": "would be erased",
}


def _render(said: dict[str, Any], looked: Scan | None) -> RenderableType:
    rows: list[tuple[object, object]] = [
        (plain(said["author"]), _STATES[said["state"]]),
        ("submissions", f"{said['submissions']:,} written, {said['edited_submissions']:,} of others edited"),
        ("sealed", f"{said['sealed_texts']:,} texts, {said['sealed_reasons']:,} reasons"),
        ("keys", f"{said['keys_destroyed']:,} {'would be ' if said['dry_run'] else ''}destroyed"),
        ("snapshots", ", ".join(one["snapshot"] for one in said["snapshots"]) or "none holds a text"),
        ("runs", ", ".join(said["runs"]) or "none learnt from one"),
        ("event", said["event"] or "none yet"),
    ]
    parts: list[RenderableType] = [table(("", ""), rows)]
    if said["plain_left"]:
        parts += ["", f"[red]{said['plain_left']:,} texts or reasons were never sealed, and stay readable[/] at"]
        parts += [", ".join(said["plain_places"]) + (", ..." if said["plain_left"] > len(said["plain_places"]) else "")]
    if left := said["quarantined_left"]:
        parts += ["", f"[red]{len(left):,} records in quarantine name them and are not sealed[/]: {', '.join(left[:20])}"]
    if looked is not None:
        parts += ["", *_scanned(looked)]
    return Group(*parts)


def _scanned(looked: Scan) -> Iterator[RenderableType]:
    head = f"looked for {looked.texts - looked.too_short:,} texts in {looked.files:,} files, {looked.bytes / (1 << 20):,.1f} MiB"
    short = f"; {looked.too_short:,} are too short to look for" if looked.too_short else ""
    yield f"{head}{short}: " + ("[green]none found[/]" if looked.holds else "[red]see below[/]")
    rows = [(plain(place), f"{len(numbers):,} found") for place, numbers in looked.found.items()]
    rows += [(plain(place), f"not looked at: {plain(why)}") for place, why in looked.not_looked_at.items()]
    if rows:
        yield table(("place", ""), rows)
