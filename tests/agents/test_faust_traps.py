"""What Faust does to those who trust it (DESIGN.md section 6), each beside our guard, and beside the same without the guard.

Plain Faust runs as a process (tests/agents/plain_faust.py); docs/reliability.md lists traps, guards and tests.
"""

import ast
import asyncio
import os
import signal
import subprocess
import sys
import time
import tomllib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, MessageSizeTooLargeError
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

import agents
from agents.app import create_app
from agents.clients import new_producer
from agents.publishing import Publisher, delivered
from agents.runner import Runner
from agents.settings import WorkerSettings
from agents.transport import FETCH_WAIT_MS
from infra.kafka.broker import Broker
from infra.kafka.reading import ends, live_state
from infra.settings import Settings
from tests.agents.counting import EVENTS, Counting, Failing, Forgetful, append, create, log_of
from tests.agents.test_transport import ONE, TWO, Fed, assign, committable, fetch, in_app, record
from tests.agents.workers import Worker
from tests.agents.worlds import Batch

PLAIN = (sys.executable, "-m", "faust", "-A", "tests.agents.plain_faust", "worker", "--without-web", "-l", "warn")
TOPICS = ("counted", "failing", "taken", "overtaken")
NEVER = "3600"


# --- plain Faust, as a process ------------------------------------------------------------------


@dataclass
class Plain:
    """One app of tests/agents/plain_faust.py, with 20 events in each topic that it is given."""

    brokers: str
    home: Path
    commit_seconds: str
    topics: tuple[str, ...]
    app: str = field(default_factory=lambda: f"plain-{uuid.uuid4().hex[:8]}")

    def prepare(self) -> None:
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        await create(self.brokers, *(NewTopic(f"{self.app}-{name}", 1, 1) for name in TOPICS))
        for name in self.topics:
            await append(self.brokers, f"{self.app}-{name}", [b"%d" % number for number in range(EVENTS)])

    def start(self) -> Worker:
        told = {"APP": self.app, "BROKERS": self.brokers, "HOME": str(self.home), "COMMIT_SECONDS": self.commit_seconds}
        return Worker(self.brokers, self.home, self.app, PLAIN, **{f"PLAIN_{name}": value for name, value in told.items()})

    def told(self, name: str) -> list[str]:
        """What the agent of this name wrote down about the events that it handled."""
        path = self.home / name
        return path.read_text().splitlines() if path.exists() else []

    async def committed(self) -> dict[str, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.app)
        except GroupCoordinatorNotAvailableError:
            return {}
        finally:
            await admin.close()
        return {place.topic.removeprefix(f"{self.app}-"): at.offset for place, at in found.items()}


