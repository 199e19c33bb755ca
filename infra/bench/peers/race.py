"""Runs every peer over the topic that Assay was measured on, and compares what it delivered with what Assay did.

A peer's time goes from its first record until all is flushed and committed. A slow one gets the first events only,
on a topic of their own.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from agents.log_reading import read_range
from infra.bench.load import Line, publish
from infra.bench.peers import environment
from infra.bench.peers.task import Task
from infra.bench.rig import Say, brokers_of, said_by
from infra.errors import AssayError, line
from infra.history.kafka import KafkaHistory
from infra.kafka import java
from infra.kafka.reading import ends
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from schemas.catalogue import TYPE_OF
from schemas.events import VerdictReached, VerdictReopened
from schemas.topics import EVENTS, JUDGEMENTS, SLICES, VERDICTS, Topic
from streams.projection import facts
from streams.review import REVIEW

ROOT = Path(__file__).parents[3]
PEER_SECONDS = 240.0
Command = Callable[[Settings, Task], Sequence[str]]


@dataclass(frozen=True)
class Peer:
    """One peer: how it is started, how many events it gets at most, and what it leaves out."""

    name: str
    command: Command
    at_most: int
    leaves_out: str


def _own(module: str) -> Command:
    return lambda _, task: [sys.executable, "-m", f"infra.bench.peers.{module}", *task.arguments]


def _theirs(module: str) -> Command:
    return lambda settings, task: [
        str(environment.python(settings)), "-m", f"infra.bench.peers.{module}", *task.arguments,
    ]  # fmt: skip


def _java(settings: Settings, task: Task) -> Sequence[str]:
    program, classpath = java.find(settings), environment.classpath(settings)
    return [str(program.path), "-Xmx1g", "-cp", classpath, "assay.bench.Main", *task.arguments]


PYTHON = "Kafka headers; quarantine"
PEERS = (
    Peer("faust_table", _own("with_faust"), 20_000, PYTHON),
    Peer("quixstreams", _theirs("with_quixstreams"), 200_000, PYTHON),
    Peer("bytewax", _theirs("with_bytewax"), 600_000, PYTHON),
    Peer(
        "kafka_streams",
        _java,
        1_000_000,
        f"{PYTHON}; retractions, withdrawals, golden answers, analyses, rulings, policies, skills, the clock; "
        "strict validation of events",
    ),
)

#: By subject: verdict, label, its confidence, log-odds.
Verdicts = dict[str, tuple[str, str, int, int]]


@dataclass
class Outcome:
    """What a fold delivered: verdicts by subject, their ids, and how many facts, repeated ones too."""

    verdicts: Verdicts = field(default_factory=Verdicts)
    ids: set[str] = field(default_factory=set[str])
    facts: int = 0

    def add(self, fact: Any) -> None:
        """One fact on verdicts, as JSON."""
        data = fact["data"]
        if fact["type"] == TYPE_OF[VerdictReached]:
            said = data["verdict"], data["label"], data["confidence_permille"], data["log_odds_milli_nats"]
            self.verdicts[fact["subject"]] = said
        elif fact["type"] == TYPE_OF[VerdictReopened]:
            self.verdicts.pop(fact["subject"], None)
        else:
            return
        self.ids.add(fact["id"])

    def has_all_of(self, other: "Outcome") -> bool:
        """By number, since a peer may give ids of its own."""
        return len(self.ids) == len(other.ids) and self.facts >= other.facts

    @property
    def digest(self) -> str:
        return sha256(orjson.dumps(sorted(self.verdicts.items()))).hexdigest()[:16]


class Race:
    """The peers, one after the other, on one broker."""

    def __init__(self, settings: Settings, load: Callable[[int], Iterator[Line]], say: Say) -> None:
        """`load` gives the first so many events again."""
        self._settings = settings
        self._brokers = brokers_of(settings)
        self._load = load
        self._say = say
        self._expected: dict[str, Outcome] = {}

    async def run(self, peers: Sequence[Peer] = PEERS) -> dict[str, dict[str, Any]]:
        """Details by name; `events_per_second` is None, with a `reason`, for one that could not be run."""
        whole = sum((await ends(self._brokers, EVENTS.name)).values())
        self._expected[EVENTS.name] = await delivered(self._brokers, VERDICTS.name, (JUDGEMENTS.name, SLICES.name))
        found = {}
        for peer in peers:
            self._say(f"{peer.name}, on {min(peer.at_most, whole):,} events")
            try:
                found[peer.name] = await self._measure(peer, min(peer.at_most, whole), whole)
            except AssayError as error:
                found[peer.name] = {"events_per_second": None, "reason": line(error)}
        return found

    async def _measure(self, peer: Peer, events: int, whole: int) -> dict[str, Any]:
        topic = EVENTS.name if events == whole else await self._beginning(events)
        prefix, partitions = f"bench.{peer.name}", self._settings.kafka.partitions
        task = Task(self._brokers, topic, events, prefix, self._settings.data_dir / peer.name, partitions)
        command = peer.command(self._settings, task)
        await self._create(*task.outputs)
        said = _result(peer, await said_by(command, PEER_SECONDS, PYTHONPATH=str(ROOT)))
        expected, got = self._expected[topic], await delivered(self._brokers, *task.outputs)
        return {
            "events_per_second": round(said["events"] / said["seconds"]),
            "events": said["events"],
            "seconds": said["seconds"],
            "verdicts_equal": got.digest == expected.digest and said["events"] == events,
            "verdicts": len(got.verdicts),
            "digest": got.digest,
            "facts": got.facts,
            "facts_of_assay": expected.facts,
            "facts_equal": got.has_all_of(expected),
            "leaves_out": peer.leaves_out,
        }

    async def _beginning(self, events: int) -> str:
        """A topic with the first events, for peers that would take too long on all of them."""
        topic = f"bench.first-{events}"
        if topic not in self._expected:
            await self._create(topic)
            await publish(self._brokers, self._settings.kafka.partitions, self._load(events), topic)
            self._expected[topic] = await replayed(self._brokers, topic)
        return topic

    async def _create(self, *names: str) -> None:
        await ensure_topics(self._brokers, self._settings, [Topic(name, "as the original", "bench") for name in names])


def compared(rate: float, raced: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Events/s by name, who came to other verdicts, and whether this rate is above those of all others that ran."""
    rates = {name: detail["events_per_second"] for name, detail in raced.items()}
    other = [name for name, detail in raced.items() if not detail.get("verdicts_equal", True)]
    fair = [each for name, each in rates.items() if name not in other]
    return {
        "peers": rates,
        "peers_with_other_verdicts": other,
        "ahead_of_peers": bool(fair) and None not in fair and max(fair) < rate,
    }


