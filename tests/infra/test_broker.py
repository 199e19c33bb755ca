"""The managed broker, with the real Kafka: its life, and what may go wrong with it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from infra import ports
from infra.errors import AssayError
from infra.kafka import java
from infra.kafka.broker import Broker, InUse, properties
from infra.kafka.topics import ensure_topics
from infra.processes import Record, gone, held, holder
from infra.settings import Kafka, Settings
from schemas.topics import Topic

ROOT = Path(__file__).parents[2]
TOPIC = Topic("test.life", "key", "what is written")


def settings_at(data_dir: Path, **kafka: object) -> Settings:
    return Settings(data_dir=data_dir, kafka=Kafka.model_validate({"partitions": 1, "heap_mb": 256, **kafka}))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One data directory for this module, so that its storage is formatted once."""
    made = settings_at(tmp_path_factory.mktemp("broker ü"))
    yield made
    Broker(made).down()


def assay(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=60)


async def write(bootstrap: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    await producer.send_and_wait(TOPIC.name, value)
    await producer.stop()


async def read(bootstrap: str) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC.name, 0)])
    await consumer.seek_to_beginning()
    value = (await asyncio.wait_for(consumer.getone(), 10)).value
    await consumer.stop()
    return value


@pytest.fixture(scope="class")
def address(settings: Settings) -> Iterator[str]:
    broker = Broker(settings)
    yield broker.up(bound=False)
    assert broker.down() is True
    assert broker.status().state == "stopped"


class TestRunning:
    """One broker, left alone by these."""

    async def test_it_takes_and_gives(self, settings: Settings, address: str) -> None:
        await ensure_topics(address, settings, [TOPIC])
        await write(address, b"kept")
        assert await read(address) == b"kept"

    def test_up_twice_is_one_broker_and_status_says_where(self, settings: Settings, address: str) -> None:
        again = assay("kafka", "up", "--json", "--data-dir", str(settings.data_dir))
        said = json.loads(again.stdout)
        assert (again.returncode, said["state"], said["bootstrap"]) == (0, "running", address)
        with pytest.raises(InUse, match=f"got: pid {said['pid']}; hint: .*kafka down"):
            Broker(settings).launch(bound=False)

    @pytest.mark.usefixtures("address")
    def test_without_its_record_it_is_found_by_its_lock(self, settings: Settings) -> None:
        path, before = settings.data_dir / "kafka" / "broker.json", Broker(settings).record()
        kept = path.read_bytes()
        path.unlink()
        assert Broker(settings).record() == before
        path.write_bytes(kept)


PARENT = """
import sys, time
from pathlib import Path
from infra.kafka import broker
from infra.settings import Kafka, Settings
settings = Settings(data_dir=Path(sys.argv[1]), kafka=Kafka(partitions=1, heap_mb=256))
with broker.running(settings):
    print("up", flush=True)
    time.sleep(60)
"""


def test_killed_with_its_parent_it_leaves_nothing_and_loses_nothing(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(settings.data_dir)], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        record = Broker(settings).record()
        parent.kill()
    assert record is not None
    assert gone(record, 5)
    # Its pid belongs to another process by now, as after a reboot: here to this one.
    Record(os.getpid(), "another boot:1").write(settings.data_dir / "kafka" / "broker.json")
    broker = Broker(settings)
    assert (broker.status().state, broker.down()) == ("stopped", False)
    assert asyncio.run(read(broker.up(bound=True))) == b"kept"
    broker.down()


