"""assay demo."""

from typing import Any

from rich.progress import TaskID

from infra.cli.output import Json, emit, holds, note, progress
from infra.errors import Exit
from infra.wiring import settings


def demo(*, json: Json = False) -> Exit:
    """Run real data through the whole system, and print one report on it. Exit code 0 only if all of it holds.

    It starts Kafka, the workers, the sink and the gateway on the data directory, sends some 43 thousand events
    (crowd votes with their gold answers, conversations, instructions), waits for the agents, compares live state
    with a replay and ClickHouse with the log, seals a snapshot, tunes a small model on it, and stops everything.
    A second run adds nothing to the log but another training. Example: assay demo --json
    """
    from infra.demo.report import render
    from infra.demo.run import Demo

    lines: list[str] = []

    def tell(name: str, text: str) -> None:
        lines.append(f"{name} | {text}")
        if "died" in text or "error" in text:
            note(f"{name} | {text}", json)

    with progress(json) as bars:
        tasks: dict[str, TaskID] = {}

        def say(step: str, done: int, total: int) -> None:
            if step not in tasks:
                note(step, json)
                tasks[step] = bars.add_task(step, total=total or None)
            bars.update(tasks[step], completed=done, total=total or None)

        report = Demo(settings(), say, tell).run()
    as_data: dict[str, Any] = {"holds": report.holds, **report.__dict__}
    emit(as_data, json, lambda _: render(report))
    return holds(report.holds)
