"""`/v1/queue`: the next subject, giving it back, and what waits.

A control task is answered in the very words of any other: nothing that is sent here was made from what a lease serves,
but for whether its holder edits.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from infra.assignment.desk import MOST_HELD, Desk
from infra.assignment.ledger import NotReady
from infra.assignment.overview import overview
from infra.http.problems import Problem
from schemas.words import AnnotatorId, EventId, Project, SliceId
from streams.assignable import COMPARISON, Lease, Subject
from streams.assignment import KINDS, Ask, Nothing, Role

PREFIX = "/v1/queue"
NEXT = f"{PREFIX}/next"
MOST_AT_ONCE = 20
#: Texts before a completion that are shown with it.
MOST_TURNS = 50

WHY: dict[Nothing, str] = {
    "nothing_open": "nothing waits for this role in these projects, kinds and slices; ask again later",
    "nothing_for_you": "all that waits is your own, or you have had it; ask again later",
    "later": "you are served last for now: ask again later",
    "restricted": "you are handed no work in this project; `assay explain ANNOTATOR` says why",
    "not_an_editor": "nobody enrolled you as an editor of this project",
    "too_many": f"you hold {MOST_HELD} leases; hand in or release some",
}


class Wish(BaseModel):
    """Who asks, and for what. Asking again gives the same leases until they end, so that a lost answer costs nothing."""

    model_config = ConfigDict(extra="forbid")

    annotator: AnnotatorId
    project: Project | None = Field(None, description="only this one")
    role: Role = "voter"
    slices: tuple[SliceId, ...] = Field((), max_length=1_000, description="only these")
    kinds: tuple[Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")], ...] = Field((), max_length=4, description="only these")
    targets: dict[SliceId, Annotated[int, Field(ge=0)]] = Field(
        {}, description="approved texts wanted by slice: emptier ones first"
    )
    count: int = Field(1, ge=1, le=MOST_AT_ONCE, description="leases to have at once")
    done: tuple[EventId, ...] = Field((), max_length=MOST_HELD, description="leases whose work was just handed in")


def queue_routes(desk: Desk, targets: Mapping[str, int], operator_token: str = "") -> APIRouter:
    """`targets`: approved texts wanted by slice, where the request says nothing of them. With a token, what waits is told to
    whoever sends it alone: who saw the numbers stand still at their own request would know that they hold a control task."""
    router = APIRouter(prefix=PREFIX, tags=["queue"])

    @router.post("/next", summary="Take the next subjects")
    async def take(wish: Wish) -> Response:
        try:
            return Response(await taken(desk, targets, wish), media_type="application/json")
        except NotReady:
            raise not_ready(desk) from None

    @router.post("/{lease}/release", summary="Give a lease back")
    async def release(lease: Annotated[EventId, Path()]) -> Response:
        try:
            was_open = await desk.release(lease)
        except NotReady:
            raise not_ready(desk) from None
        if not was_open:
            raise Problem(
                404, "no_such_lease", "No such lease is open", "it has ended: done, released, expired, or not wanted any more"
            )
        return _json({"lease": lease, "released": True})

    @router.get("", summary="What waits, for operators")
    async def show(authorization: Annotated[str, Header()] = "") -> Response:
        if operator_token and not compare_digest(authorization.encode(), f"Bearer {operator_token}".encode()):
            hint = "send the header `Authorization: Bearer TOKEN`; commands take it from ASSAY_HTTP__OPERATOR_TOKEN"
            raise Problem(403, "for_operators", "This is for operators", hint)
        if not desk.ready.is_set():
            raise not_ready(desk)
        return _json({"as_of": datetime.now(UTC), "leases": len(desk.state.leases), "queues": overview(desk.state, desk.now_ms)})

    return router


async def taken(desk: Desk, targets: Mapping[str, int], wish: Wish) -> bytes:
    """What this wish is answered with. Raises NotReady."""
    ask = Ask(wish.annotator, wish.role, wish.project, wish.slices, wish.kinds, wish.targets or targets)
    handed = await desk.next(ask, wish.count, wish.done)
    nothing = None if handed.why is None else {"code": handed.why, "hint": WHY[handed.why]}
    return orjson.dumps({"leases": [_told(desk, lease) for lease in handed.leases], "nothing": nothing})


def not_ready(desk: Desk) -> Problem:
    hint = f"{desk.have:,} of {desk.need:,} records of the log are read; ask again in a second"
    return Problem(503, "catching_up", "The desk is catching up with the log", hint, retry_after=1)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _told(desk: Desk, lease: Lease) -> dict[str, Any]:
    """A lease as its holder sees it."""
    row = desk.state.subjects[lease.subject]
    task = "edit" if lease.serves == "edit" else "compare" if row.kind == COMPARISON else "judge"
    policy = desk.state.policy(row)
    text = desk.text(lease.subject)
    return {
        "lease": lease.id,
        "until": datetime.fromtimestamp(lease.until_ms / 1_000, UTC),
        "task": task,
        "project": lease.project,
        "subject": lease.subject,
        "revision": lease.revision,
        "kind": row.kind,
        "slice": row.slice,
        "labels": policy.labels if task == "judge" else (),
        "criteria": policy.preference_criteria if task == "compare" else (),
        "conversation": _conversation(desk, row),
        "text": text or "",
        "erased": text is None,
        "left": _side(desk, row.left),
        "right": _side(desk, row.right),
    }


def _conversation(desk: Desk, row: Subject) -> list[dict[str, Any]]:
    """What was said before, from the first prompt on."""
    turns: list[dict[str, Any]] = []
    name = row.prompt
    while name is not None and len(turns) < MOST_TURNS:
        before = desk.state.subjects.get(name)
        text = desk.text(name)
        turns.append({"subject": name, "kind": before.kind if before else "prompt", "text": text or "", "erased": text is None})
        name = before.prompt if before else None
    return turns[::-1]


def _side(desk: Desk, name: str) -> dict[str, Any] | None:
    if not name:
        return None
    text = desk.text(name)
    return {"subject": name, "text": text or "", "erased": text is None}
