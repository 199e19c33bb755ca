"""assay queue next | show | release | serve: who is handed what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Group, RenderableType

from agents.readiness import ready
from infra import ports
from infra.cli.output import Json, emit, note, plain, table
from infra.errors import AssayError, Exit
from infra.wiring import bootstrap, settings

SECONDS = 10.0


def next_one(
    *,
    annotator: Annotated[str, Parameter(help="Who asks.")],
    role: Annotated[str, Parameter(help="voter | editor")] = "voter",
    project: Annotated[str | None, Parameter(help="Only this project.")] = None,
    slices: Annotated[list[str], Parameter(name="--slice", negative="", help="Only this slice; may be repeated.")] = [],  # noqa: B006
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=20), help="Leases to have at once.")] = 1,
    json: Json = False,
) -> None:
    """Take the next subject to vote on, compare or edit, and hold it for a while (`lease_seconds` of the policy).

    Asking again gives the same until it is handed in, released or expired. It is handed in by an event, VoteCast,
    PreferenceCast or an edit, with `assay ingest`; docs/assignment.md has one. Example: assay queue next --annotator anna
    """
    wish = {"annotator": annotator, "role": role, "project": project, "slices": slices, "count": count}
    emit(_asked("POST", "/v1/queue/next", wish), json, _leases)


def show(*, json: Json = False) -> None:
    """Print what waits for voters and editors: by project, kind and slice, how many people it wants, and its age.

    want_1 counts subjects that want one person more. Texts with a golden answer are control tasks and not among them,
    and a completion waits for its prompt. Example: assay queue show --json
    """
    emit(_asked("GET", "/v1/queue"), json, _queues)


def release(lease: Annotated[str, Parameter(help="Its id, as `assay queue next` printed it.")], *, json: Json = False) -> None:
    """Give a lease back. Its holder is not handed the same revision again.

    Example: assay queue release 01a2007d-5746-76d2-b818-1b36d6e1950f
    """
    emit(_asked("POST", f"/v1/queue/{quote(lease, safe='')}/release"), json, lambda said: f"{said['lease']} is released")


def serve() -> None:
    """Run the desk until Ctrl-C or SIGTERM: it hands work out on 127.0.0.1, port `http.port`.

    Of all desks on one log the one that was opened last counts; an earlier one ends with exit code 71.
    Example: ASSAY_HTTP__PORT=8090 assay queue serve
    """
    from infra.assignment.serving import serve as serve_until_stopped
    from infra.http.serving import run

    chosen = settings()
    run(serve_until_stopped(chosen, bootstrap(chosen), _say))


def _say(text: str) -> None:
    note(text)
    ready()


def _asked(method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the desk of this data directory answers."""
    from infra.assignment.serving import HTTP

    port = settings().http.port or ports.remembered(settings().data_dir, HTTP)
    url = f"http://{ports.HOST}:{port}{path}"
    data = None if body is None else orjson.dumps(body)
    token, headers = settings().http.operator_token, {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    try:
        with urlopen(Request(url, data, headers, method=method), timeout=SECONDS) as response:
            said: dict[str, Any] = orjson.loads(response.read())
            return said
    except HTTPError as error:
        raise _refused(url, error) from None
    except (URLError, OSError) as error:
        got = getattr(error, "reason", error)
        raise AssayError("no desk answers", url, got, "`assay up` starts one, and `assay queue serve` one alone") from None


def _refused(url: str, error: HTTPError) -> AssayError:
    try:
        problem = orjson.loads(error.read())
    except orjson.JSONDecodeError:
        problem = {"title": error.reason}
    code = Exit.USAGE if error.code in (404, 422) else Exit.FAILED
    return AssayError(str(problem["title"]), url, problem.get("code", error.code), problem.get("hint"), code)


def _leases(said: Mapping[str, Any]) -> RenderableType:
    if not said["leases"]:
        return f"nothing: {said['nothing']['hint']}"
    columns = ("lease", "task", "subject", "#revision", "slice", "until")
    rows = [[one[column.lstrip("#")] for column in columns] for one in said["leases"]]
    return Group(table(columns, rows), *(plain(line) for one in said["leases"] for line in "\n\n".join(_paper(one)).split("\n")))


def _paper(one: Mapping[str, Any]) -> Iterator[str]:
    """All that is judged, whole, and what may be said of it."""
    sides = ("left", "right") if one["task"] == "compare" else ()
    choices = (*sides, "tie") if sides else one["labels"]
    asked = f"\n{one['subject']}: {', '.join((one['task'], *choices))}"
    yield asked + (f"; by criterion: {', '.join(one['criteria'])}" if one["criteria"] else "")
    yield from (f"[{turn['kind']}] {_text(turn)}" for turn in one["conversation"])
    yield from [f"[{side}] {_text(one[side])}" for side in sides] or [_text(one)]


def _text(said: Mapping[str, Any]) -> str:
    return "(erased)" if said.get("erased") else str(said["text"])


def _queues(said: Mapping[str, Any]) -> RenderableType:
    columns = (
        "project",
        "role",
        "kind",
        "slice",
        "waiting",
        "want_1",
        "want_2",
        "want_3_or_more",
        "age_p50_s",
        "age_p95_s",
        "approved",
    )
    rows: Sequence[Sequence[object]] = [[one[column] for column in columns] for one in said["queues"]]
    shown = [column if index < 4 else f"#{column}" for index, column in enumerate(columns)]
    return table(shown, rows, title=f"{said['leases']} leases are open")