def wait_for(true: Callable[[], bool], worker: Worker) -> None:
    deadline = time.monotonic() + 60
    while not true():
        worker.check()
        assert time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def committing(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """Has committed all that it will of the three topics whose first events it never handled."""
    plain = Plain(kafka, tmp_path_factory.mktemp("committing"), "0.3", TOPICS[1:])
    plain.prepare()
    worker = plain.start()
    try:
        wait_for(lambda: set(asyncio.run(plain.committed())) >= {"failing", "taken", "overtaken"}, worker)
        yield plain
    finally:
        worker.kill()


# --- a crash between the state and the commit ---------------------------------------------------


def test_a_plain_table_counts_twice_after_kill_9(kafka: str, tmp_path: Path) -> None:
    plain = Plain(kafka, tmp_path, NEVER, ("counted",))
    plain.prepare()
    first = plain.start()
    wait_for(lambda: len(plain.told("counted")) == EVENTS, first)
    wait_for(lambda: changelog_end(plain) == EVENTS, first)
    first.kill()
    second = plain.start()
    try:
        wait_for(lambda: len(plain.told("counted")) == 2 * EVENTS, second)
    finally:
        second.kill()
    assert plain.told("counted")[-1] == str(2 * EVENTS)


def changelog_end(plain: Plain) -> int:
    return sum(asyncio.run(ends(plain.brokers, f"{plain.app}-counts-changelog")).values())


@pytest.mark.parametrize(("projection", "counted"), [(Counting, EVENTS), (Forgetful, 2 * EVENTS)])
async def test_position_beside_state_counts_once(kafka: str, tmp_path: Path, projection: type[Counting], counted: int) -> None:
    """Rows are durable, and the batch is handed out again since nobody committed it."""
    made = projection()
    log = await log_of(kafka, made)
    for _ in range(2):
        runner = Runner(made, WorkerSettings(brokers=kafka, data_dir=tmp_path), _raise)
        await runner.keep({0})
        await runner.process(Batch(log))
        await runner.close()
    state, _ = await live_state(kafka, made, 0)
    assert sum(state.rows.values()) == counted


def _raise(error: BaseException) -> None:
    raise error


# --- an exception in an agent -------------------------------------------------------------------


def test_plain_faust_acknowledges_what_its_agent_raised_on(committing: Plain) -> None:
    """It handled nothing, and committed all the same; a restart would go on behind it."""
    assert set(committing.told("failing")) <= {f"b'{number}'" for number in range(EVENTS)}
    assert asyncio.run(committing.committed())["failing"] > 0


def test_plain_take_acknowledges_the_whole_batch_that_was_raised_on(committing: Plain) -> None:
    assert committing.told("taken")[0] == "10"
    assert asyncio.run(committing.committed())["taken"] >= 10


class Careless(Runner):
    """The guard taken out: nothing notes that a batch was broken off in the middle."""

    def _fold(self, partition: Any, records: list[Any]) -> None:
        self._fold_all(partition, records)


@pytest.mark.parametrize(("kind", "durable"), [(Runner, -1), (Careless, Failing.FAILS_AT)])
async def test_a_batch_that_fails_is_fatal_and_leaves_nothing_behind(
    kafka: str, tmp_path: Path, kind: type[Runner], durable: int
) -> None:
    """Neither acknowledged, nor written by a flush that comes before the end: the record at fault would count as folded."""
    made, fatal = Failing(), list[BaseException]()
    log = await log_of(kafka, made)
    good, bad = Batch(log[:5]), Batch(log[5:])
    runner = kind(made, WorkerSettings(brokers=kafka, data_dir=tmp_path, flush_seconds=60), fatal.append)
    await runner.keep({0})
    await runner.run(_stream(good, bad))
    await runner.close()  # its flush is one that comes before the end
    assert [repr(error) for error in fatal] == ["RuntimeError('planted')"]
    assert not bad.acknowledged
    state, _ = await live_state(kafka, made, 0)
    assert state.position == durable


async def _stream(*batches: Batch) -> AsyncIterator[Batch]:
    for batch in batches:
        yield batch


# --- commits -----------------------------------------------------------------------------------


def test_plain_concurrency_commits_past_what_is_in_flight(committing: Plain) -> None:
    """The first event is never finished."""
    assert "b'0'" not in committing.told("overtaken")
    assert asyncio.run(committing.committed())["overtaken"] > 0


class Unordered(Fed):
    """The guard taken out: Faust's own book-keeping of offsets."""

    _new_offset = Consumer._new_offset
    _filter_tps_with_pending_acks = Consumer._filter_tps_with_pending_acks


@pytest.mark.parametrize(("kind", "commits"), [(Fed, {}), (Unordered, {ONE: 6})])
async def test_a_later_batch_commits_nothing_before_an_earlier_one(
    tmp_path: Path, kind: type[Fed], commits: dict[TP, int]
) -> None:
    async with in_app(kind, tmp_path) as consumer:
        await fetch(consumer, 0, 1)
        consumer.ack(await fetch(consumer, 2, 5))
        assert committable(consumer) == commits


class Blind(Fed):
    """Both guards taken out: batches are known by their offset alone, in whichever generation."""

    _new_offset = Consumer._new_offset
    _filter_tps_with_pending_acks = Consumer._filter_tps_with_pending_acks
    ack = Consumer.ack


@pytest.mark.parametrize(("kind", "commits"), [(Fed, {}), (Blind, {ONE: 2})])
async def test_an_acknowledgement_of_an_earlier_generation_commits_nothing(
    tmp_path: Path, kind: type[Fed], commits: dict[TP, int]
) -> None:
    """Faust acknowledges what it skips after a rebalance, when the same records are on their way again."""
    async with in_app(kind, tmp_path) as consumer:
        early = await fetch(consumer, 0, 1)
        await consumer.on_partitions_revoked({ONE, TWO})
        await assign(consumer, {ONE, TWO}, 2)
        await fetch(consumer, 0, 1)
        consumer.ack(early)
        assert committable(consumer) == commits


class Remembering(Fed):
    """The guard taken out: what was handed out in an earlier generation is still waited for."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await Consumer.on_partitions_assigned(self, assigned, generation_id)


@pytest.mark.parametrize(("kind", "commits"), [(Fed, {ONE: 3}), (Remembering, {})])
async def test_what_an_earlier_generation_was_handed_blocks_no_commit(
    tmp_path: Path, kind: type[Fed], commits: dict[TP, int]
) -> None:
    async with in_app(kind, tmp_path) as consumer:
        await fetch(consumer, 0, 1)
        await assign(consumer, {ONE, TWO}, 2)
        consumer.ack(await fetch(consumer, 0, 1, 2))
        assert committable(consumer) == commits


class Reading(Fed):
    """Fetches two records at a time from where it stands, and goes back to the committed offset (0) when told to."""

    position = 0

    async def _wait_next_records(self, timeout: float) -> tuple[dict[TP, list[ConsumerRecord]], set[TP]]:
        start = self.position
        self.position += 2
        return {ONE: [record(ONE, start), record(ONE, start + 1)]}, {ONE}

    async def seek_to_committed(self) -> dict[TP, int]:
        self.position = 0
        return {ONE: 0}


class NotGoingBack(Reading):
    """The guard taken out."""

    async def _seek_back(self) -> None:
        self._in_flight.clear()


@pytest.mark.parametrize(("kind", "handed"), [(Reading, [0, 1]), (NotGoingBack, [2, 3])])
async def test_what_was_fetched_while_flow_was_stopped_is_fetched_again(
    tmp_path: Path, kind: type[Reading], handed: list[int]
) -> None:
    async with in_app(kind, tmp_path) as consumer:
        consumer.flow_active = False
        assert [pair async for pair in consumer.getmany(1.0)] == []
        consumer.flow_active = True
        ((_, message),) = [pair async for pair in consumer.getmany(1.0)]
        assert [one.offset for one in message.value] == handed


#: How long Faust lets a fetch wait, but so long that nobody has to measure it.
LONG_MS = 60_000


async def test_a_partition_waits_for_the_fetch_of_others_that_are_empty(kafka: str) -> None:
    assert not await _handed_out_within(3.0, kafka, "long-wait", LONG_MS)
    assert await _handed_out_within(30.0, kafka, "short-wait", FETCH_WAIT_MS)


async def _handed_out_within(seconds: float, kafka: str, topic: str, wait_ms: int) -> bool:
    """Whether a record comes that was written while its partition was left out of a fetch, for its last ones were being
    handed out, and the other partition had nothing."""
    await create(kafka, NewTopic(topic, 2, 1))
    await append(kafka, topic, [b"first", b"second"])
    options: dict[str, Any] = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "fetch_max_wait_ms": wait_ms}
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, **options)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in (0, 1)])
        assert len(await consumer.getmany(timeout_ms=30_000, max_records=1)) == 1
        await asyncio.sleep(0.5)  # the fetch of the other one is on its way
        assert len(await consumer.getmany(timeout_ms=30_000, max_records=1)) == 1
        await append(kafka, topic, [b"third"])
        return bool(await consumer.getmany(timeout_ms=int(1_000 * seconds)))
    finally:
        await consumer.stop()


async def test_the_worker_lets_no_fetch_wait_long(tmp_path: Path) -> None:
    async with in_app(Fed, tmp_path) as consumer:
        thread: Any = consumer._thread
        made = thread._create_worker_consumer(consumer.transport)
        await made.stop()
        assert made._fetch_max_wait_ms == FETCH_WAIT_MS


# --- deliveries --------------------------------------------------------------------------------

#: Two of them do not fit into one batch of Faust's producer, and ten not into the topic's largest.
LARGE = 10_000


async def test_flush_returns_with_messages_unsent_and_deliveries_are_awaited(
    brokers: str, settings: Settings, tmp_path: Path
) -> None:
    """A broker that stalls for half a second, and then a message that it refuses."""
    app = faust.App("flushing", broker=f"kafka://{brokers}", datadir=tmp_path, web_enabled=False)
    await create(brokers, *(NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "65000"}) for name in ("plain", "ours")))
    plain, producer, ours = app.topic("plain", value_serializer="raw"), app.producer, new_producer(brokers)
    await producer.start()
    await ours.start()
    await (await plain.send(value=b"warm"))
    publisher = Publisher(ours)
    try:
        soon, flushing, handing = await _through_a_stall(settings, plain, producer, publisher)
        await flushing
        assert not all(future.done() for future in soon), "Faust's flush returned only when all was delivered"
        await handing
        assert (await ends(brokers, "ours"))["ours", 0] == 5
        await asyncio.wait(soon)

        refused = plain.send_soon(value=b"x" * 10 * LARGE)
        await producer.flush()
        await asyncio.wait([refused])
        assert isinstance(refused.exception(), MessageSizeTooLargeError), "which nobody but us has asked for"
        publisher.add(("ours", 0), None, os.urandom(10 * LARGE), 1, [])
        with pytest.raises(MessageSizeTooLargeError):
            await delivered(await publisher.send_all())
    finally:
        await ours.stop()
        await producer.stop()


async def _through_a_stall(settings: Settings, plain: Any, producer: Any, publisher: Publisher) -> Any:
    """Five messages each, handed over while the broker does not answer."""
    broker = Broker(settings).record()
    assert broker is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        soon = [plain.send_soon(value=b"x" * LARGE) for _ in range(5)]
        for _ in range(5):
            publisher.add(("ours", 0), None, os.urandom(LARGE), 1, [])
        flushing, handing = asyncio.create_task(producer.flush()), asyncio.create_task(_hand_over(publisher))
        await asyncio.sleep(0.5)
        assert not handing.done()
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    return soon, flushing, handing


async def _hand_over(publisher: Publisher) -> None:
    await delivered(await publisher.send_all())


# --- what is configured, and what is not used ---------------------------------------------------


async def test_plain_faust_makes_topics_by_itself(committing: Plain) -> None:
    """A leader topic and a changelog, with partition counts of its own choosing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=committing.brokers)
    await admin.start()
    topics = {name.removeprefix(f"{committing.app}-") for name in await admin.list_topics()}
    await admin.close()
    assert {"__assignor-__leader", "counts-changelog"} <= topics


