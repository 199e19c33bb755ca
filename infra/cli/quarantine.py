"""assay quarantine list | show | replay | discard: records that could not be handled, and what becomes of them."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from infra.cli.output import DryRun, Json, emit, plain, printable, table
from infra.errors import AssayError
from infra.quarantine import Held, chosen, discard_records, held, ref_of, replay_records
from infra.wiring import bootstrap, settings

Refs = Annotated[list[str], Parameter(negative="", help="partition/offset, as in the list; may be several.")]
Waiting = Annotated[bool, Parameter(name="--all", negative="", help="All that wait.")]
MAX_SHOWN_BYTES = 64 * 1024
COLUMNS = ("ref", "from", "projection", "error", "code", "reason", "#attempt", "#bytes", "state")


def list_all(
    *, all: Annotated[bool, Parameter(negative="", help="Also what was replayed or discarded.")] = False, json: Json = False
) -> None:
    """List the records that could not be handled and wait for a decision. Example: assay quarantine list --json"""
    found = [record for record in _held() if all or record.settled is None]
    emit([_as_json(record, False) for record in found], json, lambda _: _list(found))


def show(ref: Annotated[str, Parameter(help="partition/offset, as in the list.")], *, json: Json = False) -> None:
    """Print one of them: where it came from, why it is here, and its bytes as hex and text.

    Example: assay quarantine show 0/12
    """
    wanted = ref_of(ref)
    found = next((record for record in _held() if record.ref == wanted), None)
    if found is None:
        raise AssayError("no such quarantined record", got=ref, hint="`assay quarantine list --all` lists every one")
    emit(_as_json(found, True), json, lambda _: _show(found))


def replay(refs: Refs = [], /, *, all: Waiting = False, dry_run: DryRun = False, json: Json = False) -> None:  # noqa: B006
    """Send records again, byte by byte, to the partition that they came from: after a fix, or an event they waited for.

    What is refused again comes back as a new record. Example: assay quarantine replay 0/12 3/4
    """
    records = _chosen(refs, all)
    if not dry_run:
        asyncio.run(replay_records(bootstrap(settings()), records))
    _tell("replayed", records, dry_run, json)


def discard(
    refs: Refs = [],  # noqa: B006
    /,
    *,
    reason: Annotated[str, Parameter(help="Why, for those who read the log later.")],
    all: Waiting = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Note that records may stay unhandled. Nothing is deleted. Example: assay quarantine discard 0/12 --reason "a test" """
    records = _chosen(refs, all)
    if not dry_run:
        asyncio.run(discard_records(bootstrap(settings()), records, reason))
    _tell("discarded", records, dry_run, json)


def _held() -> list[Held]:
    return asyncio.run(held(bootstrap(settings())))


def _chosen(refs: Sequence[str], all: bool) -> list[Held]:
    if bool(refs) == all:
        raise AssayError("name records, or all of them, and not both", hint="assay quarantine replay 0/12 3/4, or --all")
    found = _held()
    return [record for record in found if record.settled is None] if all else chosen(found, [ref_of(ref) for ref in refs])


def _tell(verb: str, records: Sequence[Held], dry_run: bool, json: bool) -> None:
    said = {verb: [str(record.ref) for record in records], "dry_run": dry_run}
    would = "would be " if dry_run else ""
    emit(said, json, lambda _: f"{len(records)} {would}{verb}: {', '.join(str(record.ref) for record in records[:20])}")


# --- how it looks ------------------------------------------------------------------------------


def _as_json(record: Held, whole: bool) -> dict[str, Any]:
    about = asdict(record) | {"ref": str(record.ref), "time": _time(record), "bytes": len(record.value)}
    about["key"] = None if record.key is None else record.key.decode("utf-8", "backslashreplace")
    del about["value"], about["time_ms"]
    return about | {"value_hex": record.value.hex(), "value_text": as_text(record.value)} if whole else about


def _time(record: Held) -> str:
    try:
        return datetime.fromtimestamp(record.time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"@{record.time_ms}"


def _list(records: Sequence[Held]) -> RenderableType:
    if not records:
        return "nothing waits in quarantine"
    return table(COLUMNS, [_row(record) for record in records])


def _row(record: Held) -> tuple[object, ...]:
    source = f"{record.topic}/{record.partition}@{record.offset}"
    texts = (plain(text) for text in (source, record.projection, record.error, record.code, record.reason))
    return (record.ref, *texts, record.attempt, f"{len(record.value):,}", record.settled or "waits")


def _show(record: Held) -> RenderableType:
    key = b"" if record.key is None else record.key
    rows = [(name.lstrip("#"), value) for name, value in zip(COLUMNS, _row(record), strict=True)]
    rows += [("time", _time(record)), ("key", escape(as_text(key)))]
    shown = record.value[:MAX_SHOWN_BYTES]
    cut = f"... and {len(record.value) - len(shown):,} bytes more; --json has all of them" if shown != record.value else ""
    return Group(table(("", ""), rows), "", Text(as_text(shown)), "", Text("\n".join(_hex(shown[:1024]))), cut)


def as_text(value: bytes) -> str:
    """Bytes as text that cannot steer a terminal: control characters and what is not UTF-8 stand as escapes."""
    return printable(value.decode("utf-8", "backslashreplace"))


def _hex(value: bytes) -> Iterator[str]:
    for at in range(0, len(value), 16):
        row = value[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):<47}  {text}"
