"""Brings the tables up to date: numbered SQL files, the same for chDB and a server, run by clickhouse-migrations."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clickhouse_migrations.clickhouse_cluster import ClickhouseCluster
from clickhouse_migrations.connection import ClickhouseConnectConnection
from clickhouse_migrations.exceptions import MigrationException
from clickhouse_migrations.migration import MigrationStorage

from infra.clickhouse.engine import Store, one_line
from infra.errors import AssayError, Exit

FILES = Path(__file__).with_name("migrations")


@dataclass(frozen=True)
class Migration:
    """One numbered file; `state` is applied, pending, md5-mismatch or unknown."""

    version: int
    name: str
    state: str
    applied_at: datetime | None = None


class _Cluster(ClickhouseCluster):  # type: ignore[misc]  # the library has no types
    """The library's cluster, with our clients: its own cannot speak to chDB."""

    def __init__(self, store: Store) -> None:
        super().__init__(db_name=store.database)
        self._store = store

    def connection(self, db_name: str | None = None) -> ClickhouseConnectConnection:
        return ClickhouseConnectConnection(self._store.client(db_name or None))


def up(store: Store, files: Path = FILES, dry_run: bool = False) -> tuple[Migration, ...]:
    """Apply what is pending, in order; return it. With `dry_run` nothing is touched.

    A file that fails half way is run again from its start the next time, so every statement must bear that.
    """
    pending = tuple(migration for migration in status(store, files) if migration.state == "pending")
    if dry_run or not pending:
        return pending
    try:
        _Cluster(store).migrate(store.database, files)
    except MigrationException as error:
        raise _failed(files, error) from error
    except Exception as error:  # what a driver raises has no common ground
        raise _failed(files, error) from error
    return pending


def status(store: Store, files: Path = FILES) -> tuple[Migration, ...]:
    """Every migration and whether it is applied. Raises where an applied file was changed or is gone."""
    names: dict[int, str] = MigrationStorage(files).migration_filenames()
    rows: list[Any] = _Cluster(store).status(store.database, files)
    found = tuple(Migration(row.version, names.get(row.version, ""), row.state, _when(row)) for row in rows)
    for migration in found:
        if migration.state not in ("applied", "pending"):
            raise _out_of_step(files, migration)
    return found


def _when(row: Any) -> datetime | None:
    return next((value for value in row if isinstance(value, datetime)), None)


def _out_of_step(files: Path, migration: Migration) -> AssayError:
    changed = migration.state == "md5-mismatch"
    return AssayError(
        "the tables were made by other migrations than these",
        where=files / migration.name if changed else f"version {migration.version}",
        got="the file was changed after it was applied" if changed else "applied, and no such file: made by a newer Assay",
        hint="restore the file, or move the store's directory away: it can be rebuilt from the log",
        exit_code=Exit.FAILED,
    )


def _failed(files: Path, error: Exception) -> AssayError:
    hint = "mend the cause and run `assay migrate up` again: it resumes with the same file"
    return AssayError("a migration failed", where=files, got=one_line(error), hint=hint, exit_code=Exit.FAILED)
