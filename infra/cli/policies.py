"""assay policy show | diff | lint | apply | log | undo: the thresholds in force, how to change them, and who did."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import Group, RenderableType

from infra.cli.output import DryRun, Json, emit, holds, plain, table
from infra.errors import AssayError, Exit
from infra.kafka.topics import ensure_topics
from infra.policies import tuning
from infra.times import utc
from infra.wiring import bootstrap, settings
from schemas.policy import THRESHOLD_BY_NAME, THRESHOLDS, Policy, Threshold
from streams.policy_book import Book, difference
from streams.policy_lint import Finding

Project = Annotated[str | None, Parameter(help="Only this project.")]
Whose = Annotated[str | None, Parameter(help="The project that it is for; needed unless the file of --file names it.")]
Slice = Annotated[str | None, Parameter(name="--slice", help="The policy of this slice (language/domain/skill) alone.")]
File = Annotated[Path | None, Parameter(help="A policy as TOML, as `assay policy show --toml` prints it.")]
Set = Annotated[
    list[str] | None,
    Parameter(name="--set", negative="", help="threshold=value; names with commas between; may be repeated."),
]
By = Annotated[str, Parameter(help="Who changes it, as an id.")]
NoLive = Annotated[
    bool,
    Parameter(name="--no-live", negative="", help="Lint without looking at who votes and what votes say: sooner on a large log."),
]
Value = int | str | tuple[str, ...]
ValueT = TypeVar("ValueT", int, tuple[str, ...])


def show(
    *,
    project: Project = None,
    slice_: Slice = None,
    toml: Annotated[bool, Parameter(name="--toml", negative="", help="Print one scope as a file for `apply --file`.")] = False,
    json: Json = False,
) -> None:
    """Print the policy in force in each project, and in each slice with its own; version 0 is the default.

    Examples:
        assay policy show --project sp --json
        assay policy show --project sp --slice en/reviews/sentiment --toml > policy.toml
    """
    found = asyncio.run(tuning.book(bootstrap(settings())))
    if not toml:
        emit(tuning.in_all_scopes(found, project, slice_), json, _policies)
        return
    if project is None:
        raise AssayError("a document is for one project", hint="say --project")
    print(tuning.as_toml(project, slice_, found.deciding(project, slice_)), end="")


def _policies(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    names = [f"#{_where(one)} v{one['version']}" for one in found]
    if len(found) > 1:
        return _side_by_side(found, names)
    columns = ("threshold", "unit", "#default", *names, "#range", "help")
    rows = [
        (t.name, t.unit, _said(t.default), *(_said(one["policy"][t.name]) for one in found), t.range, t.help) for t in THRESHOLDS
    ]
    return table(columns, rows)


def _side_by_side(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> RenderableType:
    """Of many scopes what somebody changed: all of it beside its meaning fits no terminal."""
    rows = [(t.name, _said(t.default), *(_said(one["policy"][t.name]) for one in found)) for t in THRESHOLDS]
    changed = [row for row in rows if len(set(row[1:])) > 1]
    same = len(rows) - len(changed)
    more = f"the other {same} are as by default; --project NAME shows all of one, with unit, range and meaning"
    return Group(table(("threshold", "#default", *names), changed), "", more)


def _said(value: object) -> str:
    """A threshold's value as `--set` takes it."""
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


# --- diff and lint -----------------------------------------------------------------------------


def diff(
    old: Annotated[str, Parameter(help="A file, a version's number, `current`, or `default`.")],
    new: Annotated[str, Parameter(help="The same.")] = "current",
    /,
    *,
    project: Project = None,
    slice_: Slice = None,
    json: Json = False,
) -> Exit:
    """Print what differs between two policies: files, versions, what is in force, or the default.

    Exit code 0 where they are equal and 1 where they differ, as diff(1) has it.

    Examples:
        assay policy diff 3 4 --project sp
        assay policy diff current policy.toml --project sp --slice en/reviews/sentiment
    """
    found = asyncio.run(tuning.book(bootstrap(settings())))
    policies = [_named(found, one, project, slice_) for one in (old, new)]
    changed = difference(*policies)
    emit({"old": old, "new": new, "equal": not changed, "changed": changed}, json, lambda _: _changes_table(changed))
    return holds(not changed)


