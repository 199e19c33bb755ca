"""assay serve."""

import asyncio
import sys

import structlog

from agents.readiness import ready
from infra.cli.output import note
from infra.wiring import bootstrap, settings


def serve() -> None:
    """Run the sink and the gateway to ClickHouse until Ctrl-C or SIGTERM.

    This process alone has the embedded store open. It brings the tables up to date, stores every record of the log,
    and answers ClickHouse's HTTP protocol on 127.0.0.1, port `clickhouse.port`; `GET /assay/status` says how far it is.

    Examples:
        assay serve
        ASSAY_CLICKHOUSE__URL=http://user:secret@host:8123/assay assay serve
    """
    from infra.clickhouse.serving import serve as serve_until_stopped

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    chosen = settings()
    asyncio.run(serve_until_stopped(chosen, bootstrap(chosen), _say))


def _say(text: str) -> None:
    note(text)
    ready()
