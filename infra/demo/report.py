"""What the demo found, as data and as tables. `checks` are the equalities that must hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from infra.cli.output import table

Rows = list[dict[str, Any]]


@dataclass
class Report:
    """One section a field; every list is rows of a table, every number has its unit in its name."""

    checks: dict[str, bool] = field(default_factory=dict[str, bool])
    events: Rows = field(default_factory=Rows)
    throughput: dict[str, float] = field(default_factory=dict[str, float])
    verdicts: Rows = field(default_factory=Rows)
    accuracy: dict[str, Any] = field(default_factory=dict[str, Any])
    writers: Rows = field(default_factory=Rows)
    voters: Rows = field(default_factory=Rows)
    diversity_of_categories: Rows = field(default_factory=Rows)
    diversity_of_embeddings: Rows = field(default_factory=Rows)
    live_equals_replay: dict[str, Any] = field(default_factory=dict[str, Any])
    analytics: Rows = field(default_factory=Rows)
    snapshot: dict[str, Any] = field(default_factory=dict[str, Any])
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    evaluation: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    next: list[str] = field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(self.checks.values())


def render(report: Report) -> RenderableType:
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
