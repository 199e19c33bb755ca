"""Policies that decide in the place of the recorded ones: out of a file, or by their version in the log."""

import asyncio
from pathlib import Path

from infra.errors import AssayError
from infra.history.source import History
from infra.policies.tuning import changed, read_toml
from schemas.events import PolicyApplied, PolicyProposed
from schemas.manifest import ANY, GivenPolicy
from schemas.policy import Policy
from schemas.topics import POLICIES


def given_policies(log: History, said: str, projects: tuple[str, ...]) -> dict[str, GivenPolicy]:
    """By project, or by `*` where none is named. Raises AssayError for a file or a version that gives none."""
    if said.isdecimal():
        return asyncio.run(_of_version(log, int(said), projects))
    return _of_file(Path(said), projects)


def _of_file(path: Path, projects: tuple[str, ...]) -> dict[str, GivenPolicy]:
    """A document as `assay policy show --toml` prints it; thresholds that it does not name have their defaults."""
    if not path.exists():
        hint = "name a TOML file of thresholds, or a version that `assay policy log` shows"
        raise AssayError("no such policy file", where=path, hint=hint)
    document = read_toml(path)
    if document.slice is not None:
        hint = "take `slice` out of the file: what is given decides in all of a project; --slice says which rows are wanted"
        raise AssayError("a slice's policy cannot decide alone", where=path, got=document.slice, hint=hint)
    if document.project is not None and projects and document.project not in projects:
        raise AssayError("the policy is of another project", where=path, got=document.project, hint="name it with --project")
    named = projects if document.project is None else (document.project,)
    return dict.fromkeys(named or (ANY,), GivenPolicy(version=0, policy=changed(Policy(), document.policy)))


async def _of_version(log: History, version: int, projects: tuple[str, ...]) -> dict[str, GivenPolicy]:
    found, known = dict[str, GivenPolicy](), set[int]()
    for (topic, partition), end in (await log.ends(POLICIES.name)).items():
        async for record in log.records(topic, partition, end):
            data = record.event.data
            if isinstance(data, PolicyApplied | PolicyProposed) and (not projects or data.project in projects):
                known.add(data.version)
                if data.version == version:
                    found.setdefault(data.project, GivenPolicy(version=version, policy=data.policy))
    if not version:
        return dict.fromkeys(projects or (ANY,), GivenPolicy(version=0, policy=Policy()))
    missing = [project for project in projects if project not in found]
    if missing or not found:
        hint = f"known: {', '.join(map(str, sorted(known))) or 'none'}; 0 is the default policy; `assay policy log` shows all"
        raise AssayError("no such policy in the log", where=", ".join(missing) or "any project", got=version, hint=hint)
    return found
