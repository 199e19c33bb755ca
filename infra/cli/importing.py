"""assay import | ingest: from files and streams to events in the log."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType

from agents.keys import KeyStore
from agents.publishing import delivered
from infra.cli.output import DryRun, Json, emit, plain, progress, table
from infra.errors import AssayError, Exit
from infra.importing.facts import Found, Options
from infra.importing.formats import FORMAT_BY_NAME, FORMATS, Format
from infra.importing.intake import Report, intake
from infra.importing.jsonl import jsonl
from infra.importing.lines import opened, text_lines
from infra.importing.publish import Known, Message, add, known_events, publish, publishing
from infra.importing.sealing_in import Sample
from infra.importing.stream import Feed
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.times import utc
from infra.wiring import bootstrap, key_store, settings
from schemas.words import ID_PATTERN, LABEL_PATTERN, Label

_FORMATS = "; ".join(f"{one.name}: {one.reads}" for one in FORMATS)
FormatName = Annotated[str, Parameter(name="--format", help=f"{_FORMATS}.")]


def import_file(
    file: Path,
    *,
    format: FormatName,
    project: Annotated[str | None, Parameter(help="Project of the events; default: the format's, or the folder's name.")] = None,
    gold: Annotated[Path | None, Parameter(help="Right answers; default: gold.csv beside the file.")] = None,
    labels: Annotated[
        str | None, Parameter(help="Labels and what stands for each: good=1,bad=0; repeat one for more; yes,no: themselves.")
    ] = None,
    slice: Annotated[str | None, Parameter(help="language/domain/skill of the texts of crowd-csv.")] = None,
    writer: Annotated[str | None, Parameter(help="Model that wrote the predictions; default: from the file's name.")] = None,
    start: Annotated[datetime | None, Parameter(help="Where the clock of files without times starts (UTC).")] = None,
    skip: Annotated[bool, Parameter(help="Read the log first, and leave out what it has.")] = True,
    dry_run: DryRun = False,
    json: Json = False,
) -> Exit:
    """Turn a file of another tool into events, and send them. Packed files (.gz) are read as they are.

    Good lines go in; bad ones are reported, and make the exit code 1. A second run adds nothing, and an interrupted
    one is completed by running it again.
    Example: assay import votes.csv --format crowd-csv --project reviews
    """
    chosen = _format(format)
    options = _options(file, chosen, project, writer, start)
    options = replace(options, slice=slice or options.slice, labels=_labels(labels) if labels else options.labels)
    report, begun = Report(), time.monotonic()
    with ExitStack() as files:
        beside = _gold(file, gold) if chosen.name == "crowd-csv" else None
        answers = text_lines(files.enter_context(opened(beside))) if beside else iter(())
        lines = text_lines(files.enter_context(opened(file)))
        found = chosen.adapter(lines, replace(options, gold=answers))
        if dry_run:
            _drain(intake(found, {}, report, Sample()))
        else:
            asyncio.run(_import(settings(), found, report, skip, json))
    about = {"file": str(file), "format": chosen.name, "project": options.project, "gold": beside and str(beside)}
    return _tell({**about, "dry_run": dry_run}, report, time.monotonic() - begun, json)


def ingest(
    file: Annotated[str, Parameter(help="A file, or - for standard input.", allow_leading_hyphen=True)] = "-",
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> Exit:
    """Send events, one CloudEvents JSON object a line, as they come in. An event sent twice counts once.

    Bad lines are reported, and make the exit code 1. Example: tail -f events.jsonl | assay ingest -
    """
    report, begun = Report(), time.monotonic()
    with ExitStack() as files:
        # Its own reader: that of sys.stdin cannot be shut down while a thread waits in it.
        source = open(0, "rb", closefd=False) if file == "-" else files.enter_context(opened(Path(file)))  # noqa: SIM115
        found = jsonl(text_lines(source), Options("ingest"))
        if dry_run:
            _drain(intake(found, None, report, Sample()))
        else:
            keys = key_store(settings())
            asyncio.run(_ingest(settings(), intake(found, None, report, keys), keys))
    return _tell({"file": file, "dry_run": dry_run}, report, time.monotonic() - begun, json)


# --- what the options mean ---------------------------------------------------------------------


def _format(name: str) -> Format:
    if name not in FORMAT_BY_NAME:
        raise AssayError("no such format", got=name, hint=f"there are {', '.join(FORMAT_BY_NAME)}")
    return FORMAT_BY_NAME[name]


def _options(file: Path, chosen: Format, project: str | None, writer: str | None, start: datetime | None) -> Options:
    name = file.name.removesuffix(".gz").rsplit(".", 1)[0]
    where = file.absolute().parent.name if name == "votes" else name
    options = Options(project or chosen.project or where, writer=writer or name.removesuffix("_predictions"))
    if len(options.project) > 64 or not re.fullmatch(ID_PATTERN, options.project):
        raise AssayError("this cannot be a project's name", got=options.project, hint="--project: letters, digits, . _ : -")
    if start is None:
        return options
    start = utc(start)
    if not datetime(1970, 1, 1, tzinfo=UTC) <= start < datetime(2100, 1, 1, tzinfo=UTC):
        raise AssayError("--start is out of range", got=start.isoformat(), hint="from 1970 to 2099")
    return replace(options, start=start)


def _labels(said: str) -> Mapping[str, Label]:
    found: dict[str, Label] = {}
    for part in said.split(","):
        label, given, cell = part.strip().partition("=")
        cell = cell if given else label
        if not re.fullmatch(LABEL_PATTERN, label):
            raise AssayError(
                "this cannot be a label", got=label, hint="letters, digits, . _ -, up to 64: --labels best=A+,worst=F"
            )
        if not cell or cell in found:
            raise AssayError("--labels is not understood", got=part, hint="--labels good=1,bad=0; each name in the file once")
        found[cell] = label
    return found


def _gold(file: Path, named: Path | None) -> Path | None:
    if named is not None:
        return named
    return next((beside for name in ("gold.csv", "gold.csv.gz") if (beside := file.parent / name).is_file()), None)


# --- sending -----------------------------------------------------------------------------------


async def _import(settings: Settings, found: Iterator[Found], report: Report, skip: bool, json: bool) -> None:
    brokers = bootstrap(settings)
    await ensure_topics(brokers, settings)
    with progress(json) as bar:
        task = bar.add_task("reading the log", total=None)
        known: Known | None = None
        if skip:
            known = await known_events(brokers, advance=lambda done: bar.update(task, completed=done))
        bar.update(task, description="importing", completed=0)
        keys = key_store(settings)
        messages = intake(found, known, report, keys)
        await publish(
            brokers, settings.kafka.partitions, messages, lambda done: bar.update(task, completed=done), before=keys.sync
        )


async def _ingest(settings: Settings, messages: Iterator[Message], keys: KeyStore) -> None:
    brokers = bootstrap(settings)
    await ensure_topics(brokers, settings)
    async with publishing(brokers) as publisher:
        async for batch in Feed(messages).batches():
            for one in batch:
                add(publisher, settings.kafka.partitions, one)
            keys.sync()
            await delivered(await publisher.send_all())


def _drain(messages: Iterator[Message]) -> None:
    for _ in messages:
        pass


# --- the report --------------------------------------------------------------------------------


def _tell(about: dict[str, Any], report: Report, seconds: float, json: bool) -> Exit:
    counts = {
        "events": report.events,
        "new": report.new,
        "already_there": report.already_there,
        "new_by_type": dict(report.new_by_type),
        "problems_total": report.problems_total,
        "problems_by_code": dict(report.problems_by_code),
        "problems": [asdict(problem) for problem in report.problems],
        "duration_seconds": round(seconds, 3),
    }
    emit(about | counts, json, lambda said: _render(said, report))
    return Exit.FAILED if report.problems_total else Exit.OK


def _render(said: dict[str, Any], report: Report) -> RenderableType:
    verb = "would be sent" if said["dry_run"] else "sent"
    seconds = said["duration_seconds"]
    there = f", {report.already_there:,} in the log already" if report.already_there else ""
    head = f"{report.events:,} events: {report.new:,} {verb}{there}; {seconds:.1f} s"
    parts: list[RenderableType] = [head]
    if report.new_by_type:
        parts.append(table(("new", "#events"), [(type_, f"{count:,}") for type_, count in report.new_by_type.items()]))
    if report.problems:
        rows = [
            (f"{one.file or ''}{':' if one.file else ''}{one.line}", one.code, plain(one.reason), one.hint)
            for one in report.problems
        ]
        parts += ["", table(("line", "code", "reason", "hint"), rows, title=_title(report))]
    return Group(*parts)


def _title(report: Report) -> str:
    counts = ", ".join(f"{count:,} {code}" for code, count in report.problems_by_code.most_common())
    first = f"; the first {len(report.problems)}:" if report.problems_total > len(report.problems) else ":"
    return f"{report.problems_total:,} not taken ({counts}){first}"
