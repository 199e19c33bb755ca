"""`assay bench assignment`: clients that ask at once, vote, die with a lease, release and retry; then the log is checked.

Desk, broker, worker and clients share all cores, as on one machine that does all of it. Latency is measured while nothing
is done to the desk, once the broker has run for a while. Then the desk is killed and started again under the same load, and
then two more are opened at once.
"""

import asyncio
import contextlib
import random
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import aiohttp
import orjson

from agents.clients import new_producer
from agents.publishing import Publisher, delivered, fact_headers, partition_of
from infra import ports
from infra.assignment.ledger import new_id
from infra.bench.assignment_checks import checked
from infra.bench.latency import ECHO
from infra.bench.rig import Say, assay, brokers_of
from infra.errors import Exit
from infra.importing.publish import Message, message
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.times import now
from schemas import events as e
from schemas.catalogue import EVENT_TYPES, TYPE_OF, enveloped
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.topics import ANNOTATORS, EVENTS
from schemas.words import Frozen, Origin

P99_MS = 20
PROJECT = "bench"
SLICES = tuple(f"{language}/general/{skill}" for language in ("en", "de", "fr", "es") for skill in ("writing", "coding"))
#: Of a hundred: golden texts; people who are restricted, and who are served last.
GOLDEN, RESTRICTED, LAST = 5, 5, 5
LEASE_SECONDS = 5
DIES, RELEASES, RETRIES = 0.02, 0.05, 0.05
ACCURACY = 0.85
TEXT = "The quick answer is that it depends on what the reader already knows about it. " * 5
JSON = {"Content-Type": "application/json"}


class Told(NamedTuple):
    """`seconds` in peace, and as long under kills and rivals; `think_ms` between two requests of a client, on average.

    Before all that clients work for `warm_seconds`, in which a new broker's compiler takes half a core; told, and not judged.
    """

    clients: int
    subjects: int
    voters: int
    seconds: float
    think_ms: int
    seed: int
    warm_seconds: float


@dataclass
class Found:
    """What the clients saw."""

    #: (when the answer came, how long it took) of each answer with work in it or without.
    answers: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    #: Lease -> who was told of it.
    leases: dict[str, str] = field(default_factory=dict[str, str])
    votes: int = 0
    nothing: int = 0
    refused: int = 0
    retried_and_other: int = 0


async def measure(settings: Settings, told: Told, say: Say) -> dict[str, Any]:
    """Topics must be new."""
    await ensure_topics(brokers_of(settings), settings)
    await ensure_topics(brokers_of(settings), settings, [ECHO])
    say(f"{told.subjects:,} texts, {told.voters} voters")
    await _publish(settings, list(_facts(told, settings.kafka.partitions)))
    desks = Desks(settings)
    async with assay(settings, "worker", "--agents", "review", name="worker"), desks:
        await desks.start()
        crowd = Crowd(told, settings, desks)
        say(f"{told.clients} clients for {told.warm_seconds:.0f} s that do not count")
        async with crowd.at_work():
            await asyncio.sleep(told.warm_seconds)
        say("the floor: one answer without work, and one record acknowledged")
        floor = await crowd.floor(told.seconds / 3)
        say(f"{told.clients} clients for {told.seconds:.0f} s")
        began = time.perf_counter()
        async with crowd.at_work():
            await asyncio.sleep(told.seconds)
            peace = time.perf_counter()
            say("the desk is killed and started again")
            seconds = await desks.kill_and_start()
            await asyncio.sleep(told.seconds / 2)
            say("two more desks are opened at once")
            codes = await desks.rivals()
            await asyncio.sleep(told.seconds / 2)
        await asyncio.sleep(1.0)
    say("checking the log")
    log = await checked(brokers_of(settings), crowd.found.leases, settings.queue.patience_seconds)
    faults = {"restart_s": round(seconds, 2), "fenced_exit_codes": codes}
    return _report(told, crowd.found, (began, peace), {**floor, **faults}, log)


def _report(
    told: Told, found: Found, measured: tuple[float, float], faults: dict[str, Any], log: dict[str, Any]
) -> dict[str, Any]:
    began, peace = measured
    taken = sorted(1e3 * took for at, took in found.answers if began < at < peace)
    warming = sorted(1e3 * took for at, took in found.answers if at < began)
    p50, p95, p99, most = (_percentile(taken, share) for share in (0.5, 0.95, 0.99, 1.0))
    right = log["holds"] and not found.retried_and_other and faults["fenced_exit_codes"] == [int(Exit.FENCED)] * 2
    return {
        "holds": right and p99 < P99_MS,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": most,
        "p99_bar_ms": P99_MS,
        "warming_p99_ms": _percentile(warming, 0.99),
        "requests_per_second": round(len(taken) / (peace - began)),
        "answers": len(found.answers),
        "answers_without_work": found.nothing,
        "requests_failed_under_kills": found.refused,
        "votes": found.votes,
        "retried_and_got_another": found.retried_and_other,
        **faults,
        "log": log,
        "told": told._asdict(),
    }


def _percentile(ordered: list[float], share: float) -> float:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 2) if ordered else float("inf")