def test_a_named_port_in_use_is_an_error(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = assay("kafka", "up", "--data-dir", str(settings.data_dir), ASSAY_KAFKA__PORT=str(port))
    assert done.returncode == 2
    assert f"where: 127.0.0.1:{port}; got: pid {os.getpid()}" in one_line(done)


def test_a_remembered_port_in_use_is_replaced(tmp_path: Path) -> None:
    first = ports.choose(tmp_path, "kafka")
    assert ports.choose(tmp_path, "kafka") == first
    with socket.socket() as taken:
        taken.bind((ports.HOST, first))
        second = ports.choose(tmp_path, "kafka")
    assert second != first
    assert ports.remembered(tmp_path, "kafka") == second


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What the command said, checked to be one line without a traceback (notes on progress come before it)."""
    *notes, last = done.stderr.strip().splitlines()
    assert last.startswith("assay: ")
    assert not [text for text in notes if "Traceback" in text or text.startswith("assay: ")]
    return last


def test_no_java_is_said_in_one_line(tmp_path: Path) -> None:
    done = assay("kafka", "up", "--data-dir", str(tmp_path), PATH=str(tmp_path), JAVA_HOME="", ASSAY_KAFKA__JAVA="/nowhere/java")
    assert done.returncode == 2
    assert "no Java 17 or later" in one_line(done)


def test_an_old_java_is_named(tmp_path: Path) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    done = assay("kafka", "up", "--data-dir", str(tmp_path), ASSAY_KAFKA__JAVA=str(old))
    assert f"got: {old} of kafka.java is Java 11" in one_line(done)


@pytest.mark.parametrize(("said", "version"), [('version "1.8.0_392"', 8), ('version "17.0.15"', 17), ('version "25-ea"', 25)])
def test_java_versions(said: str, version: int) -> None:
    assert java.parse(said) == version


def test_no_maven_is_said_in_one_line(tmp_path: Path) -> None:
    # An interpreter outside of any environment keeps its jars in the data directory, where there are none yet.
    text = (
        "import sys\nsys.prefix = sys.base_prefix\nfrom infra.cli import run\n"
        "sys.exit(run(['kafka', 'up', '--data-dir', sys.argv[1]]))"
    )
    real = java.find(Settings()).path
    env = {**os.environ, "PATH": str(tmp_path), "ASSAY_KAFKA__JAVA": str(real), "KAFKA_HOME": ""}
    command = [sys.executable, "-c", text, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no Maven" in one_line(done)


def test_a_wrong_kafka_home_is_said_in_one_line(tmp_path: Path) -> None:
    done = assay("kafka", "up", "--data-dir", str(tmp_path), KAFKA_HOME=str(tmp_path))
    assert "no Apache Kafka there; where: " in one_line(done)


def test_a_broker_that_dies_while_starting_says_why(settings: Settings) -> None:
    meta = settings.data_dir / "kafka" / "data" / "meta.properties"
    kept = meta.read_text()
    meta.write_text("\n".join(text for text in kept.splitlines() if not text.startswith("cluster.id")))
    done = assay("kafka", "up", "--data-dir", str(settings.data_dir))
    meta.write_text(kept)
    assert done.returncode == 1
    assert "the broker stopped while starting; where: " in one_line(done)
    assert f"hint: see {settings.data_dir}" in one_line(done)


def test_with_brokers_named_none_is_started(tmp_path: Path) -> None:
    done = assay("kafka", "up", "--json", "--data-dir", str(tmp_path), ASSAY_KAFKA__BROKERS="10.0.0.1:9092")
    assert json.loads(done.stdout)["state"] == "external"
    assert not (tmp_path / "kafka").exists()


def test_an_interrupted_format_is_made_anew(tmp_path: Path) -> None:
    part = tmp_path / "kafka" / "data.part"
    part.mkdir(parents=True)
    (part / "meta.properties").write_text("half")
    broker = Broker(settings_at(tmp_path))
    broker.launch(bound=True)
    broker.down()
    assert not part.exists()
    assert broker.cluster_id()


def test_a_path_is_escaped_for_java(tmp_path: Path) -> None:
    written = properties(Settings(), tmp_path / "a b\\ü", 1, 2)
    assert b"a b\\\\\\u00fc\n" in written
    with pytest.raises(AssayError, match="comma"):
        properties(Settings(), tmp_path / "a,b", 1, 2)


def test_the_lock_tells_who(tmp_path: Path) -> None:
    with held(tmp_path / "lock") as mine:
        assert mine is not None
        with held(tmp_path / "lock") as theirs:
            assert theirs is None
        argv = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
        child = subprocess.Popen(argv, pass_fds=[mine], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
    with held(tmp_path / "lock") as after:
        assert after is None, "the child holds it on"
    assert holder(tmp_path / "lock") == child.pid
    child.kill()
    child.communicate()
    started = time.monotonic()
    with held(tmp_path / "lock") as free:
        assert free is not None
    assert time.monotonic() - started < 1


def test_a_cluster_id_may_begin_with_a_dash(tmp_path: Path) -> None:
    # One random id in 64 does, and Kafka's tool once took it for an option.
    broker = Broker(settings_at(tmp_path), new_id=lambda: uuid.UUID(bytes=b"\xf8" * 16))
    broker.up(bound=True)
    try:
        assert (broker.cluster_id() or "").startswith("-")
    finally:
        broker.down()
