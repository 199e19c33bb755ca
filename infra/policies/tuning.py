"""Changing policies: what the command line and HTTP have in common, from a proposal to its undoing."""

import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra import times
from infra.errors import AssayError, Exit
from infra.policies.log import PolicyChange, history, policy_change, publish_policy, spread
from infra.policies.previews import digest_of, opened
from schemas.events import AnyEvent
from schemas.policy import THRESHOLD_BY_NAME, Policy
from schemas.words import AnnotatorId, Project, Reason, Sha256, SliceId, UtcTime, Version
from streams.policy_book import Book, Deciding, Page, difference
from streams.policy_lint import Case, Finding, lint
from streams.projection import Json


class Document(BaseModel):
    """A policy as a file: where it is for, what it was made from, and thresholds; those that are not named stay."""

    model_config = ConfigDict(extra="forbid")

    project: Project | None = None
    slice: SliceId | None = None
    based_on: Version | None = None
    policy: dict[str, Any] = Field(default_factory=dict)


class Wish(BaseModel):
    """A change that somebody wants. Thresholds that are not named stay as they are."""

    model_config = ConfigDict(extra="forbid")

    project: Project
    slice: SliceId | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    reason: Reason
    by: AnnotatorId = "operator"
    based_on: Version | None = None
    preview: Sha256 | None = None
    redecide_since: UtcTime | None = None
    force_lint: tuple[str, ...] = ()
    dry_run: bool = False


class Live(NamedTuple):
    """What is known of the people and votes of a scope; None where nothing is."""

    voters: int | None = None
    labels: Mapping[str, int] | None = None


class Conflict(AssayError):
    """The change was made on another version than the one that decides."""

    def __init__(self, based_on: int, now: Deciding, changed: Mapping[str, Sequence[Any]]) -> None:
        theirs = now.page.data if now.page is not None else None
        who = "nobody" if theirs is None else f"{theirs.applied_by} ({theirs.reason})"
        said = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items()) or "no threshold"
        super().__init__(
            f"version {now.version} decides there, and this was made from version {based_on}",
            where=who,
            got=said,
            hint=f"look at what it changed, and apply with --based-on {now.version}",
            exit_code=Exit.FAILED,
        )
        self.version, self.changed = now.version, dict(changed)


