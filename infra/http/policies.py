"""`/v1/policies`: the thresholds in force, who changed them, and changing them, as `assay policy` does.

Reading is everybody's. Writing needs the operator's token: without one in the settings nobody writes.
"""

import asyncio
import pathlib
from collections.abc import Callable
from hmac import compare_digest
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from infra.errors import AssayError
from infra.http.problems import Problem, problem
from infra.policies import tuning
from infra.policies.facts import consequences
from infra.policies.tuning import Conflict, Live, Refused
from schemas.events import AnyEvent
from schemas.words import AnnotatorId, Project, Reason, Sha256, SliceId, UtcTime, Version
from streams.policy_book import Page

OfProject = Annotated[Project, Path()]
OfSlice = Annotated[SliceId | None, Query(alias="slice", description="the policy of this slice alone")]
Token = Annotated[str, Header(alias="authorization")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    slice: SliceId | None = Field(None, description="the policy of this slice alone")


class Proposal(_Body):
    """Thresholds that are to change; the others stay."""

    set: dict[str, Any] = Field(default_factory=dict, description="threshold -> value")
    reason: Reason | None = None


class Application(_Body):
    set: dict[str, Any] = Field(default_factory=dict, description="threshold -> value")
    reason: Reason
    by: AnnotatorId = "operator"
    based_on: Version = Field(description="the version that this was made from: 409 if another one decides now")
    preview: Sha256 | None = Field(None, description="digest of the preview that was looked at; absent: without preview")
    redecide_since: UtcTime | None = Field(None, description="decide texts again whose revision came in since this")
    force_lint: tuple[str, ...] = Field((), description="errors of the linter to apply in spite of")
    dry_run: bool = False


class Undoing(_Body):
    version: Version | None = Field(None, description="the newest of the scope where none is named")
    reason: Reason
    by: AnnotatorId = "operator"
    with_later: bool = Field(False, description="take back what was applied on top, too")
    dry_run: bool = False


def policy_routes(
    brokers: str, live: Callable[[str, str | None], Live], operator_token: str = "", data_dir: pathlib.Path | None = None
) -> APIRouter:
    """`live`: what is known of a scope's people and votes; `data_dir`: where previews are kept."""
    router = APIRouter(prefix="/v1/policies", tags=["policies"])
    _reads(router, brokers)
    _proposes(router, brokers, live)
    _writes(router, brokers, live, operator_token, data_dir)
    return router


def _reads(router: APIRouter, brokers: str) -> None:
    @router.get("", summary="What is in force, in every project and slice with a policy of its own")
    async def everywhere() -> Response:
        return _json(tuning.in_all_scopes(await tuning.book(brokers)))

    @router.get("/{project}", summary="What is in force in a project or a slice")
    async def one(project: OfProject, slice: OfSlice = None) -> Response:
        found = await tuning.book(brokers)
        return _json(tuning.shown(project, slice, found.deciding(project, slice)))

    @router.get("/{project}/log", summary="Every change: when, by whom, why, and what it changed")
    async def log(project: OfProject, slice: OfSlice = None) -> Response:
        found = await tuning.book(brokers)
        pages = [page for page in found.pages if page.data.project == project and slice in (None, page.data.slice)]
        return _json([tuning.entry(found, page) for page in pages])


def _proposes(router: APIRouter, brokers: str, live: Callable[[str, str | None], Live]) -> None:
    @router.post("/{project}/lint", summary="What is wrong with a change")
    async def lint(project: OfProject, body: Proposal) -> Response:
        found = await tuning.book(brokers)
        try:
            policy = tuning.changed(found.deciding(project, body.slice).policy, body.set)
        except AssayError as error:
            return _refusal(error)
        findings = tuning.linted(found, project, body.slice, policy, body.reason, live(project, body.slice))
        return _json([one._asdict() for one in findings])


def _writes(
    router: APIRouter, brokers: str, live: Callable[[str, str | None], Live], operator_token: str, data_dir: pathlib.Path | None
) -> None:
    def may_write(authorization: str) -> None:
        sent = authorization.encode()
        if not operator_token or not compare_digest(sent, f"Bearer {operator_token}".encode()):
            hint = "send the header `Authorization: Bearer TOKEN`, the token being http.operator_token in the settings"
            raise Problem(403, "for_operators", "This is for operators", hint)

    @router.post("/{project}/apply", summary="Put a change into force")
    async def apply(project: OfProject, body: Application, authorization: Token = "") -> Response:
        may_write(authorization)
        try:
            wish = tuning.Wish(project=project, **body.model_dump())
            return _json(await tuning.apply(brokers, wish, live(project, body.slice), data_dir))
        except AssayError as error:
            return _refusal(error)

    @router.post("/{project}/undo", summary="Take a change back, with what was decided under it")
    async def undo(project: OfProject, body: Undoing, authorization: Token = "") -> Response:
        may_write(authorization)
        try:
            return _json(await tuning.undo(brokers, tuning.Undo(project=project, **body.model_dump()), _counted_apart))
        except AssayError as error:
            return _refusal(error)


async def _counted_apart(brokers: str, page: Page, undo: AnyEvent) -> dict[str, Any]:
    """In a loop of its own: whoever is handed work waits for nothing that is counted here."""
    return await asyncio.to_thread(asyncio.run, consequences(brokers, page, undo))


def _refusal(error: AssayError) -> Response:
    """What the caller got wrong, with what helps."""
    if isinstance(error, Conflict):
        said = Problem(409, "conflict", error.what, str(error.hint))
        return problem(said, version=error.version, changed=error.changed, by=error.where)
    if isinstance(error, Refused):
        return problem(
            Problem(422, "lint", error.what, str(error.hint)), findings=[finding._asdict() for finding in error.findings]
        )
    return problem(Problem(422, "refused", error.what, str(error.hint or "")), got=str(error.got))


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
