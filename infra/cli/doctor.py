"""assay doctor: each thing without which the system does not start, looked at before it is needed."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import RenderableType

from infra import ports
from infra.cli.output import Json, emit, holds, table
from infra.errors import AssayError, Exit
from infra.kafka import jars, java
from infra.kafka.broker import Broker
from infra.settings import PREFIX, Settings, listing
from infra.wiring import key_store, settings

NEEDED_BYTES = 2 << 30
NOT_SETTINGS = {"ASSAY_CONFIG", "ASSAY_DEBUG", "ASSAY_READY_FD"}
State = Literal["ok", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    check: str
    state: State
    found: str
    hint: str = ""


def doctor(*, json: Json = False) -> Exit:
    """Look for what would keep the system from starting. Exit code 1 when something would."""
    findings = tuple(_run(name, check, settings()) for name, check in CHECKS)
    well = all(finding.state != "bad" for finding in findings)
    emit({"holds": well, "findings": [asdict(finding) for finding in findings]}, json, lambda _: _render(findings))
    return holds(well)


def _run(name: str, check: "Check", settings: Settings) -> Finding:
    try:
        state, found, hint = check(settings)
    except AssayError as error:
        return Finding(name, "bad", f"{error.what}: {error.got or error.where}", str(error.hint or ""))
    except OSError as error:
        return Finding(name, "bad", str(error), "see that path")
    return Finding(name, state, found, hint)


Said = tuple[State, str, str]
Check = Callable[[Settings], Said]


def _python(_: Settings) -> Said:
    inside = sys.prefix != sys.base_prefix
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    return ("ok", found, "") if inside else ("warning", found, "Assay wants an environment of its own: make setup")


def _packages(_: Settings) -> Said:
    from packaging.requirements import Requirement

    if _version("assay") is None:
        return "warning", "the project is not installed", "make setup"
    wanted = [Requirement(text) for text in importlib.metadata.requires("assay") or ()]
    core = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    bad = [f"{each.name} {found or 'absent'}" for each in core if not _fits(found := _version(each.name), each.specifier)]
    return ("bad", ", ".join(bad), "make setup") if bad else ("ok", f"{len(core)} packages of the core", "")


def _fits(found: str | None, specifier: object) -> bool:
    from packaging.specifiers import SpecifierSet

    return found is not None and SpecifierSet(str(specifier)).contains(found, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _java(settings: Settings) -> Said:
    if settings.kafka.brokers:
        return "ok", "not needed: kafka.brokers names a broker", ""
    found = java.find(settings)
    return "ok", f"Java {found.version} of {found.found_in}: {found.path}", ""


def _kafka(settings: Settings) -> Said:
    if settings.kafka.brokers:
        return "ok", "not needed: kafka.brokers names a broker", ""
    if found := jars.present(settings):
        return "ok", f"{jars.version()} in {found}", ""
    if shutil.which("mvn"):
        return "ok", f"{jars.version()} will be fetched by Maven", ""
    return "bad", "no jars and no Maven", "install Maven (Debian: maven), or set KAFKA_HOME"


def _broker(settings: Settings) -> Said:
    found = Broker(settings).status()
    return "ok", f"{found.state} {found.bootstrap or ''}".strip(), ""


def _ports(settings: Settings) -> Said:
    wanted = {"clickhouse.port": settings.clickhouse.port, "kafka.port": settings.kafka.port}
    ours = {ports.remembered(settings.data_dir, "kafka")} if Broker(settings).record() else set()
    taken = [f"{name} = {port}" for name, port in wanted.items() if port and port not in ours and not ports.free(port)]
    if taken:
        return "warning", f"in use: {', '.join(taken)}", "right if the system runs; else choose another port, 0 picks one"
    return "ok", "free, or picked when needed", ""


def _disk(settings: Settings) -> Said:
    there = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    if not os.access(there, os.W_OK):
        return "bad", f"{there} is not writable", "choose another --data-dir"
    free = shutil.disk_usage(there).free
    found = f"{free / (1 << 30):.1f} GiB free at {there}"
    return ("ok", found, "") if free >= NEEDED_BYTES else ("bad", found, "free some space, or choose another --data-dir")


def _variables(settings: Settings) -> Said:
    known = {one.variable for one in listing(settings)} | NOT_SETTINGS
    strange = sorted(name for name in os.environ if name.startswith(PREFIX) and name.upper() not in known)
    if strange:
        return "warning", f"unknown: {', '.join(strange)}", "`assay config show --sources` lists the known ones"
    return "ok", "all known", ""


def _keys(settings: Settings) -> Said:
    from agents.keys import KeyTrouble

    try:
        found = key_store(settings).status()
    except KeyTrouble as error:
        return "bad", f"{error.what}: {error.where}", error.hint
    count = f"{found['authors'] + found['edited_submissions']:,} keys, master key in {found['master_key']}"
    if found["unfinished_erasures"]:
        return "warning", f"{count}; unfinished: {', '.join(found['unfinished_erasures'])}", "`assay erase` of them completes it"
    if settings.keys.master is None:
        return "warning", count, "whoever copies this folder has keys and texts: set ASSAY_KEYS__MASTER from a safe place"
    return "ok", count, ""


CHECKS: tuple[tuple[str, Check], ...] = (
    ("python", _python),
    ("packages", _packages),
    ("variables", _variables),
    ("java", _java),
    ("kafka", _kafka),
    ("broker", _broker),
    ("ports", _ports),
    ("disk", _disk),
    ("keys", _keys),
)


def _render(findings: tuple[Finding, ...]) -> RenderableType:
    colours = {"ok": "green", "warning": "yellow", "bad": "red"}
    rows = [(each.check, f"[{colours[each.state]}]{each.state}[/]", each.found, each.hint) for each in findings]
    return table(("check", "state", "found", "hint"), rows)
