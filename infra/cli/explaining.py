"""assay explain: why a submission stands as it does, or why a person is flagged, with what would have changed it."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra.cli.output import Json, emit, plain, table
from infra.errors import AssayError
from infra.explaining import explain_annotator, explain_subject
from infra.wiring import bootstrap, settings

Kind = Literal["submission", "annotator"]


def explain(
    id: Annotated[str, Parameter(help="A submission's id, or an annotator's.")],
    /,
    *,
    kind: Annotated[Kind | None, Parameter(name="--as", help="Which of them it is, where both have the name.")] = None,
    until: Annotated[int | None, Parameter(help="As of this offset of the submission's partition; default: now.")] = None,
    json: Json = False,
) -> None:
    """Say why a submission stands as it does, or a person is flagged.

    It names the votes and their weights, the policy and the places in the log behind a verdict or a flag, and which small
    changes would have led to another.

    It reads the log alone and decides again from what it prints: `reproduced` says whether that came to the same.
    Examples: assay explain poem-000042
              assay explain anna --as annotator --json
    """
    found = asyncio.run(_found(bootstrap(settings()), id, kind, until))
    emit(found, json, _submission if "subject" in found else _annotator)


async def _found(brokers: str, name: str, kind: Kind | None, until: int | None) -> dict[str, Any]:
    if kind != "annotator" and (found := await explain_subject(brokers, name, until)) is not None:
        return found
    if kind != "submission" and (found := await explain_annotator(brokers, name)) is not None:
        return found
    raise AssayError(
        f"no {kind or 'submission or annotator'} of that name is in the log",
        got=name,
        hint="ids are case-sensitive; crowd-csv's tasks are PROJECT-TASK; `assay annotators list` names people",
    )


# --- for people --------------------------------------------------------------------------------


def _submission(found: Mapping[str, Any]) -> RenderableType:
    shown = found["now"] if found["decision"] is None else found["decision"]["account"]
    labels = shown["policy"]["labels"]
    rows = [
        (vote["offset"], vote["voter"], vote["label"], *(vote["milli_nats"][label] for label in labels))
        for vote in shown["votes"]
    ]
    rows += [(vote["offset"], vote["voter"], vote["label"], *("" for _ in labels), vote["why"]) for vote in shown["not_counted"]]
    votes = table(("#offset", "voter", "label", *(f"#adds to {label}" for label in labels), "does not count"), _padded(rows))
    about = f"{found['subject']} ({found['kind']}, revision {found['revision']}, {found['slice']}, project {found['project']})"
    parts: list[RenderableType] = [
        plain(about),
        plain(found["words"]),
        "",
        votes,
        "",
        _weights(shown),
        *_what_if(found["what_if"]),
    ]
    return Group(*parts, "", _history(found["history"]), _check(found["reproduced"]))


def _padded(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    width = max((len(row) for row in rows), default=0)
    return [(*row, *("" for _ in range(width - len(row)))) for row in rows]


def _weights(shown: Mapping[str, Any]) -> str:
    about, votes = shown["weights"], max(len(shown["votes"]), 1)
    temperature = (about["temperature_permille"] + about["temperature_per_vote_permille"] * (votes - 1)) / 1000
    scores = ", ".join(f"{label} {score}" for label, score in shown["scores_milli_nats"].items())
    origin = f"model {about['model']}, version {about['version']}" if about["version"] else "every vote weighs the same"
    return f"scores in milli-nats: {scores} ({origin}; temperature {temperature:g})"


def _what_if(changes: list[dict[str, Any]]) -> list[RenderableType]:
    if not changes:
        return ["no small change would have led to another verdict"]
    rows = [(one["change"], one["verdict"] or "waiting", one["confidence_permille"] / 1000) for one in changes]
    return ["", table(("what would have changed it", "to", "#probability"), rows)]


def _history(entries: list[dict[str, Any]]) -> RenderableType:
    rows = [
        (*("" if one[name] is None else one[name] for name in _EVENT), ", ".join(then["event"] for then in one["then"]))
        for one in entries
    ]
    return table(("#offset", "time", "event", "by", "refused", "then"), rows)


_EVENT = ("offset", "time", "event", "by", "refused")


def _check(reproduced: bool) -> str:
    return (
        "decided again from this explanation: the same" if reproduced else "DECIDED AGAIN FROM THIS EXPLANATION: ANOTHER VERDICT"
    )


def _annotator(found: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    for one in found["projects"]:
        parts.append(plain(f"{found['annotator']}, {one['task']} in project {one['project']}: {one['state']}"))
        parts += [plain(words) for words in one["words"]]
        for flag in one["flags"]:
            if flag["evidence"]:
                places = ", ".join(f"{place['partition']}@{place['offset']}" for place in flag["evidence"])
                parts.append(f"  {flag['rule']}: the newest records behind it are {places} of assay.events.v1")
    rows = [
        (one["time"], one["event"], one["rule"], one["against"], one["total"], one["policy_version"]) for one in found["history"]
    ]
    return Group(*parts, "", table(("time", "event", "rule", "#against", "#total", "#policy"), rows))
