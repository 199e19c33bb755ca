"""Snapshots against a real broker: what is sealed can be read, is verified, and never changes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.publishing import partition_of
from infra import runs
from infra.datasets import parquet, snapshots
from infra.datasets.snapshots import Request
from infra.errors import AssayError
from infra.importing.publish import publishing
from infra.kafka.topics import ensure_topics
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.settings import Kafka, Settings, Worker
from schemas.events import SnapshotSealed
from schemas.manifest import LAYOUTS
from schemas.topics import EVENTS
from schemas.words import Frozen
from streams.dataset import TEXTS, columns
from tests.jobs.conversations import approved, compared, events, text


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data directory on the session's broker, with conversations of a project of its own."""
    return Settings(data_dir=tmp_path_factory.mktemp("data"), kafka=Kafka(brokers=kafka))


@pytest.fixture(scope="module")
def project(world: Settings) -> str:
    project = f"p-{uuid4().hex[:8]}"
    send(world, conversations(project, range(60)))
    return project


def conversations(project: str, numbers: Iterable[int]) -> list[tuple[str, Frozen]]:
    return approved(
        *(
            one
            for at in numbers
            for one in (
                text(f"{project}:q{at}", f"Question {at * 7919} on {at}?", project=project),
                text(f"{project}:a{at}", f"Answer {at}.", prompt=f"{project}:q{at}", project=project),
            )
        )
    )


def test_what_a_later_version_wrote_is_not_left_out_silently(tmp_path: Path) -> None:
    """Unless the workers set such records aside as well."""
    broker = MemoryBroker()
    broker.create_topic(EVENTS.name, 1)
    with serving("ahead", broker) as address:
        world = Settings(data_dir=tmp_path, kafka=Kafka(brokers=address))
        made = [*events(conversations("p", range(3))), ("p:q9", b'{"type":"assay.SubmissionReceived.v9"}')]
        asyncio.run(_append(address, made))
        where = rf"a later version of Assay wrote this; where: assay\.events\.v1/0@{len(made) - 1};"
        with pytest.raises(AssayError, match=where):
            snapshots.build(world, Request(projects=("p",)))
        setting_aside = world.model_copy(update={"worker": Worker(too_new="quarantine")})
        assert snapshots.build(setting_aside, Request(projects=("p",))).dataset.examples


async def _append(brokers: str, made: list[tuple[str, bytes]]) -> None:
    async with publishing(brokers) as publisher:
        for subject, value in made:
            publisher.add((EVENTS.name, 0), subject.encode(), value, 1, [])


def send(world: Settings, steps: list[tuple[str, Frozen]]) -> None:
    asyncio.run(_send(world, steps))


async def _send(world: Settings, steps: list[tuple[str, Frozen]]) -> None:
    brokers = world.kafka.brokers
    assert brokers
    await ensure_topics(brokers, world)
    async with publishing(brokers) as publisher:
        for subject, value in events(steps):
            place = (EVENTS.name, partition_of(subject, world.kafka.partitions))
            publisher.add(place, subject.encode(), value, 1, [])


@pytest.fixture(scope="module")
def sealed(world: Settings, project: str) -> snapshots.Sealed:
    return snapshots.create(world, Request("one", projects=(project,)))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("layout", LAYOUTS["completion"])
def test_load_dataset_reads_splits_and_columns(sealed: snapshots.Sealed, layout: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(sealed.path), layout, cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in found.items()} == sealed.manifest.splits
    assert found["train"].column_names == list(columns(layout))  # type: ignore[arg-type]
    first = found["train"][0]
    roles = [message["role"] for name in TEXTS[layout] for message in first[name]]  # type: ignore[index]
    assert roles == ["user", "assistant"]


