"""The application that all routers are added to, with health and errors said in one way."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response

from infra.http.problems import said_as_problems

#: What /readyz says; `state` is `ready`, or a word for what is missing.
Report = Callable[[], dict[str, Any]]


def application(routers: Sequence[APIRouter], report: Report) -> FastAPI:
    """`/livez` answers while the process does; `/readyz` is 503 until `report()["state"]` is ready."""
    app = FastAPI(title="Assay", description="Quality of human-written training data, live.", version="1")
    said_as_problems(app)
    for router in routers:
        app.include_router(router)

    @app.get("/livez", include_in_schema=False)
    async def alive() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    async def ready(request: Request) -> Response:
        said = report()
        is_ready = said["state"] == "ready"
        headers = {} if is_ready else {"Retry-After": "1"}
        if "verbose" in request.query_params:
            return Response(orjson.dumps(said), 200 if is_ready else 503, headers, "application/json")
        return Response(f"{said['state']}\n", 200 if is_ready else 503, headers, "text/plain")

    return app