class Refused(AssayError):
    """The linter found errors that were not forced."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        first = findings[0]
        codes = " ".join(f"--force-lint {one.code}" for one in findings)
        super().__init__(f"{first.code}: {first.says}", where=first.threshold, hint=f"{first.hint}; or, knowingly, {codes}")
        self.findings = list(findings)


async def book(brokers: str) -> Book:
    return Book(await history(brokers))


# --- documents ---------------------------------------------------------------------------------


def as_toml(project: str, slice_: str | None, deciding: Deciding) -> str:
    """A document that `apply --file` takes back."""
    head = [("project", project), *([("slice", slice_)] if slice_ else []), ("based_on", deciding.version)]
    lines = [f"{name} = {_toml(value)}" for name, value in head] + ["", "[policy]"]
    for name, value in deciding.policy.model_dump(mode="json").items():
        threshold = THRESHOLD_BY_NAME[name]
        lines += [f"# {threshold.help} ({threshold.range}, {threshold.unit})", f"{name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    # Strings, numbers and lists of strings are written alike in JSON and in TOML.
    return orjson.dumps(value).decode()


def read_toml(path: Path) -> Document:
    """Raises AssayError."""
    try:
        return Document.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise AssayError("the policy file cannot be read", where=path, got=error.strerror) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AssayError("this is no policy", where=path, got=f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:  # also numbers of over 4,300 digits, and brackets in brackets
        raise AssayError("this is no TOML", where=path, got=str(error)) from None


def changed(before: Policy, changes: Mapping[str, Any]) -> Policy:
    """The policy with these thresholds. Raises AssayError."""
    unknown = [name for name in changes if name not in THRESHOLD_BY_NAME]
    if unknown:
        raise AssayError("no such threshold", got=unknown[0], hint=f"there are {', '.join(THRESHOLD_BY_NAME)}")
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    try:
        return Policy(**(before.model_dump() | told))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    if not first["loc"]:
        message = first["msg"].removeprefix("Value error, ")
        raise AssayError("these thresholds contradict each other", got=message, hint="set both in one command")
    threshold = THRESHOLD_BY_NAME.get(str(first["loc"][0]))
    hint = "names have letters, digits, . _ -" if threshold is None or isinstance(threshold.default, tuple) else threshold.range
    raise AssayError(f"{first['loc'][0]} cannot be this: {first['msg']}", got=first["input"], hint=hint)


# --- reading -----------------------------------------------------------------------------------


def shown(project: str, slice_: str | None, deciding: Deciding) -> Json:
    said: Json = {"project": project, "version": deciding.version, "policy": deciding.policy.model_dump(mode="json")}
    return said if slice_ is None else {**said, "slice": slice_, "own": deciding.own}


def in_all_scopes(found: Book, project: str | None = None, slice_: str | None = None) -> list[Json]:
    """What decides in a scope; or in every project, and every slice with a policy of its own."""
    if slice_ is not None and project is not None:
        return [shown(project, slice_, found.deciding(project, slice_))]
    projects = found.projects() if project is None else [project]
    scopes = [(name, one) for name in projects for one in (None, *found.slices(name))]
    return [shown(name, one, found.deciding(name, one)) for name, one in scopes]


def linted(found: Book, project: str, slice_: str | None, policy: Policy, reason: str | None, live: Live) -> list[Finding]:
    whole = None if slice_ is None else found.deciding(project, None).policy
    others = {} if slice_ else {one: found.deciding(project, one).policy for one in found.slices(project)}
    before = found.deciding(project, slice_).policy
    return lint(Case(policy, before, reason, whole, others, live.voters, live.labels))


def entry(found: Book, page: Page) -> Json:
    """One application as the log tells it."""
    data = page.data
    about = {"time": page.time.isoformat().replace("+00:00", "Z"), "project": data.project, "slice": data.slice}
    why = {"by": data.applied_by, "reason": data.reason, "preview_digest": data.preview_digest, "based_on": data.based_on}
    since = None if data.redecide_since is None else data.redecide_since.isoformat().replace("+00:00", "Z")
    did = {"redecide_since": since, "undoes": data.undoes, "inherits": data.inherits}
    changes = difference(found.decided_before(page).policy, data.policy)
    return {**about, "version": data.version, "changed": changes, **why, **did, "event_id": page.id}


# --- writing -----------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A change that is ready: what it says, what the linter finds, and its events if it changes anything."""

    said: Json
    findings: list[Finding]
    change: PolicyChange | None
    repeats: Page | None


def planned(found: Book, wish: Wish, live: Live, data_dir: Path | None = None) -> Plan:
    """`data_dir`: where previews are kept. Raises Conflict, Refused, AssayError."""
    now = found.deciding(wish.project, wish.slice)
    if wish.based_on is not None and wish.based_on != now.version:
        page = found.page(wish.project, wish.based_on)
        raise Conflict(wish.based_on, now, difference(Policy() if page is None else page.data.policy, now.policy))
    after = changed(now.policy, wish.set)
    _look_at_preview(data_dir, wish, after)
    findings = linted(found, wish.project, wish.slice, after, wish.reason, live)
    forced = [one for one in findings if one.level == "error" and one.code in wish.force_lint]
    if refused := [one for one in findings if one.level == "error" and one.code not in wish.force_lint]:
        raise Refused(refused)
    reason = wish.reason + "".join(f" [lint forced: {code}]" for code in sorted({one.code for one in forced}))
    said: Json = {"project": wish.project, "slice": wish.slice, "dry_run": wish.dry_run, "changed": difference(now.policy, after)}
    said |= {"version": now.version, "based_on": now.version, "preview": wish.preview, "records": 0}
    said["redecide_since"] = None if wish.redecide_since is None else wish.redecide_since.isoformat()
    said["lint"] = [one._asdict() for one in findings]
    if after == now.policy and (now.own or wish.slice is None) and wish.redecide_since is None:
        return Plan(said, findings, None, now.page)
    version = found.next_version(wish.project)
    about = {"slice": wish.slice, "based_on": now.version, "redecide_since": wish.redecide_since}
    return Plan(
        said | {"version": version}, findings, _change(wish.project, version, after, wish.by, reason, wish.preview, **about), None
    )


