"""assay sql | reconcile | migrate."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra.cli.output import DryRun, Json, emit, holds, table, watched
from infra.clickhouse.engine import asking, one_line, reach
from infra.errors import AssayError, Exit
from infra.wiring import bootstrap, settings

if TYPE_CHECKING:
    from infra.clickhouse.migrate import Migration
    from infra.clickhouse.reconcile import Partition


@dataclass(frozen=True)
class Result:
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


def sql(query: Annotated[str, Parameter(help="One query, in ClickHouse's SQL.")], /, *, json: Json = False) -> None:
    """Ask the analytics store: the gateway if `assay serve` runs, else the store itself, read-only either way.

    docs/analytics.md describes the tables and views.

    Examples:
        assay sql "SELECT verdict, count() FROM v_submissions GROUP BY verdict"
        assay sql "SELECT * FROM v_annotators WHERE decided >= 20 ORDER BY rejection_low DESC LIMIT 10" --json
    """
    with asking(settings()) as client, _said_in_one_line():
        found = client.query(query)
        columns = tuple(found.column_names)
        if json:
            emit([dict(zip(columns, row, strict=True)) for row in found.result_rows], json)
        else:
            emit(Result(columns, found.result_rows), json, _render_result)


@contextlib.contextmanager
def _said_in_one_line() -> Iterator[None]:
    from clickhouse_connect.driver.exceptions import ClickHouseError

    try:
        yield
    except ClickHouseError as error:
        hint = 'assay sql "SHOW TABLES" and "DESCRIBE v_votes" list what there is'
        raise AssayError("ClickHouse refuses the query", got=one_line(error), hint=hint, exit_code=Exit.FAILED) from error


def _render_result(result: Result) -> RenderableType:
    numeric = [any(isinstance(row[place], int | float) for row in result.rows) for place in range(len(result.columns))]
    names = [f"#{name}" if right else name for name, right in zip(result.columns, numeric, strict=True)]
    return table(names, result.rows)


def migrate(action: Literal["up", "status"], /, *, json: Json = False, dry_run: DryRun = False) -> None:
    """Bring the tables of the analytics store up to date (`up`), or list what is applied (`status`).

    `assay serve` does `up` by itself before anything else.

    Examples:
        assay migrate status
        assay migrate up --dry-run
    """
    from infra.clickhouse import migrate as migrations

    with contextlib.closing(reach(settings())) as store:
        found = migrations.up(store, dry_run=dry_run) if action == "up" else migrations.status(store)
    emit(found, json, lambda said: _render_migrations(said, action, dry_run))


def _render_migrations(found: Sequence["Migration"], action: str, dry_run: bool) -> RenderableType:
    if not found:
        return "nothing to do: every migration is applied"
    done = {"up": "would be applied" if dry_run else "applied now"}.get(action)
    return table(("version", "file", "state", "applied"), [(m.version, m.name, done or m.state, m.applied_at) for m in found])


def reconcile(*, wait: Annotated[float, Parameter(help="Seconds to let the sink catch up.")] = 30.0, json: Json = False) -> Exit:
    """Compare the analytics store with the log: rows and a checksum of their content, for every topic and partition.

    Exit code 0 only if all are equal. Works while `assay serve` runs, and without it.

    Examples:
        assay reconcile
        assay reconcile --wait 0 --json
    """
    from infra.clickhouse.reconcile import reconcile as compare

    chosen = settings()
    with asking(chosen) as client, _said_in_one_line(), watched("reading the log", json) as watch:
        compared = asyncio.run(compare(bootstrap(chosen), client, wait, watch))
    equal = all(one.holds for one in compared)
    emit({"holds": equal, "topics": [_topic(name, list(of)) for name, of in _by_topic(compared)]}, json, _render_comparison)
    return holds(equal)


def _by_topic(compared: Sequence["Partition"]) -> Any:
    return groupby(compared, key=lambda one: one.topic)


def _topic(name: str, partitions: "list[Partition]") -> dict[str, Any]:
    from infra.clickhouse.reconcile import Digest

    log = sum((one.log for one in partitions), Digest())
    clickhouse = sum((one.clickhouse for one in partitions), Digest())
    return {
        "topic": name,
        **_sides(log, clickhouse),
        "holds": all(one.holds for one in partitions),
        "partitions": [
            {
                "partition": one.partition,
                **_sides(one.log, one.clickhouse),
                "strange_rows": one.strange_rows,
                "holds": one.holds,
            }
            for one in partitions
        ],
    }


def _sides(log: Any, clickhouse: Any) -> dict[str, Any]:
    # In hex, since JSON readers round integers of 64 bits.
    return {
        "rows_in_log": log.rows,
        "rows_in_clickhouse": clickhouse.rows,
        "checksum_log": f"{log.checksum:016x}",
        "checksum_clickhouse": f"{clickhouse.checksum:016x}",
    }


_COLUMNS = ("topic", "#partition", "#rows in log", "#rows in ClickHouse", "checksum of log", "of ClickHouse", "")


def _render_comparison(found: dict[str, Any]) -> RenderableType:
    rows = [
        (
            topic["topic"],
            one["partition"],
            one["rows_in_log"],
            one["rows_in_clickhouse"],
            one["checksum_log"],
            one["checksum_clickhouse"],
            _says(one),
        )
        for topic in found["topics"]
        for one in topic["partitions"]
    ]
    total = sum(topic["rows_in_log"] for topic in found["topics"])
    verdict = f"all equal: {total} rows" if found["holds"] else "NOT EQUAL: see the rows marked above"
    return Group(table(_COLUMNS, rows), "", verdict)


def _says(one: dict[str, Any]) -> str:
    if one["strange_rows"]:
        return f"{one['strange_rows']} rows that the log does not have"
    return "equal" if one["holds"] else "DIFFERENT"