# --- what there is to do -----------------------------------------------------------------------


def _facts(told: Told, partitions: int) -> Iterator[tuple[str, int, Message]]:
    """(topic, partition, event): policy, flags, texts of which some are golden."""
    start = now() - timedelta(hours=1)
    policy = Policy(lease_seconds=LEASE_SECONDS)
    applied = e.PolicyApplied(project=PROJECT, version=1, policy=policy, applied_by="bench", reason="the bench's own")
    for partition in range(partitions):
        yield EVENTS.name, partition, _message(start, PROJECT, applied, "policy")
    for number in range(told.voters):
        if (flag := _flag(number)) is not None:
            name = voter(number)
            yield ANNOTATORS.name, partition_of(name, partitions), _message(start, name, flag, number)
    for number in range(told.subjects):
        name, time_ = f"s-{number:06d}", start + timedelta(milliseconds=number)
        text = f"{TEXT}{number}"
        about: dict[str, Any] = {"kind": "prompt", "writer": voter(number % told.voters), "slice": SLICES[number % len(SLICES)]}
        received = e.SubmissionReceived(project=PROJECT, text=text, provenance="human", **about)
        yield EVENTS.name, partition_of(name, partitions), _message(time_, name, received, number)
        if number % 100 < GOLDEN:
            golden = e.GoldenAnswerSet(revision=1, label="good", set_by="bench")
            yield EVENTS.name, partition_of(name, partitions), _message(time_, name, golden, number)


def voter(number: int) -> str:
    return f"v-{number:04d}"


def _flag(number: int) -> e.AnnotatorFlagged | None:
    share = number % 100
    action: Any = "restrict" if share < RESTRICTED else "deprioritise" if share < RESTRICTED + LAST else None
    if action is None:
        return None
    about: dict[str, Any] = {"rule": "golden", "against": 9, "total": 9, "limit_permille": 300, "policy_version": 1}
    return e.AnnotatorFlagged(origin=Origin(partition=0, offset=number, index=0), project=PROJECT, action=action, **about)


def _message(time_: datetime, subject: str, data: Frozen, *parts: str | int, id_: str = "") -> Message:
    id_ = id_ or event_id(time_, "bench", TYPE_OF[type(data)], subject, *parts)
    return message(enveloped(id_, "assay/bench", subject, time_, data))


async def _publish(settings: Settings, facts: list[tuple[str, int, Message]]) -> None:
    async with _publisher(settings) as publisher:
        for number, (topic, partition, one) in enumerate(facts):
            publisher.add((topic, partition), one.subject.encode(), one.value, one.time_ms, fact_headers(one.id, one.type))
            if number % 2_000 == 0:
                await publisher.send()
        await delivered(await publisher.send_all())


@contextlib.asynccontextmanager
async def _publisher(settings: Settings) -> AsyncIterator[Publisher]:
    producer = new_producer(brokers_of(settings), compression_type=None)
    await producer.start()
    try:
        yield Publisher(producer)
    finally:
        await producer.stop()


# --- desks -------------------------------------------------------------------------------------


