"""Migrations apply once, resume where they failed, and refuse a store that others made."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.clickhouse import migrate
from infra.clickhouse.engine import Store
from infra.errors import AssayError
from tests.analytics.conftest import KINDS, empty_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with empty_store(request.param, tmp_path / "store") as made:
        migrate.up(made)
        yield made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return Path(shutil.copytree(migrate.FILES, tmp_path / "migrations"))


def test_a_second_time_does_nothing(store: Store) -> None:
    assert migrate.up(store) == ()
    assert {migration.state for migration in migrate.status(store)} == {"applied"}


def test_a_dry_run_touches_nothing(store: Store, files: Path) -> None:
    (files / "900_more.sql").write_text("CREATE TABLE IF NOT EXISTS more (a UInt8) ENGINE = Memory;")
    assert [migration.name for migration in migrate.up(store, files, dry_run=True)] == ["900_more.sql"]
    assert store.client(store.database).command("EXISTS TABLE more") == 0


def test_one_that_failed_half_way_resumes(store: Store, files: Path) -> None:
    half = files / "900_more.sql"
    good = "CREATE TABLE IF NOT EXISTS more (a UInt8) ENGINE = Memory;\n"
    half.write_text(good + "CREATE TABLE less (a NoSuchType) ENGINE = Memory;")
    with pytest.raises(AssayError, match=r"a migration failed; .*NoSuchType"):
        migrate.up(store, files)
    assert store.client(store.database).command("EXISTS TABLE more") == 1
    half.write_text(good)
    assert [migration.version for migration in migrate.up(store, files)] == [900]
    assert migrate.up(store, files) == ()


def test_a_changed_file_is_refused(store: Store, files: Path) -> None:
    with (files / "001_tables.sql").open("a") as file:
        file.write("-- changed\n")
    with pytest.raises(AssayError, match=r"001_tables\.sql; got: the file was changed after it was applied"):
        migrate.up(store, files)


def test_a_store_of_a_newer_assay_is_refused(store: Store, files: Path) -> None:
    newer = files / "900_more.sql"
    newer.write_text("SELECT 1;")
    migrate.up(store, files)
    newer.unlink()
    with pytest.raises(AssayError, match=r"version 900; got: applied, and no such file"):
        migrate.up(store, files)