def _result(peer: Peer, printed: bytes) -> dict[str, Any]:
    """What it says of itself, among whatever else it prints."""
    found = re.search(rb'\{"events": [^}]*\}', printed)
    if found is None:
        raise AssayError("a peer said nothing", where=peer.name, got=printed[-200:])
    said: dict[str, Any] = orjson.loads(found[0])
    return said


async def delivered(brokers: str, verdicts: str, others: Sequence[str] | str) -> Outcome:
    """What stands on a topic of verdicts, and the number of facts there and on the other topics."""
    outcome = Outcome()
    for place, end in (await ends(brokers, verdicts)).items():
        async for batch in read_range(brokers, place, 0, end):
            for raw in batch:
                outcome.add(orjson.loads(raw.value))
    counted = await ends(brokers, verdicts, *([others] if isinstance(others, str) else others))
    outcome.facts = sum(counted.values())
    return outcome


async def replayed(brokers: str, topic: str) -> Outcome:
    """What Assay's fold derives from a topic of events."""
    outcome = Outcome()
    for (_, partition), end in (await ends(brokers, topic)).items():
        state = REVIEW.empty()
        async for record in KafkaHistory(brokers).records(topic, partition, end):
            step = REVIEW.apply(state, record)
            state = step.state
            for fact in facts(REVIEW, record, step.effects):
                outcome.facts += 1
                outcome.add(orjson.loads(fact.value))
    return outcome