def _named(found: Book, name: str, project: str | None, slice_: str | None) -> Policy:
    if name == "default":
        return Policy()
    if not (name.isdecimal() or name == "current"):
        document = tuning.read_toml(Path(name))
        about = document.project or project
        return tuning.changed(Policy() if about is None else _of(found, about, document.slice or slice_), document.policy)
    if project is None:
        raise AssayError("versions are those of a project", got=name, hint="say --project")
    if name == "current":
        return _of(found, project, slice_)
    page = found.page(project, int(name))
    if page is None and name != "0":
        raise AssayError("no such version was applied", project, name, f"assay policy log --project {project}")
    return Policy() if page is None else page.data.policy


def _of(found: Book, project: str, slice_: str | None) -> Policy:
    return found.deciding(project, slice_).policy


def _changes_table(changed: Mapping[str, Sequence[Any]], title: str | None = None) -> RenderableType:
    if not changed:
        return "no threshold differs"
    return table(("threshold", "#before", "#after"), [(name, *map(_said, pair)) for name, pair in changed.items()], title=title)


def lint(
    *,
    file: File = None,
    set: Set = None,
    project: Whose = None,
    slice_: Slice = None,
    reason: Annotated[str | None, Parameter(help="The reason that would be given.")] = None,
    no_live: NoLive = False,
    json: Json = False,
) -> Exit:
    """Look for what is wrong with a policy: rules that never hold, that hold against anybody, or that contradict each other.

    Exit code 1 where there is an error, by which `apply` would refuse it. Each code is explained in docs/policies.md.

    Examples:
        assay policy lint --project sp --set overlap_max=2
        assay policy lint --file policy.toml --json
    """
    about = asked(file, set, project, slice_)

    async def look() -> list[Finding]:
        brokers = bootstrap(settings())
        found = await tuning.book(brokers)
        policy = tuning.changed(_of(found, about.project, about.slice), about.set)
        return tuning.linted(found, about.project, about.slice, policy, reason, await _live(about, no_live))

    findings = asyncio.run(look())
    emit([one._asdict() for one in findings], json, lambda _: _findings_table(findings))
    return holds(not any(one.level == "error" for one in findings))


async def _live(about: tuning.Wish, no_live: bool) -> tuning.Live:
    from infra.policies.facts import live_facts

    return tuning.Live() if no_live else await live_facts(bootstrap(settings()), about.project, about.slice, datetime.now(UTC))


def _findings_table(findings: Sequence[Finding]) -> RenderableType:
    if not findings:
        return "nothing is wrong"
    return table(("", "code", "threshold", "says", "hint"), [(f.level, f.code, f.threshold, f.says, f.hint) for f in findings])


def asked(file: Path | None, set_: Sequence[str] | None, project: str | None, slice_: str | None, **more: Any) -> tuning.Wish:
    """What the arguments and the file want together; an argument counts over the file."""
    document = tuning.Document() if file is None else tuning.read_toml(file)
    about = project or document.project
    if about is None:
        raise AssayError("no project is named", hint="say --project, or `project = ...` in the file")
    if file is None and not set_:
        raise AssayError("nothing is to change", hint="say --set threshold=value, or --file policy.toml")
    given = {"reason": "-"} | {name: value for name, value in more.items() if value is not None}
    based_on = given.pop("based_on", document.based_on)
    changes = {**document.policy, **_changes(set_ or ())}
    try:
        return tuning.Wish(project=about, slice=slice_ or document.slice, set=changes, based_on=based_on, **given)
    except ValidationError as error:
        raise tuning.unrecordable(error) from None


# --- apply -------------------------------------------------------------------------------------


