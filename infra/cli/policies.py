"""assay policy show | apply | log: the thresholds in force, how to change them, and who did."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import RenderableType

from infra.cli.output import DryRun, Json, emit, plain, table
from infra.errors import AssayError
from infra.kafka.topics import ensure_topics
from infra.policies import history, in_force, policy_change, publish_policy, spread
from infra.wiring import bootstrap, settings
from schemas.events import AnyEvent, PolicyApplied
from schemas.policy import THRESHOLDS, Policy, Threshold

Project = Annotated[str | None, Parameter(help="Only this project.")]
Value = int | str | tuple[str, ...]
ValueT = TypeVar("ValueT", int, tuple[str, ...])
_BY_NAME = {threshold.name: threshold for threshold in THRESHOLDS}


def show(*, project: Project = None, json: Json = False) -> None:
    """Print the policy in force in each project; version 0 is the default, where none was applied.

    Example: assay policy show --project sp --json
    """
    found = asyncio.run(in_force(bootstrap(settings())))
    applied = {name: event.data for name, event in found.items() if isinstance(event.data, PolicyApplied)}
    names = sorted(applied) if project is None else [project]
    policies = [{"project": name, **_version(applied.get(name))} for name in names]
    emit(policies, json, _policies)


def _version(applied: PolicyApplied | None) -> dict[str, Any]:
    policy = Policy() if applied is None else applied.policy
    return {"version": 0 if applied is None else applied.version, "policy": policy.model_dump(mode="json")}


def _policies(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = ("threshold", "unit", "#default", *(f"#{one['project']} v{one['version']}" for one in found), "#range", "help")
    rows = [
        (t.name, t.unit, _said(t.default), *(_said(one["policy"][t.name]) for one in found), t.range, t.help) for t in THRESHOLDS
    ]
    return table(columns, rows)


def _said(value: object) -> str:
    """A threshold's value as `--set` takes it."""
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def apply(
    *,
    project: Annotated[str, Parameter(help="The project whose thresholds change.")],
    reason: Annotated[str, Parameter(help="Why, for those who read the log later.")],
    set: Annotated[
        list[str], Parameter(name="--set", negative="", help="threshold=value; names with commas between; may be repeated.")
    ],
    by: Annotated[str, Parameter(help="Who changes it, as an id.")] = "operator",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Put a changed policy into force, in every partition. Votes already cast on open subjects are looked at again.

    Thresholds that are not named stay. Without a change nothing new is said, and an application that was interrupted
    is completed. Examples: assay policy apply --project sp --set overlap_min=3 --reason "two were too few";
    assay policy apply --project nli --set labels=yes,no,unsure --set approving=yes --reason "as the voters are asked"
    """
    changes = _changes(set)
    emit(asyncio.run(_apply(project, changes, by, reason, dry_run)), json, _applied)


async def _apply(project: str, changes: dict[str, Value], by: str, reason: str, dry_run: bool) -> dict[str, Any]:
    brokers = bootstrap(settings())
    await ensure_topics(brokers, settings())
    newest = (await in_force(brokers)).get(project)
    before = newest.data.policy if newest is not None and isinstance(newest.data, PolicyApplied) else Policy()
    version = newest.data.version if newest is not None and isinstance(newest.data, PolicyApplied) else 0
    after = _changed(before, changes)
    said = {"project": project, "dry_run": dry_run, "changed": difference(before, after), "version": version, "records": 0}
    if after != before:
        said["version"] = version + 1
        change = _change(project, version + 1, after, by, reason)
        said["records"] = 0 if dry_run else await publish_policy(brokers, change)
    elif newest is not None and not dry_run:
        said["records"] = await spread(brokers, newest)
    return said


def _change(project: str, version: int, policy: Policy, by: str, reason: str) -> Any:
    now = datetime.now(UTC)
    try:
        return policy_change(now.replace(microsecond=now.microsecond // 1000 * 1000), project, version, policy, by, reason)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        hint = "ids have letters, digits, . _ : - and up to 128 characters; a reason has up to 2,000"
        raise AssayError(f"this cannot be recorded: {first['msg']}", got=first["input"], hint=hint) from None


def _changes(said: Iterable[str]) -> dict[str, Value]:
    return dict(_one_change(text) for text in said)


def _one_change(text: str) -> tuple[str, Value]:
    name, _, said = text.partition("=")
    threshold = _BY_NAME.get(name.strip())
    if threshold is None:
        raise AssayError("no such threshold", got=name, hint=f"there are {', '.join(_BY_NAME)}")
    read = _choice if threshold.choices else _names if isinstance(threshold.default, tuple) else _number
    return threshold.name, read(threshold, said.strip())


def _number(threshold: Threshold, said: str) -> int:
    try:
        value = int(said)
    except ValueError:
        raise AssayError(f"{threshold.name} is a whole number", got=said, hint=_range(threshold)) from None
    return _in_range(threshold, value, value)


def _choice(threshold: Threshold, said: str) -> str:
    if said not in threshold.choices:
        raise AssayError(f"{threshold.name} has no such choice", got=said, hint=_range(threshold))
    return said


def _names(threshold: Threshold, said: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in said.split(",")) if said else ()
    return _in_range(threshold, names, len(names))


def _in_range(threshold: Threshold, value: ValueT, size: int) -> ValueT:
    if not threshold.minimum <= size <= threshold.maximum:
        raise AssayError(f"{threshold.name} is out of range", got=_said(value) or "no name", hint=_range(threshold))
    return value


def _range(threshold: Threshold) -> str:
    allowed = threshold.range if threshold.choices else f"from {threshold.minimum} to {threshold.maximum} {threshold.unit}"
    return f"{allowed}; {threshold.help}"


def _changed(before: Policy, changes: dict[str, Value]) -> Policy:
    try:
        return Policy(**(before.model_dump() | changes))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if not first["loc"]:
        message = first["msg"].removeprefix("Value error, ")
        raise AssayError("these thresholds contradict each other", got=message, hint="set both in one command")
    raise AssayError(
        f"{first['loc'][0]} cannot be this: {first['msg']}", got=first["input"], hint="names have letters, digits, . _ -"
    )


def difference(before: Policy, after: Policy) -> dict[str, list[Any]]:
    """Threshold -> [before, after], where they differ."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}


def _applied(said: Mapping[str, Any]) -> RenderableType:
    if not said["changed"]:
        repaired = f"; {said['records']} missing copies were written" if said["records"] else ""
        return f"{said['project']}: nothing changes, version {said['version']} says the same{repaired}"
    title = f"{said['project']}: version {said['version']}" + (" (not applied: --dry-run)" if said["dry_run"] else "")
    rows = [(name, *map(_said, pair)) for name, pair in said["changed"].items()]
    return table(("threshold", "#before", "#after"), rows, title=title)


def log(*, project: Project = None, json: Json = False) -> None:
    """List every policy that was put into force: when, by whom, why, and what it changed.

    Example: assay policy log --project sp
    """
    events = asyncio.run(history(bootstrap(settings())))
    entries = [entry for entry in _entries(events) if project in (None, entry["project"])]
    emit(entries, json, _entries_table)


def _entries(events: Sequence[AnyEvent]) -> list[dict[str, Any]]:
    before: dict[str, Policy] = {}
    entries: list[dict[str, Any]] = []
    for event in events:
        data = event.data
        if not isinstance(data, PolicyApplied):
            continue
        changed = difference(before.get(data.project, Policy()), data.policy)
        before[data.project] = data.policy
        about = {"time": event.time.isoformat().replace("+00:00", "Z"), "project": data.project, "version": data.version}
        why = {"by": data.applied_by, "reason": data.reason, "preview_digest": data.preview_digest}
        entries.append({**about, "changed": changed, **why, "event_id": event.id})
    return entries


def _entries_table(entries: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = []
    for entry in entries:
        changed = ", ".join(f"{name} {_said(old)} -> {_said(new)}" for name, (old, new) in entry["changed"].items())
        rows.append((entry["time"], entry["project"], entry["version"], entry["by"], changed, plain(entry["reason"])))
    return table(("time", "project", "#version", "by", "changed", "reason"), rows)
