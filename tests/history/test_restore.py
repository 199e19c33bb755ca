"""A lost log comes back from its archive to a broker of its own, and a replay of it touches nothing."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents.clients import new_consumer
from infra.cli.replaying import _replayed
from infra.errors import AssayError
from infra.history.archive import ArchiveHistory
from infra.history.archiving import ARCHIVED, Limits, archive, existing
from infra.history.choosing import Source
from infra.history.kafka import KafkaHistory
from infra.history.restoring import plan, restore
from infra.history.segments import MANIFEST, Manifest, folder_of
from infra.history.source import History, Place, Raw
from infra.kafka import broker
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.settings import Kafka, Settings
from schemas.topics import EVENTS, POLICIES
from streams.catalogue import PROJECTIONS
from tests.history.logs import PARTITIONS, create, fill


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")

    async def make() -> None:
        lost = MemoryBroker()
        create(lost)
        with serving("lost", lost) as address:
            await fill(f"{address}/tests", 600)
            await archive(KafkaHistory(f"{address}/tests"), folder, limits=Limits(records=200))

    asyncio.run(make())
    return folder


class Restored(NamedTuple):
    settings: Settings
    folder: Path


@pytest.fixture(scope="module")
def restored(archived: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    own = Settings(data_dir=tmp_path_factory.mktemp("restored"), kafka=Kafka(partitions=PARTITIONS, heap_mb=256))
    planned = plan(own, archived)
    with broker.running(own) as bootstrap:
        restore(own, archived, planned)
        yield Restored(own.model_copy(update={"kafka": own.kafka.model_copy(update={"brokers": bootstrap})}), archived)


async def all_of(history: History) -> dict[Place, list[tuple[Any, ...]]]:
    ends = await history.ends(*ARCHIVED)
    return {place: [_plain(raw) async for batch in history.raw(*place, end) for raw in batch] for place, end in ends.items()}


def _plain(raw: Raw) -> tuple[Any, ...]:
    return raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)


def hashes(source: Source) -> list[dict[str, Any]]:
    return _replayed(source, PROJECTIONS, "0", None, 1, json=True)


async def test_every_record_is_back_at_its_offset(restored: Restored) -> None:
    brokers = str(restored.settings.kafka.brokers)
    there, expected = await all_of(KafkaHistory(brokers)), await all_of(ArchiveHistory(restored.folder))
    assert there == expected
    assert sum(map(len, there.values())) > 1_500


def test_its_hashes_are_those_of_the_archive_and_a_replay_commits_nothing(restored: Restored) -> None:
    brokers = str(restored.settings.kafka.brokers)
    asyncio.run(_commit(brokers))
    before = asyncio.run(_outside(brokers))
    assert hashes(Source(brokers, None)) == hashes(Source(None, restored.folder))
    assert asyncio.run(_outside(brokers)) == before
    assert before[0] == {"live": 3}


async def _commit(brokers: str) -> None:
    member = new_consumer(brokers, group_id="live")
    await member.start()
    place = TopicPartition(EVENTS.name, 0)
    member.assign([place])
    await member.commit({place: 3})
    await member.stop()


async def _outside(brokers: str) -> tuple[dict[str, int | None], list[str], dict[Place, int]]:
    """What every group has committed, all topics, and where they end."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        groups = [str(group[0]) for group in await admin.list_consumer_groups()]
        topics = sorted(await admin.list_topics())
        offsets = {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()
    committed = {group: sum(one.offset for one in said.values()) for group, said in offsets.items()}
    return committed, topics, await KafkaHistory(brokers).ends(*(topic for topic in topics if topic.startswith("assay.")))


def test_it_goes_into_an_empty_log_only(restored: Restored) -> None:
    with pytest.raises(AssayError, match=r"a topic is not empty; where: assay"):
        restore(restored.settings, restored.folder, plan(restored.settings, restored.folder))


def test_it_refuses_a_directory_that_holds_something(archived: Path, tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with pytest.raises(AssayError, match=f"the data directory is not empty; where: {tmp_path}; got: kafka"):
        plan(Settings(data_dir=tmp_path, kafka=Kafka(partitions=PARTITIONS)), archived)


def test_it_refuses_another_partition_count(archived: Path, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"another partition count .*got: 2, not 4; hint: set kafka.partitions = 2"):
        plan(Settings(data_dir=tmp_path), archived)


def test_it_refuses_what_would_not_fit(archived: Path, tmp_path: Path) -> None:
    """Kafka gives offsets without gaps, so that a log that has some cannot come back."""
    place = (EVENTS.name, 1)
    manifest = existing(archived)[place]
    first = manifest.segments[0]
    gap = first.model_copy(update={"records": first.records - 1})
    changed: Manifest = manifest.model_copy(update={"segments": (gap, *manifest.segments[1:])})
    copy = shutil.copytree(archived, tmp_path / "copy")
    (folder_of(copy, place) / MANIFEST).write_text(changed.model_dump_json())
    with pytest.raises(AssayError, match="these records would not get their offsets again"):
        plan(Settings(data_dir=tmp_path / "new", kafka=Kafka(partitions=PARTITIONS)), copy)


def test_it_refuses_an_archive_without_one_of_its_topics(archived: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(archived, tmp_path / "copy")
    shutil.rmtree(copy / POLICIES.name)
    with pytest.raises(AssayError, match="the archive lacks a topic"):
        plan(Settings(data_dir=tmp_path / "new", kafka=Kafka(partitions=PARTITIONS)), copy)


def test_no_broker_starts_on_half_a_log(tmp_path: Path) -> None:
    own = Settings(data_dir=tmp_path)
    with broker.half_a_log(own):
        pass
    with pytest.raises(KeyboardInterrupt), broker.half_a_log(own):
        raise KeyboardInterrupt
    with pytest.raises(AssayError, match="a restore into this data directory was interrupted"):
        broker.Broker(own).launch(bound=True)
