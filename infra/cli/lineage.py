"""assay lineage model | snapshot | submission | annotator."""

from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra.cli.output import Json, emit, table, watched
from infra.cli.sources import Origin, history
from infra.wiring import settings

OpenLineage = Annotated[bool, Parameter(name="--openlineage", negative="", help="Print OpenLineage run events, one a line.")]


def model(run: str, /, *, openlineage: OpenLineage = False, source: Origin = "kafka", json: Json = False) -> None:
    """Trace a model: its training and snapshot, and the texts, votes, people, policies and checks behind every row.

    Examples:
        assay lineage model smoke-0123456789ab
        assay lineage model smoke-0123456789ab --json | jq .people.voters
        assay lineage model smoke-0123456789ab --openlineage
    """
    from infra.datasets.tracing import of_model

    with watched("read the log", json or openlineage) as watch:
        told = of_model(settings(), run, history(source), watch)
    _tell(told, openlineage, source, json)


def snapshot(name: str, /, *, openlineage: OpenLineage = False, source: Origin = "kafka", json: Json = False) -> None:
    """Trace a snapshot, by its name or digest, whether it is on this data directory or only the log knows it.

    Examples:
        assay lineage snapshot mine
        assay lineage snapshot 043a7187 --json
    """
    from infra.datasets.tracing import of_snapshot

    with watched("read the log", json or openlineage) as watch:
        told = of_snapshot(settings(), name, history(source), watch)
    _tell(told, openlineage, source, json)


def submission(subject: str, /, *, source: Origin = "kafka", json: Json = False) -> None:
    """Say what happened to a submission or comparison, and which snapshots and models hold its text.

    Examples:
        assay lineage submission haiku-7
    """
    from infra.datasets.tracing import of_submission

    emit(of_submission(settings(), subject, history(source)), json, _render_submission)


def annotator(name: str, /, *, source: Origin = "kafka", json: Json = False) -> None:
    """Say which snapshots and models hold a person's texts, and which rest on their votes.

    Examples:
        assay lineage annotator w-17 --json
    """
    from infra.datasets.tracing import of_annotator

    emit(of_annotator(settings(), name, history(source)), json, _render_annotator)


def _tell(told: dict[str, Any], openlineage: bool, source: str, json: bool) -> None:
    if not openlineage:
        return emit(told, json, _render)
    import sys

    import orjson

    from infra.datasets.openlineage import run_events
    from infra.wiring import bootstrap

    # An archive does not say which brokers it was copied from.
    brokers = bootstrap(settings()) if source in ("kafka", "both") else settings().kafka.brokers or "archive"
    for event in run_events(told, brokers):
        sys.stdout.write(orjson.dumps(event).decode() + "\n")
    return None


# --- what is said ------------------------------------------------------------------------------


def _render(told: dict[str, Any]) -> RenderableType:
    snapshot, people, checks = told["snapshot"], told["people"], told["checks"]
    facts: list[tuple[str, object]] = []
    if "training" in told:
        training = told["training"]
        facts += [("model", told["model"]), ("trained", f"{training['time']}, recipe {training['recipe']}, {training['at']}")]
        facts += [("evaluated", f"{one['run']}, {one['at']}") for one in told["evaluations"]]
    facts += [("snapshot", f"{snapshot['name']}, digest {snapshot['digest'][:12]}, {snapshot['rows']} rows")]
    facts += [("sealed", f"{one['time']}, {one['at']}") for one in told["sealed"]]
    facts += [("log", f"{place} below {offset}") for place, offset in snapshot["offsets"].items()]
    facts += [("models", ", ".join(told["models"]) or "none")]
    facts += [(f"{role} ({len(named)})", _most(named)) for role, named in people.items()]
    facts += [("texts", f"{checks['verdicts']}, by {checks['votes']} votes and {checks['choices']} choices")]
    facts += [("decided by", _most(checks["because"])), ("checked by", _most(checks["models"]) or "no model")]
    rows = [
        (one["project"], one["version"], one["decided"], one.get("applied_by"), one.get("reason")) for one in told["policies"]
    ]
    policies = table(("project", "#policy", "#decided", "applied by", "reason"), rows)
    return Group(table(("", ""), facts), "", policies, "", "--json has every row with its texts, votes and places in the log")


def _most(named: dict[str, int], count: int = 8) -> str:
    first = sorted(named.items(), key=lambda one: (-one[1], one[0]))[:count]
    rest = f" and {len(named) - count} more" if len(named) > count else ""
    return ", ".join(f"{name} {times}" for name, times in first) + rest


def _render_submission(told: dict[str, Any]) -> RenderableType:
    history = [(one["at"], one["time"], one["event"].split(".")[1], one["by"]) for one in told["history"]]
    return Group(table(("record", "time", "event", "by"), history), "", _render_reached(told["snapshots"]))


def _render_annotator(told: dict[str, Any]) -> RenderableType:
    names = ("annotator", "erased", "submissions", "edits", "judged")
    facts = table(("", ""), [(name, told[name]) for name in names])
    texts, votes = _render_reached(told["holds_texts"]), _render_reached(told["rests_on_votes"])
    return Group(facts, "", "holding their texts:", texts, "", "resting on their votes:", votes)


def _render_reached(found: list[dict[str, Any]]) -> RenderableType:
    if not found:
        return "no snapshot of this data directory"
    rows = [
        (one["snapshot"], len(one["rows"]), ", ".join(one["runs"]), "tainted" if one["tainted"] else "", _first(one["rows"]))
        for one in found
    ]
    return table(("snapshot", "#rows", "runs", "", "rows"), rows)


def _first(rows: list[str], count: int = 3) -> str:
    return ", ".join(rows[:count]) + (" ..." if len(rows) > count else "")