def _look_at_preview(data_dir: Path | None, wish: Wish, after: Policy) -> None:
    """A preview of something else must not stand in the log beside what this comes to. One that is not kept here may be
    kept elsewhere."""
    if data_dir is None or wish.preview is None or (said := opened(data_dir, wish.preview)) is None:
        return
    if (said["project"], said["slice"], said["policy_digest"]) == (wish.project, wish.slice, policy_digest(after)):
        return
    scope = said["project"] + (f"/{said['slice']}" if said["slice"] else "")
    told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in said["changed"].items()) or "no change"
    hint = "assay policy preview with the arguments of this one prints the digest that belongs to it"
    raise AssayError("this preview is of another policy", where=wish.preview[:12], got=f"{scope}: {told}", hint=hint)


def policy_digest(policy: Policy) -> str:
    return digest_of(policy.model_dump(mode="json"))


async def apply(brokers: str, wish: Wish, live: Live, data_dir: Path | None = None) -> Json:
    """Put a change into force; without one, complete the last application where it was interrupted."""
    plan = planned(await book(brokers), wish, live, data_dir)
    if wish.dry_run:
        return plan.said
    if plan.change is not None:
        return {**plan.said, "records": await publish_policy(brokers, plan.change)}
    if plan.repeats is not None:
        plan.said["records"] = await spread(brokers, await _event_of(brokers, plan.repeats))
    return plan.said


async def _event_of(brokers: str, page: Page) -> Any:
    return next(event for event in await history(brokers) if event.id == page.id)


#: Brokers, what is to be undone, and the event that will -> what becomes of it.
Count = Callable[[str, Page, AnyEvent], Awaitable[Json]]


class Undo(BaseModel):
    """What is to be undone: a version, or the newest of the scope."""

    model_config = ConfigDict(extra="forbid")

    project: Project
    slice: SliceId | None = None
    version: Version | None = None
    reason: Reason
    by: AnnotatorId = "operator"
    with_later: bool = False
    dry_run: bool = False


async def undo(brokers: str, wish: Undo, count: Count | None = None) -> Json:
    """Take a change back. `count` says what flips and what cannot be undone."""
    said, page, change = undoing(await book(brokers), wish)
    if count is not None:
        said |= await count(brokers, page, change.applied)
    return said if wish.dry_run else said | {"records": await publish_policy(brokers, change)}


def undoing(found: Book, wish: Undo) -> tuple[Json, Page, PolicyChange]:
    """The new version that restores what decided before, and what it restores. Raises AssayError."""
    page = _undone(found, wish)
    later = [one.data.version for one in found.after(page)]
    if later and not wish.with_later:
        hint = f"undo {later[-1]} first, or say --with-later to take them back too"
        raise AssayError(f"version {page.data.version} is not the newest there", got=f"later: {later}", hint=hint)
    before, current = found.decided_before(page), found.deciding(*page.scope)
    project, slice_ = page.scope
    inherits = slice_ is not None and not before.own
    restored = found.deciding(project, None).policy if inherits else before.policy
    version, undoes = found.next_version(project), page.data.version
    about = {"slice": slice_, "based_on": found.of(project, slice_)[-1].data.version, "undoes": undoes, "inherits": inherits}
    change = _change(project, version, restored, wish.by, wish.reason, None, **about)
    said: Json = {"project": project, "slice": slice_, "dry_run": wish.dry_run, "version": version, "undoes": undoes}
    said |= {"restores": before.version, "inherits": inherits, "changed": difference(current.policy, restored), "records": 0}
    return said, page, change


def _undone(found: Book, wish: Undo) -> Page:
    pages = found.of(wish.project, wish.slice)
    page = pages[-1] if wish.version is None and pages else found.page(wish.project, wish.version or -1)
    if page is None:
        hint = f"assay policy log --project {wish.project}"
        raise AssayError("no such version was applied", where=wish.project, got=wish.version, hint=hint)
    return page


def _change(project: str, version: int, policy: Policy, by: str, reason: str, preview: str | None, **more: Any) -> PolicyChange:
    try:
        return policy_change(times.now(), project, version, policy, by, reason, preview, **more)
    except ValidationError as error:
        raise unrecordable(error) from None


def unrecordable(error: ValidationError) -> AssayError:
    first = error.errors(include_url=False)[0]
    if first["loc"] == ("preview",):
        hint = "64 hexadecimal digits: `assay policy preview` prints it as its last line"
        return AssayError("no digest of a preview", got=first["input"], hint=hint)
    hint = (
        "ids have letters, digits, . _ : - and up to 128 characters; a reason has up to 2,000; a slice is language/domain/skill"
    )
    return AssayError(
        f"this cannot be recorded: {'.'.join(map(str, first['loc']))}: {first['msg']}", got=first["input"], hint=hint
    )