class Desks(contextlib.AsyncExitStack):
    """The desk that serves, and what is done to it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._running: list[tuple[Process, int]] = []
        self._numbers = count(1)

    @property
    def url(self) -> str:
        """Of the desk that was started last and runs."""
        alive = [port for process, port in self._running if process.returncode is None]
        return f"http://{ports.HOST}:{alive[-1] if alive else 1}"

    async def start(self) -> Process:
        process, port = await self._started()
        await self._ready(process, port)
        return process

    async def _started(self) -> tuple[Process, int]:
        name = f"desk-{next(self._numbers)}"
        port = ports.choose(self._settings.data_dir, name)
        running = assay(self._settings, "queue", "serve", name=name, ASSAY_HTTP__PORT=str(port))
        self._running.append((await self.enter_async_context(running), port))
        return self._running[-1]

    async def _ready(self, process: Process, port: int) -> None:
        async with aiohttp.ClientSession() as session:
            while process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{ports.HOST}:{port}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def kill_and_start(self) -> float:
        """kill -9 what serves, and start it again; how many seconds it was away."""
        process, _ = self._running[-1]
        began = time.perf_counter()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await self.start()
        return time.perf_counter() - began

    async def rivals(self) -> list[int | None]:
        """Open two at once beside the one that serves; the exit codes of the two that are left behind."""
        await asyncio.gather(self._started(), self._started())
        three = [process for process, _ in self._running[-3:]]
        async with asyncio.timeout(60):
            while sum(process.returncode is None for process in three) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        left = next(pair for pair in self._running[-3:] if pair[0].returncode is None)
        await self._ready(*left)
        return [process.returncode for process in three if process.returncode is not None]


# --- clients -----------------------------------------------------------------------------------


class Crowd:
    """People at their machines: each client acts for any of the voters, so that one person may ask twice at once."""

    def __init__(self, told: Told, settings: Settings, desks: Desks) -> None:
        self.found = Found()
        self._told = told
        self._settings = settings
        self._desks = desks
        #: Lease of the last vote of each person: it is on its way to the desk.
        self._handed_in: dict[str, list[str]] = {}
        #: Leases that a client works on: whoever else acts for the same person leaves them alone.
        self._taken: set[str] = set()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=10)
        connector = aiohttp.TCPConnector(limit=self._told.clients)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            _publisher(self._settings) as publisher,
        ):
            self._partitions = len(await ends(brokers_of(self._settings), EVENTS.name))
            clients = [asyncio.create_task(self._client(number, session, publisher)) for number in range(self._told.clients)]
            try:
                yield
            finally:
                for client in clients:
                    client.cancel()
                ended = await asyncio.gather(*clients, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def floor(self, seconds: float) -> dict[str, float]:
        """What the same clients wait for an answer without work, and one writer for a record's acknowledgement."""
        until = time.perf_counter() + seconds
        answers: list[float] = []
        acknowledged: list[float] = []

        async def ask(chance: random.Random, session: aiohttp.ClientSession) -> None:
            while (began := time.perf_counter()) < until:
                async with session.get(f"{self._desks.url}/livez") as answer:
                    await answer.read()
                answers.append(1e3 * (time.perf_counter() - began))
                await asyncio.sleep(self._told.think_ms / 1e3 * chance.uniform(0.5, 1.5))

        async def write(publisher: Publisher) -> None:
            while (began := time.perf_counter()) < until:
                publisher.add((ECHO.name, 0), None, TEXT.encode(), 1, [])
                await delivered(await publisher.send_all())
                acknowledged.append(1e3 * (time.perf_counter() - began))

        async with aiohttp.ClientSession() as session, _publisher(self._settings) as publisher:
            asking = (ask(random.Random(number), session) for number in range(self._told.clients))
            await asyncio.gather(write(publisher), *asking)
        both = {"floor_http": sorted(answers), "floor_acknowledged": sorted(acknowledged)}
        return {f"{name}_p{p}_ms": _percentile(taken, p / 100) for name, taken in both.items() for p in (50, 99)}

    async def _client(self, number: int, session: aiohttp.ClientSession, publisher: Publisher) -> None:
        chance = random.Random(f"{self._told.seed}/{number}")
        while True:
            person = voter(chance.randrange(self._told.voters))
            said = await self._ask(session, person)
            for lease in said["leases"]:
                await self._work(lease, person, chance, session, publisher)
            if not said["leases"]:
                self.found.nothing += 1
            await asyncio.sleep(self._told.think_ms / 1e3 * chance.uniform(0.5, 1.5))

    async def _ask(self, session: aiohttp.ClientSession, person: str) -> dict[str, Any]:
        wish = {"annotator": person, "done": self._handed_in.get(person, [])[-5:]}
        while True:
            began = time.perf_counter()
            said = await self._post(session, "/v1/queue/next", wish)
            if said is not None:
                now = time.perf_counter()
                self.found.answers.append((now, now - began))
                self.found.leases |= {lease["lease"]: person for lease in said["leases"]}
                return said

    async def _post(self, session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What the desk that serves answers; None where none does."""
        try:
            async with session.post(self._desks.url + path, data=orjson.dumps(body), headers=JSON) as answer:
                if answer.status in (200, 404):
                    said: dict[str, Any] = orjson.loads(await answer.read())
                    return said
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        self.found.refused += 1
        await asyncio.sleep(0.05)
        return None

    async def _work(
        self, lease: dict[str, Any], person: str, chance: random.Random, session: aiohttp.ClientSession, publisher: Publisher
    ) -> None:
        luck = chance.random()
        if lease["lease"] in self._taken:
            return
        self._taken.add(lease["lease"])
        if luck < DIES:
            return
        if luck < DIES + RELEASES:
            await self._post(session, f"/v1/queue/{lease['lease']}/release", {})
            return
        if luck < DIES + RELEASES + RETRIES:
            again = await self._ask(session, person)
            still_open = [one["lease"] for one in again["leases"]]
            if lease["lease"] not in still_open:
                self.found.retried_and_other += self._retry_was_wrong(lease)
        await self._vote(lease, person, chance, publisher)

    def _retry_was_wrong(self, lease: dict[str, Any]) -> bool:
        """Unless the lease ended meanwhile."""
        return datetime.fromisoformat(lease["until"]) > datetime.now(UTC)

    async def _vote(self, lease: dict[str, Any], person: str, chance: random.Random, publisher: Publisher) -> None:
        handed = self._handed_in.setdefault(person, [])
        if datetime.fromisoformat(lease["until"]) < datetime.now(UTC):
            return
        handed.append(lease["lease"])
        name = lease["subject"]
        is_good = int(name[2:]) % 10 < 7
        label = "good" if is_good == (chance.random() < ACCURACY) else "bad"
        cast = e.VoteCast(revision=lease["revision"], voter=person, label=label, duration_milliseconds=4_000)
        one = _message(now(), name, cast, id_=new_id())
        place = (EVENT_TYPES[one.type].topics[0].name, partition_of(name, self._partitions))
        publisher.add(place, name.encode(), one.value, one.time_ms, fact_headers(one.id, one.type))
        await delivered(await publisher.send_all())
        self.found.votes += 1
