"""`assay serve` and the commands beside it, as processes of their own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra import ports
from infra.clickhouse.engine import GATEWAY
from infra.kafka.topics import ensure_topics
from infra.settings import Kafka, Settings
from schemas.tables import SINK_TABLES
from tests.analytics.broker import produce, vote
from tests.conftest import PARTITIONS

ROOT = Path(__file__).parents[2]


class Assay:
    """The command on a data directory and a broker."""

    def __init__(self, data_dir: Path, kafka: str) -> None:
        self.data_dir = data_dir
        self.kafka = kafka
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ASSAY_DATA_DIR": str(data_dir),
            "ASSAY_KAFKA__BROKERS": kafka,
            "ASSAY_KAFKA__PARTITIONS": str(PARTITIONS),
            "ASSAY_CLICKHOUSE__PORT": "0",
        }

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from infra.cli import main; main()", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self._command(*arguments)
        return subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)

    @contextlib.contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            self._command("serve"), env=self.environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            try:
                while "ready: ClickHouse on" not in (line := process.stderr.readline()):
                    assert line, "it ended before it was ready"
                yield process
            finally:
                process.kill()

    def status(self) -> httpx.Response:
        port = ports.remembered(self.data_dir, GATEWAY)
        return httpx.get(f"http://127.0.0.1:{port}/assay/status")


@pytest.fixture(scope="module")
def assay(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Assay:
    asyncio.run(ensure_topics(kafka, Settings(kafka=Kafka(partitions=PARTITIONS))))
    asyncio.run(produce(kafka, SINK_TABLES[0], [vote(number) for number in range(500)]))
    return Assay(tmp_path_factory.mktemp("serve"), kafka)


def test_served_and_not_served_it_answers_alike(assay: Assay) -> None:
    early = assay.run("sql", "SELECT 1")
    assert (early.returncode, early.stdout) == (2, "")
    assert "the analytics store has no tables yet" in early.stderr
    with assay.serving() as process:
        served = _ask(assay)
        status = assay.status().json()
        assert (status["started"], status["lag"]) == (True, 0)
        second = assay.run("serve")
        assert (second.returncode, second.stderr.count("\n")) == (1, 1)
        assert f"held by pid {process.pid}" in second.stderr
        refused = assay.run("sql", "DROP TABLE events")
        assert refused.returncode == 1
        assert "Code: 164" in refused.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert _ask(assay) == served
    planted = assay.run("sql", "INSERT INTO events (offset) VALUES (1)")
    assert "Code: 164" in planted.stderr


def _ask(assay: Assay) -> tuple[object, object, object]:
    compared = assay.run("reconcile", "--json")
    assert compared.returncode == 0, compared.stderr + compared.stdout
    found = json.loads(compared.stdout)
    assert found["holds"]
    assert {topic["topic"] for topic in found["topics"]} == {table.topic.name for table in SINK_TABLES if table.topic}
    (events,) = [topic for topic in found["topics"] if topic["topic"] == "assay.events.v1"]
    assert events["rows_in_log"] == events["rows_in_clickhouse"] >= 500
    assert events["checksum_log"] == events["checksum_clickhouse"] != f"{0:016x}"
    rows = assay.run("sql", "SELECT count() AS votes FROM v_votes WHERE submission = 's1'", "--json")
    migrations = assay.run("migrate", "status", "--json")
    assert {each["state"] for each in json.loads(migrations.stdout)} == {"applied"}
    return found, json.loads(rows.stdout), json.loads(migrations.stdout)


def test_a_difference_is_an_exit_code(assay: Assay) -> None:
    with assay.serving() as process:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    asyncio.run(produce(assay.kafka, SINK_TABLES[0], [vote(1_000)]))
    compared = assay.run("reconcile", "--wait", "0")
    assert compared.returncode == 1
    assert "NOT EQUAL" in compared.stdout
    assert "DIFFERENT" in compared.stdout


def test_migrations_can_be_looked_at_first(kafka: str, tmp_path: Path) -> None:
    fresh = Assay(tmp_path, kafka)
    looked = json.loads(fresh.run("migrate", "up", "--dry-run", "--json").stdout)
    assert [each["state"] for each in looked] == ["pending"] * len(looked)
    assert "001_tables.sql" in fresh.run("migrate", "up").stdout
    assert "nothing to do" in fresh.run("migrate", "up").stdout
