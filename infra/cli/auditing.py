"""assay audit."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra.cli.output import Json, emit, holds, note, plain, table
from infra.errors import AssayError, Exit
from infra.history.auditing import Audited, Metrics
from infra.processes import held
from infra.wiring import bootstrap, settings

WAIT_SECONDS = 120.0


def audit(
    *,
    once: Annotated[bool, Parameter(negative="", help="Look at every partition once, and end.")] = False,
    json: Json = False,
) -> Exit | None:
    """Compare what the workers keep with a replay, again and again, from where the last look ended.

    Of the log and of the state topics it reads only what is new; the audited state lies in `audit` in the data directory, and
    begins again where that is deleted. Drift is a metric: assay_audit_drift_rows{projection}, at audit.port. `assay up` runs
    it where audit.enabled says so. With --once the exit code is 0 only if no row drifted.

    Examples:
        assay audit --once --json
        ASSAY_AUDIT__SECONDS=10 ASSAY_AUDIT__PORT=9187 assay audit
    """
    if once:
        found = asyncio.run(_round())
        emit(_told(found), json, _render)
        return holds(not any(one.drift for one in found))
    os.nice(15)
    asyncio.run(_run(json))
    return None


async def _round() -> list[Audited]:
    from infra.history.auditing import audit as look
    from infra.history.kafka import KafkaHistory
    from streams.catalogue import PROJECTIONS

    brokers = bootstrap(settings())
    async with _alone():
        return [one async for one in look(KafkaHistory(brokers), brokers, _home(), PROJECTIONS)]


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """After another audit of this data directory has looked: both go on from the same images."""
    for _ in range(round(WAIT_SECONDS / 0.1)):
        with held(_home() / "lock") as lock:
            if lock is not None:
                yield
                return
        await asyncio.sleep(0.1)
    raise AssayError("another audit is at work", where=_home(), hint="`assay up` runs it; its metrics say what it found")


def _home() -> Path:
    return settings().data_dir / "audit"


async def _run(json: bool) -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    from agents.readiness import ready
    from infra import ports
    from infra.http.serving import stopped_by_signals

    registry, stop = CollectorRegistry(), asyncio.Event()
    metrics = Metrics(registry)
    port = ports.choose(settings().data_dir, "audit", settings().audit.port)
    server, thread = start_http_server(port, ports.HOST, registry)
    note(f"ready: http://{ports.HOST}:{port}/metrics", json)
    try:
        with stopped_by_signals(stop):
            ready()
            while not stop.is_set():
                await _look(metrics, json)
                await _wait(stop, settings().audit.seconds)
    finally:
        server.shutdown()
        thread.join()


async def _look(metrics: Metrics, json: bool) -> None:
    found = await _round()
    metrics.tell({(one.projection, one.partition): one for one in found})
    for one in found:
        if one.drift:
            note(f"DRIFT: {one.projection}/{one.partition}: {len(one.drift)} rows are not those of a replay", json)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _told(found: list[Audited]) -> dict[str, Any]:
    return {"holds": not any(one.drift for one in found), "partitions": [one._asdict() for one in found]}


def _render(found: dict[str, Any]) -> RenderableType:
    columns = ("projection", "#partition", "#position", "#behind", "#folded", "#compared", "drift")
    rows = [
        (*(one[name.lstrip("#")] for name in columns[:-1]), plain(", ".join(one["drift"][:5])) or "none")
        for one in found["partitions"]
    ]
    said = "no row drifted" if found["holds"] else "ROWS DRIFTED: `assay verify` compares all of it"
    return Group(table(columns, rows), "", said)
