"""assay demo."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress import TaskID
from rich.text import Text

from infra.cli.output import Json, emit, holds, note, progress, table
from infra.demo.report import Report, Rows
from infra.errors import Exit
from infra.wiring import settings

#: Where no bar can move, a line says this often that something does.
LINE_SECONDS = 15.0


def demo(*, json: Json = False) -> Exit:
    """Run real data through the whole system, and print one report on it. Exit code 0 only if all of it holds.

    It starts Kafka, the workers, the sink and the gateway on the data directory, sends some 49 thousand events
    (crowd votes with their gold answers, conversations, instructions), waits for the agents, compares live state
    with a replay and ClickHouse with the log, seals a snapshot, tunes a small model on it, and stops everything.
    A second run adds nothing to the log but another training. Example: assay demo --json
    """
    from infra.demo.run import Demo

    lines: list[str] = []

    def tell(name: str, text: str) -> None:
        lines.append(f"{name} | {text}")
        if "died" in text or "error" in text:
            note(f"{name} | {text}", json)

    with progress(json) as bars:
        tasks: dict[str, TaskID] = {}
        spoken = time.monotonic()

        def say(step: str, done: int, total: int) -> None:
            nonlocal spoken
            if step not in tasks:
                note(step, json)
                tasks[step] = bars.add_task(step, total=total or None)
            elif not sys.stderr.isatty() and time.monotonic() - spoken > LINE_SECONDS:
                note(f"{step}: {done} of {total}", json)
                spoken = time.monotonic()
            bars.update(tasks[step], completed=done, total=total or None)

        report = Demo(settings(), say, tell).run()
    as_data: dict[str, Any] = {"holds": report.holds, **report.__dict__}
    emit(as_data, json, lambda _: _render(report))
    return holds(report.holds)


def _render(report: Report) -> RenderableType:
    sections: list[RenderableType] = []
    for title, found in _sections(report):
        sections += [Text(f"\n{title}", style="bold underline"), found]
    return Group(*sections)


def _sections(report: Report) -> Iterable[tuple[str, RenderableType]]:
    yield "Events in the log", _rows(report.events)
    yield "Throughput", _facts(report.throughput)
    yield "Verdicts", _rows(report.verdicts)
    yield "Accuracy against gold", _facts(report.accuracy)
    yield "Writers: rejection rate with its 95 % Wilson interval, highest lower bound first", _rows(report.writers)
    yield "Voters: disagreement with the verdict, highest lower bound first", _rows(report.voters)
    yield "Diversity of approved texts by category", _rows(report.diversity_of_categories)
    yield "Diversity of approved texts by embedding", _rows(report.diversity_of_embeddings)
    yield "live = replay", _facts(report.live_equals_replay)
    yield "ClickHouse against the log", _rows(report.analytics)
    yield "Snapshot", _facts(report.snapshot)
    yield "Training", _facts(report.training)
    yield "Evaluation: tuned against untouched, on the held-out split", _facts(report.evaluation)
    yield "Seconds", _facts(report.seconds)
    yield "What must hold", table(("check", "holds"), [(name, _yes(held)) for name, held in report.checks.items()])
    yield "Next", Text("\n".join(report.next))


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def _rows(rows: Rows) -> RenderableType:
    if not rows:
        return Text("none", style="dim")
    names = list(rows[0])
    return table([_heading(name, rows) for name in names], [[_cell(row[name]) for name in names] for row in rows])


def _heading(name: str, rows: Rows) -> str:
    numeric = all(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)
    return f"#{name}" if numeric else name


def _facts(facts: dict[str, Any]) -> RenderableType:
    return table(("", ""), [(name.replace("_", " "), _cell(value)) for name, value in facts.items()])


def _cell(value: Any) -> str:
    match value:
        case bool():
            return _yes(value)
        case float():
            return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
        case int():
            return f"{value:,}"
        case dict():
            return ", ".join(f"{name} {_cell(inner)}" for name, inner in value.items())
        case list() | tuple():
            items: Sequence[Any] = value
            return ", ".join(_cell(item) for item in items)
        case _:
            return str(value)