def apply(
    *,
    project: Whose = None,
    slice_: Slice = None,
    reason: Annotated[str, Parameter(help="Why, for those who read the log later.")],
    file: File = None,
    set: Set = None,
    by: By = "operator",
    based_on: Annotated[
        int | None, Parameter(help="The version that this was made from; refused if another one decides now.")
    ] = None,
    preview: Annotated[str | None, Parameter(help="Digest of the preview that was looked at.")] = None,
    without_preview: Annotated[
        bool, Parameter(name="--without-preview", negative="", help="Say that none was: recorded.")
    ] = False,
    redecide_since: Annotated[
        datetime | None, Parameter(help="Decide texts again whose revision came in since (the full hour of) this time, UTC.")
    ] = None,
    force_lint: Annotated[
        list[str] | None, Parameter(negative="", help="Apply in spite of this error of the linter; recorded. May be repeated.")
    ] = None,
    no_live: NoLive = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Put a changed policy into force, in every partition. Votes already cast on open subjects are looked at again.

    Thresholds that are not named stay. Without a change nothing new is said, and an application that was interrupted is
    completed. A slice's policy decides in its project's stead, but for the rules about people.

    Examples:
        assay policy apply --project sp --set overlap_min=3 --reason "two were too few"
        assay policy apply --project nli --set labels=yes,no,unsure --set approving=yes --reason "as the voters are asked"
        assay policy apply --file policy.toml --redecide-since 2026-11-01 --reason "as agreed on Monday" --without-preview
    """
    if preview is not None and without_preview:
        raise AssayError("it has a preview, or it has none", hint="leave --preview or --without-preview out")
    more: dict[str, Any] = {"reason": reason, "by": by, "based_on": based_on, "preview": preview, "dry_run": dry_run}
    more |= {"redecide_since": None if redecide_since is None else utc(redecide_since), "force_lint": tuple(force_lint or ())}
    wish = asked(file, set, project, slice_, **more)

    async def change() -> dict[str, Any]:
        await ensure_topics(bootstrap(settings()), settings())
        return await tuning.apply(bootstrap(settings()), wish, await _live(wish, no_live), settings().data_dir)

    emit(asyncio.run(change()), json, _applied)


def _changes(said: Iterable[str]) -> dict[str, Value]:
    return dict(_one_change(text) for text in said)


def _one_change(text: str) -> tuple[str, Value]:
    name, _, said = text.partition("=")
    threshold = THRESHOLD_BY_NAME.get(name.strip())
    if threshold is None:
        raise AssayError("no such threshold", got=name, hint=f"there are {', '.join(THRESHOLD_BY_NAME)}")
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


def _where(said: Mapping[str, Any]) -> str:
    return f"{said['project']}/{said['slice']}" if said.get("slice") else str(said["project"])


def _applied(said: Mapping[str, Any]) -> RenderableType:
    warnings = [Finding(**one) for one in said["lint"]]
    if not said["changed"] and not said["records"] and not said["dry_run"]:
        return f"{_where(said)}: nothing changes, version {said['version']} says the same"
    if not said["changed"] and said["version"] == said["based_on"]:
        repaired = f"; {said['records']} missing copies were written" if said["records"] else ""
        return f"{_where(said)}: nothing changes, version {said['version']} says the same{repaired}"
    title = f"{_where(said)}: version {said['version']}" + (" (not applied: --dry-run)" if said["dry_run"] else "")
    since = said["redecide_since"]
    again = [f"texts that came in since {_to_the_second(since)} are decided again"] if since else []
    shown = [title, _changes_table(said["changed"]), *again]
    return Group(*shown, "", _findings_table(warnings)) if warnings else Group(*shown)


# --- log and undo ------------------------------------------------------------------------------


def log(*, project: Project = None, slice_: Slice = None, json: Json = False) -> None:
    """List every policy that was put into force: when, by whom, why, what it changed, and what came of it.

    Where a policy was applied with a preview that is still kept, what it predicted stands beside what happened: texts by
    verdict 1 and 24 hours after, and now (or when another version took over), as the analytics store has them.

    Example: assay policy log --project sp
    """
    found = asyncio.run(tuning.book(bootstrap(settings())))
    pages = [page for page in found.pages if project in (None, page.data.project) and slice_ in (None, page.data.slice)]
    entries = [tuning.entry(found, page) for page in pages]
    emit(_with_outcomes(entries), json, _entries_table)


def _with_outcomes(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from infra.clickhouse.engine import asking
    from infra.policies.facts import actual
    from infra.policies.previews import predicted

    for one in entries:
        one["predicted"] = predicted(settings().data_dir, one["preview_digest"])
    if not any(one["predicted"] for one in entries):
        return entries
    with asking(settings()) as client:
        for one in entries:
            if one["predicted"]:
                since, until = datetime.fromisoformat(one["time"]), _end(entries, one)
                one["actual"] = actual(client, one["project"], one["slice"], since, until or datetime.now(UTC))
                one["replaced_at"] = None if until is None else until.isoformat().replace("+00:00", "Z")
    return entries


def _end(entries: list[dict[str, Any]], one: Mapping[str, Any]) -> datetime | None:
    """When another version took over in its scope: what came after is not its doing. A fact's time is that of the record
    that it is from."""
    scope = (one["project"], one["slice"])
    later = [other for other in entries if (other["project"], other["slice"]) == scope and other["version"] > one["version"]]
    return datetime.fromisoformat(later[0]["time"]) - timedelta(milliseconds=1) if later else None


def _entries_table(entries: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = []
    for entry in entries:
        changed = ", ".join(f"{name} {_said(old)} -> {_said(new)}" for name, (old, new) in entry["changed"].items())
        did = [f"undoes {entry['undoes']}"] if entry["undoes"] is not None else []
        did += [f"redecides since {_to_the_second(entry['redecide_since'])}"] if entry["redecide_since"] else []
        preview = entry["preview_digest"][:12] if entry["preview_digest"] else "without"
        what = "; ".join([*did, changed] if changed else did)
        rows.append(
            (_to_the_second(entry["time"]), _where(entry), entry["version"], entry["by"], what, preview, plain(entry["reason"]))
        )
    listed = table(("time", "scope", "#version", "by", "changed", "preview", "reason"), rows)
    return Group(listed, *(_outcome_table(entry) for entry in entries if entry.get("actual")))


def _to_the_second(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _outcome_table(entry: Mapping[str, Any]) -> RenderableType:
    predicted, actual = entry["predicted"], entry["actual"]
    rows = [
        (stand, _range_of(predicted[stand]), *(one[stand] for one in actual.values()))
        for stand in actual["now"]
        if stand in predicted
    ]
    title = f"\n{_where(entry)} version {entry['version']}: predicted against actual"
    names = [name.replace("_", " ") if name != "now" or not entry["replaced_at"] else "when replaced" for name in actual]
    return table(("texts", "#predicted", *(f"#{name}" for name in names)), rows, title=title)


def _range_of(said: Any) -> str:
    """A number, or the ends of what history leaves open."""
    if not isinstance(said, Mapping):
        return str(said)
    return str(said["low"]) if said["low"] == said["high"] else f"{said['low']} to {said['high']}"


def undo(
    version: Annotated[
        int | None, Parameter(help="The version to take back; the newest of the scope where none is named.")
    ] = None,
    /,
    *,
    project: Annotated[str, Parameter(help="The project whose policy is taken back.")],
    slice_: Slice = None,
    reason: Annotated[str, Parameter(help="Why, for those who read the log later.")],
    by: By = "operator",
    with_later: Annotated[
        bool, Parameter(name="--with-later", negative="", help="Take back what was applied on top, too.")
    ] = False,
    no_live: Annotated[bool, Parameter(name="--no-live", negative="", help="Do not count what flips.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Restore the policy from before a version, as a new version, and whatever was decided under it as it had been.

    It says which verdicts flip back, and what nothing can take back: votes that were paid for, people who were held back,
    snapshots that were sealed meanwhile and models that were trained on them.

    Examples:
        assay policy undo --project sp --reason "too many approved by two" --dry-run
        assay policy undo 4 --project sp --slice en/reviews/sentiment --reason "back to the project's"
    """
    try:
        about: dict[str, Any] = {"version": version, "reason": reason, "by": by, "with_later": with_later, "dry_run": dry_run}
        wish = tuning.Undo(project=project, slice=slice_, **about)
    except ValidationError as error:
        raise tuning.unrecordable(error) from None
    emit(asyncio.run(_undo(wish, no_live)), json, _undone)


async def _undo(wish: tuning.Undo, no_live: bool) -> dict[str, Any]:
    from infra.policies.facts import consequences

    brokers = bootstrap(settings())
    await ensure_topics(brokers, settings())
    return await tuning.undo(brokers, wish, None if no_live else consequences)


def _undone(said: Mapping[str, Any]) -> RenderableType:
    to = "its project's policy" if said["inherits"] else f"version {said['restores']}"
    title = f"{_where(said)}: version {said['version']} undoes {said['undoes']} and restores {to}"
    shown = [title + (" (not applied: --dry-run)" if said["dry_run"] else ""), _changes_table(said["changed"])]
    if "flips" in said:
        lost = said["cannot_undo"]
        flips = ", ".join(f"{count:,} {what}" for what, count in said["flips"].items()) or "no verdict"
        shown += ["", f"flips back: {flips}", "cannot be undone:"]
        shown += [
            f"  {name.replace('_', ' ')}: {', '.join(v) or 'none' if isinstance(v, list) else v}" for name, v in lost.items()
        ]
    return Group(*shown)