@pytest.mark.usefixtures("offline")
def test_load_dataset_reads_pairs_and_their_completions_one_by_one(world: Settings, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    project = f"p-{uuid4().hex[:8]}"
    send(world, pairs(project, 20))
    sealed = snapshots.create(world, Request("pairs", "preference", (project,)))
    assert (sealed.manifest.rows, sealed.manifest.left_out) == (19, {"not_preferred": 1})
    assert all(check.holds for check in snapshots.verify(world, "pairs"))
    found = datasets.load_dataset(str(sealed.path), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in found.items()} == sealed.manifest.splits
    assert found["train"].column_names == list(columns("preference"))
    first = found["train"][0]
    assert [first[name][0]["role"] for name in ("prompt", "chosen", "rejected")] == ["user", "assistant", "assistant"]
    single = datasets.load_dataset(str(sealed.path), "unpaired", cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in single.items()} == {s: 2 * n for s, n in sealed.manifest.splits.items()}
    assert sum(single["train"]["label"]) * 2 == len(single["train"])


def pairs(project: str, count: int) -> list[tuple[str, Frozen]]:
    """So many prompts with two answers, of which the left is preferred; of the first prompt neither."""
    made = list[tuple[str, Frozen]]()
    for at in range(count):
        names = [f"{project}:{name}{at}" for name in ("q", "a", "b")]
        asked = text(names[0], f"Question {at * 7919} on {at}?", project=project)
        answers = [text(name, f"Answer of {name[-3:]}.", prompt=names[0], project=project) for name in names[1:]]
        choice = "left" if at else "tie"
        made += [*approved(asked, *answers), *compared(f"{project}:c{at}", *names, choice, choice, project=project)]
    return made


@pytest.mark.usefixtures("offline")
def test_the_first_layout_is_the_default(sealed: snapshots.Sealed, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(sealed.path), split="test", cache_dir=str(tmp_path))
    assert "messages" in found.column_names
    assert len(found) == sealed.manifest.splits["test"]


def test_it_verifies_and_stands_on_the_log_once(world: Settings, sealed: snapshots.Sealed, project: str) -> None:
    assert all(check.holds for check in snapshots.verify(world, "one"))
    again = snapshots.create(world, Request("one", projects=(project,)))
    assert (again.created, again.manifest) == (False, sealed.manifest)
    said = [event.data for event in runs.said(world) if isinstance(event.data, SnapshotSealed)]
    assert [one.digest for one in said if one.digest == sealed.manifest.content_digest] == [sealed.manifest.content_digest]


def test_another_data_directory_gives_the_same_digest_and_bytes(
    world: Settings, sealed: snapshots.Sealed, project: str, tmp_path: Path
) -> None:
    other = world.model_copy(update={"data_dir": tmp_path})
    again = snapshots.create(other, Request(None, projects=(project,))).manifest
    assert again.content_digest == sealed.manifest.content_digest
    assert again.files == sealed.manifest.files
    assert again.name == f"completion-{again.content_digest[:12]}"


def test_tampering_with_a_file_is_found(world: Settings, project: str) -> None:
    path = snapshots.create(world, Request("tampered", projects=(project,))).path / "messages/train.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["messages"][-1]["content"] = "Poison."
    pq.write_table(pa.Table.from_pylist(rows, parquet.schema("messages")), path)
    assert failing(world, "tampered") == ["file messages/train.parquet"]


def test_tampering_with_a_file_and_its_hash_is_found(world: Settings, project: str) -> None:
    sealed = snapshots.create(world, Request("forged", projects=(project,)))
    path = sealed.path / "messages/train.parquet"
    rows = pq.read_table(path).to_pylist()[1:]
    pq.write_table(pa.Table.from_pylist(rows, parquet.schema("messages")), path)
    first, *rest = sealed.manifest.files
    assert first.path == "messages/train.parquet"
    forged = sealed.manifest.model_copy(update={"files": (first.model_copy(update={"sha256": parquet.sha256_of(path)}), *rest)})
    (sealed.path / "manifest.json").write_text(forged.model_dump_json())
    assert failing(world, "forged") == ["rows in the files", "lineage in the files"]


def failing(world: Settings, name: str) -> list[str]:
    return [check.check for check in snapshots.verify(world, name) if not check.holds]


@pytest.mark.usefixtures("sealed")
def test_a_name_is_never_given_twice(world: Settings, project: str) -> None:
    with pytest.raises(AssayError, match="snapshots never change"):
        snapshots.create(world, Request("one", kind="prompt", projects=(project,)))


def test_earlier_offsets_give_the_earlier_snapshot(world: Settings) -> None:
    project = f"p-{uuid4().hex[:8]}"
    send(world, conversations(project, range(5)))
    before = snapshots.create(world, Request("before", projects=(project,))).manifest
    send(world, conversations(project, range(5, 9)))
    assert len(snapshots.build(world, Request(projects=(project,))).dataset.examples) == 9
    again = snapshots.build(world, Request(projects=(project,), offsets=before.offsets))
    assert snapshots.manifest_of(again, Request("x"), ()).content_digest == before.content_digest
    beyond = {place: end + 10**6 for place, end in before.offsets.items()}
    with pytest.raises(AssayError, match="does not reach"):
        snapshots.build(world, Request(projects=(project,), offsets=beyond))


@pytest.mark.usefixtures("project")
def test_nothing_approved_is_an_error_and_leaves_nothing(world: Settings) -> None:
    with pytest.raises(AssayError, match="nothing to put into a snapshot"):
        snapshots.create(world, Request("empty", projects=("no-such-project",)))
    assert not (world.data_dir / "snapshots" / "empty").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_create_that_is_stopped_leaves_nothing_half(world: Settings, project: str, tmp_path: Path, number: int) -> None:
    """It is stopped at the worst moment: files are written, the rename is next."""
    program = (
        "import pathlib, time, sys; from infra.datasets import snapshots; from infra.settings import Kafka, Settings\n"
        "def rename(self, to): print('now', flush=True); time.sleep(60)\n"
        "pathlib.Path.rename = rename\n"
        f"world = Settings(data_dir={str(tmp_path)!r}, kafka=Kafka(brokers={world.kafka.brokers!r}))\n"
        f"snapshots.create(world, snapshots.Request('killed', projects=({project!r},)))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path.cwd())
    assert child.stdout
    with child.stdout:
        assert child.stdout.readline() == b"now\n"
    os.kill(child.pid, number)
    assert child.wait(20) != 0
    other = world.model_copy(update={"data_dir": tmp_path})
    assert snapshots.load_all(other) == []
    assert snapshots.create(other, Request("killed", projects=(project,))).created
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["killed"]


@pytest.mark.usefixtures("sealed")
def test_no_such_snapshot_names_those_that_are(world: Settings) -> None:
    with pytest.raises(AssayError, match="no such snapshot") as caught:
        snapshots.load(world, "onne")
    assert "one" in str(caught.value.hint)
