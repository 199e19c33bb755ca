"""Where a setting comes from, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.settings import WorkerSettings
from infra.errors import AssayError
from infra.settings import ClickHouse, Kafka, Keys, Settings, Worker, environment, listing, load

Written = Callable[[str], Path]


@pytest.fixture(autouse=True)
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.chdir(tmp_path)
    for variable in ("ASSAY_CONFIG", "ASSAY_DATA_DIR", "ASSAY_KAFKA__PORT"):
        monkeypatch.delenv(variable, raising=False)

    def write(text: str) -> Path:
        path = tmp_path / "assay.toml"
        path.write_text(text)
        return path

    return write


def source(name: str) -> str:
    return next(one.source for one in listing(load()) if one.name == name)


def test_environment_over_file_over_default(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load().kafka.port, source("kafka.port")) == (0, "default")
    written("[kafka]\nport = 9191\npartitions = 8\n")
    assert (load().kafka.port, source("kafka.port")) == (9191, "file")
    monkeypatch.setenv("ASSAY_KAFKA__PORT", "9292")
    assert (load().kafka.port, source("kafka.port")) == (9292, "environment")
    assert load().kafka.partitions == 8


def test_paths_are_those_of_the_process_that_read_them(tmp_path: Path) -> None:
    assert load().data_dir == tmp_path / ".assay"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\nport = 70000\n", r"less than or equal to 65535; where: assay\.toml: kafka\.port; got: 70000"),
        ("[kafka]\nprot = 1\n", r"where: assay\.toml: kafka\.prot"),
        ("[kafka\n", r"not TOML; where: assay\.toml"),
    ],
)
def test_a_bad_file_is_refused_by_name(written: Written, text: str, said: str) -> None:
    written(text)
    with pytest.raises(AssayError, match=said):
        load()


def test_a_bad_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KAFKA__PORT", "high")
    with pytest.raises(AssayError, match=r"where: ASSAY_KAFKA__PORT; got: 'high'"):
        load()


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CONFIG", "absent.toml")
    with pytest.raises(AssayError, match=r"no such settings file; where: absent\.toml"):
        load()


def test_secrets_are_masked() -> None:
    settings = Settings(clickhouse=ClickHouse(url="https://ann:hunter2@db:8443/a", token="hunter3"))
    shown = " ".join(one.value for one in listing(settings))
    assert "ann:***@db:8443" in shown
    assert "hunter" not in shown


def test_a_child_has_the_same_settings(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written("[kafka]\nport = 1\n[worker]\nprocesses = 9\n")
    settings = Settings(data_dir=tmp_path / "d", kafka=Kafka(port=2), clickhouse=ClickHouse(token="t"))
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load() == settings


def test_every_setting_has_help() -> None:
    assert [one.name for one in listing(Settings()) if not one.help] == []


def test_a_worker_that_faust_starts_has_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = Worker(flush_seconds=3.0, agents="review")
    settings = Settings(kafka=Kafka(brokers="10.0.0.1:9092"), worker=folds, keys=Keys(master="m"))
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    theirs = WorkerSettings.from_environment()
    assert (theirs.brokers, theirs.data_dir) == ("10.0.0.1:9092", settings.data_dir)
    assert theirs.master is not None
    assert theirs.master.get_secret_value() == "m"
    assert theirs.model_dump(exclude={"brokers", "data_dir", "master"}) == settings.worker.model_dump(exclude={"processes"})