def test_the_app_makes_no_topics_and_keeps_nothing(tmp_path: Path) -> None:
    """`tests/agents/test_upgrade.py` looks at the topics behind a real worker."""
    app = create_app(WorkerSettings(data_dir=tmp_path))
    conf = app.conf
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    assert conf.processing_guarantee.value == "at_least_once"
    assert str(conf.store) == "memory:"
    assert [agent.concurrency for agent in app.agents.values()] == [1, 1, 1]
    assert not app.tables


#: Not used anywhere in agents/: each loses or doubles something.
FORBIDDEN = {
    "Table", "GlobalTable", "SetTable", "tumbling", "hopping", "group_by", "take", "take_events", "noack_take", "send_soon",
    "processing_guarantee", "exactly_once", "processing_guarantee_in_flight", "producer_threaded",
}  # fmt: skip


def forbidden(source: str) -> list[str]:
    """The names of Faust's traps that this code uses."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        name = node.attr if isinstance(node, ast.Attribute) else node.arg if isinstance(node, ast.keyword) else ""
        if name in FORBIDDEN:
            found.append(str(name))
        if name == "concurrency" and isinstance(node, ast.keyword) and ast.unparse(node.value) != "1":
            found.append("concurrency")
    return found


def test_no_trap_is_used() -> None:
    (folder,) = agents.__path__
    files = list(Path(folder).rglob("*.py"))
    assert files
    assert {file.name: traps for file in files if (traps := forbidden(file.read_text()))} == {}


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("app.Table('counts')", ["Table"]),
        ("app.Table('c').tumbling(10)", ["tumbling", "Table"]),
        ("stream.group_by(key)", ["group_by"]),
        ("async def f(s):\n    async for b in s.take(10, within=1): pass", ["take"]),
        ("faust.App('a', processing_guarantee='exactly_once')", ["processing_guarantee"]),
        ("app.agent(topic, concurrency=2)", ["concurrency"]),
        ("app.agent(topic, concurrency=1)", []),
    ],
)
def test_a_planted_trap_is_seen(planted: str, found: list[str]) -> None:
    assert forbidden(planted) == found


def test_the_versions_that_this_was_measured_with_are_pinned() -> None:
    declared = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    for name in ("faust-streaming", "aiokafka"):
        assert f"{name}=={version(name)}" in declared


@pytest.mark.parametrize(("before", "code", "said"), [("", 0, ""), ("sys.modules['cramjam'] = None; ", 1, "zstd")])
def test_compression_is_there(before: str, code: int, said: str) -> None:
    """aiokafka compresses with cramjam, which it does not bring along."""
    program = (
        f"import asyncio, sys; {before}from agents.clients import new_producer\n"
        "async def made(): new_producer('127.0.0.1:9092')\n"
        "asyncio.run(made())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
