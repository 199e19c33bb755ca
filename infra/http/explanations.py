"""`/v1/submissions/ID/explanation` and `/v1/annotators/ID/explanation`: the reasons, as `assay explain --json` gives them."""

import asyncio
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Query, Response

from infra.explaining import explain_annotator, explain_subject
from infra.http.problems import Problem
from schemas.words import MAX_OFFSET, AnnotatorId, SubjectId

#: Each reads a partition of the log: more at a time would be slower for all.
AT_ONCE = 2
Until = Annotated[int | None, Query(ge=0, le=MAX_OFFSET, description="as of this offset of the submission's partition")]


def explanation_routes(brokers: str) -> APIRouter:
    """For operators, and for the person it concerns: no golden answer is in it."""
    router = APIRouter(prefix="/v1", tags=["explanations"])
    room = asyncio.Semaphore(AT_ONCE)

    @router.get("/submissions/{id}/explanation", summary="Why a submission stands as it does")
    async def submission(id: Annotated[SubjectId, Path()], until: Until = None) -> Response:
        async with room:
            return _told(await explain_subject(brokers, id, until), "submission")

    @router.get("/annotators/{id}/explanation", summary="Why a person is flagged, or not")
    async def annotator(id: Annotated[AnnotatorId, Path()]) -> Response:
        async with room:
            return _told(await explain_annotator(brokers, id), "annotator")

    return router


def _told(found: object, what: str) -> Response:
    if found is None:
        raise Problem(
            404, f"no_such_{what}", f"The log knows no such {what}", "ids are case-sensitive; what is new takes a second"
        )
    return Response(orjson.dumps(found), media_type="application/json")
