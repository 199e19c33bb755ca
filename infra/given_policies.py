"""Policies that decide in the place of the recorded ones: out of a file, or by their version in the log."""

import asyncio
import tomllib
from pathlib import Path

from pydantic import ValidationError

from infra.errors import AssayError
from infra.history.source import History
from schemas.events import PolicyApplied, PolicyProposed
from schemas.manifest import ANY, GivenPolicy
from schemas.policy import Policy
from schemas.topics import POLICIES


def given_policies(log: History, said: str, projects: tuple[str, ...]) -> dict[str, GivenPolicy]:
    """By project, or by `*` where none is named. Raises AssayError for a file or a version that gives none."""
    if said.isdecimal():
        return asyncio.run(_of_version(log, int(said), projects))
    given = GivenPolicy(version=0, policy=_from_file(Path(said)))
    return dict.fromkeys(projects or (ANY,), given)


def _from_file(path: Path) -> Policy:
    """TOML: thresholds by name, alone or under `[thresholds]` or `[policy]`; those that are not named have their defaults."""
    try:
        read = tomllib.loads(path.read_text("utf-8"))
        return Policy.model_validate(read.get("policy", read.get("thresholds", read)), strict=False)
    except FileNotFoundError as error:
        hint = "name a TOML file of thresholds, or a version that `assay policy log` shows"
        raise AssayError("no such policy file", where=path, hint=hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AssayError("the policy file is no TOML", where=path, got=error, hint="write it as name = value") from error
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{'/'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
        raise AssayError("that is no policy", where=path, got=got, hint="docs/events.md lists thresholds and ranges") from error


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
