"""assay schema list | show | check | asyncapi: topics and event types, and whether the committed files say the same."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.syntax import Syntax

from infra.cli.output import Json, emit, holds, table
from infra.errors import AssayError, Exit
from infra.schema_files import (
    ROOT,
    Finding,
    as_yaml,
    asyncapi_by_reference,
    asyncapi_whole,
    findings,
    generated,
    json_schema,
    write,
)
from schemas.catalogue import EVENT_TYPES, EventType
from schemas.topics import TOPICS

Type = Annotated[str, Parameter(help="Such as VoteCast, VoteCast.v1 or assay.VoteCast.v1.")]


def list_all(*, json: Json = False) -> None:
    """List topics and event types."""
    topics = [{"name": one.name, "key": one.key, "holds": one.holds, "compacted": one.compacted} for one in TOPICS]
    types = [
        {"type": one.type, "topics": [topic.name for topic in one.topics], "says": one.doc.split("\n")[0]}
        for one in EVENT_TYPES.values()
    ]
    emit({"topics": topics, "types": types}, json, lambda _: _list())


def _list() -> RenderableType:
    topics = table(("topic", "key", "holds"), [(one.name, one.key, one.holds) for one in TOPICS])
    rows = [(one.type, ", ".join(topic.table for topic in one.topics), escape(one.doc)) for one in EVENT_TYPES.values()]
    return Group(topics, "", table(("type", "topics", "says"), rows))


def show(type: Type, *, json: Json = False) -> None:
    """Print the JSON Schema of an event type; of its newest version where none is named."""
    schema = json_schema(_entry(type))
    emit(schema, json, lambda said: Syntax(as_yaml(said), "yaml", background_color="default"))


def _entry(name: str) -> EventType:
    wanted = [one for one in EVENT_TYPES.values() if name in (one.type, one.name, f"{one.name}.v{one.version}")]
    if not wanted:
        names = ", ".join(sorted(one.name for one in EVENT_TYPES.values()))
        raise AssayError("no such event type", got=name, hint=f"there are {names}")
    return max(wanted, key=lambda one: one.version)


def check(
    *,
    write_: Annotated[bool, Parameter(name="--write", negative="", help="Rewrite what is stale.")] = False,
    root: Annotated[Path, Parameter(help="Checkout whose files are checked against this code.")] = ROOT,
    json: Json = False,
) -> Exit:
    """Check that the committed schemas are those of the code, take the very events that they ever took, and that every golden
    example is what it was and is still read.

    Exit code 1 names each stale file and each incompatible change. --write rewrites stale files, and nothing as long as
    a change is incompatible: that wants a new version of the type, with an upcast.
    """
    files = generated(root)
    found = findings(files, root)
    breaks = [finding for finding in found if finding.breaks]
    if write_ and not breaks:
        write(files, found, root)
    done = write_ and not breaks
    said = {"holds": done or not found, "files": len(files), "written": len(found) if done else 0}
    emit(said | {"findings": [asdict(one) for one in found]}, json, lambda _: _findings(found, len(files), done))
    return holds(done or not found)


def _findings(found: Sequence[Finding], files: int, written: bool) -> RenderableType:
    if not found:
        return f"{files} files are fresh"
    hint = "written" if written else "assay schema check --write"
    if any(finding.breaks for finding in found):
        hint = (
            "what stands in the log, or what older workers read, would change: make a new version of the type and an upcast to it"
        )
    return Group(table(("file", "finding"), [(one.file, escape(one.reason)) for one in found]), "", hint)


def asyncapi(
    *,
    bundle: Annotated[bool, Parameter(negative="", help="Put the schemas in, instead of references to their files.")] = False,
    json: Json = False,
) -> None:
    """Print the AsyncAPI 3 document: topics, and what stands on them."""
    document = asyncapi_whole() if bundle else asyncapi_by_reference()
    emit(document, json, lambda said: Syntax(as_yaml(said), "yaml", background_color="default", word_wrap=False))
