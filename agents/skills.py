"""The skills agent: what annotators has counted of all voters -> how review weighs their votes, recorded as control records.

It reads annotators' state rows of all partitions, which no fold does, and says what it estimates first on
`assay.annotators.v1`, then in every partition of the events. One is enough; two at once only do the work twice.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, get_args

import orjson
from aiokafka import TopicPartition

from agents.clients import Consumer, new_consumer, new_producer
from agents.log_reading import read_range
from agents.publishing import Place, Publisher, delivered, fact_headers, partition_of
from agents.state_log import FENCE_KEY
from schemas.catalogue import TYPE_OF, enveloped
from schemas.events import SkillsEstimated
from schemas.identity import event_id, unix_milliseconds
from schemas.topics import ANNOTATORS, EVENTS
from schemas.wire import Undecodable, decode, encode
from schemas.words import Choice
from streams.annotators import ANNOTATORS_PROJECTION, subject_of
from streams.confusion import Voter
from streams.projection import CONTROL_KEY, topic_of
from streams.rules import DEFAULT_RULES, Rules
from streams.skills import Estimate, IntegerMatrix, Subject, changed, control_records, differ, estimate, voter_of

SOURCE = "assay/skills"
_SKILLS_ESTIMATED = TYPE_OF[SkillsEstimated]
READ_ROWS = 5_000
#: Judged votes that have grown by this factor since the last sweep want another.
SWEEP_GROWTH = 2


class Known:
    """What the state rows said last: voters by project and task, and policies."""

    def __init__(self) -> None:
        self.rules: dict[str, Rules] = {}
        self.tallies: dict[Subject, dict[str, Any]] = {}
        self.touched: dict[Subject, None] = {}

    def learn(self, key: bytes | None, value: bytes | None) -> None:
        """One row of the state topic. A person whose row was deleted is forgotten."""
        if key is None or key == FENCE_KEY:
            return
        name = key.decode()
        if name == CONTROL_KEY:
            self._learn_rules(value)
        elif not name.startswith("~"):
            self._learn_person(name, value)

    def voters(self, about: Subject) -> tuple[tuple[str, ...], list[Voter]]:
        """The labels that count, and every voter."""
        labels = get_args(Choice)
        if about.task == "review":
            labels = self.rules.get(about.project, DEFAULT_RULES).policy.labels
        return labels, [voter_of(name, tally, labels) for name, tally in sorted(self.tallies[about].items())]

    def _learn_rules(self, value: bytes | None) -> None:
        if value is None:
            return
        for project, rules in ANNOTATORS_PROJECTION.unpack_control(orjson.loads(value)["control"]).items():
            if rules.version > self.rules.get(project, DEFAULT_RULES).version:
                self.rules[project] = rules
                self.touched.update(dict.fromkeys(about for about in self.tallies if about.project == project))

    def _learn_person(self, name: str, value: bytes | None) -> None:
        found = {} if value is None else ANNOTATORS_PROJECTION.unpack(orjson.loads(value)).projects
        for about, tallies in self.tallies.items():
            if tallies.pop(name, None) is not None:
                self.touched[about] = None
        for row_name, tally in found.items():
            about = Subject(*subject_of(row_name))
            self.tallies.setdefault(about, {})[name] = tally
            self.touched[about] = None


class Told:
    """What was published of one subject: the version, each model's estimate and the weights that voters were told."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.last: dict[str, Estimate] = {}
        self.weights: dict[str, dict[str, IntegerMatrix]] = {}
        self.swept_at = 0

    def news(self, about: Subject, estimates: Iterable[Estimate], judged: int) -> list[SkillsEstimated]:
        """The control records of the next version; none if all is as it was told."""
        fresh = [(one, changed(one, self._weights_of(one))) for one in estimates]
        if not any(voters or _is_news(one, self.last.get(one.model)) for one, voters in fresh):
            return []
        self.version += 1
        sweep = judged >= SWEEP_GROWTH * self.swept_at
        if sweep:
            self.swept_at = judged
        made: list[SkillsEstimated] = []
        for one, voters in fresh:
            self.weights[one.model] |= voters
            self.last[one.model] = one
            made += control_records(about, self.version, one, voters, sweep=sweep)
        return made

    def _weights_of(self, one: Estimate) -> dict[str, IntegerMatrix]:
        last = self.last.get(one.model)
        if last is None or last.labels != one.labels:
            self.weights[one.model] = {}
        return self.weights[one.model]


def _is_news(one: Estimate, last: Estimate | None) -> bool:
    """Whether what concerns everybody has changed by enough to be said."""
    if last is None or _settings(one) != _settings(last):
        return True
    return differ(one.default, last.default) or differ(one.prior, last.prior)


def _settings(one: Estimate) -> tuple[object, ...]:
    return one.labels, one.champion, one.temperature_permille, one.temperature_per_vote_permille


class Skills:
    """Estimates anew every so many seconds, where a voter's row or a policy has changed."""

    def __init__(
        self, brokers: str, seconds: float, say: Callable[[str], None] = lambda text: None, *, writes: bool = True
    ) -> None:
        self._brokers, self._seconds, self._say, self._writes = brokers, seconds, say, writes
        self._known, self._told = Known(), dict[Subject, Told]()
        self._consumer: Consumer = new_consumer(brokers, isolation_level="read_committed")
        self._producer = new_producer(brokers)
        self._versions: dict[Subject, int] = {}
        self._places: list[Place] = []

    async def start(self) -> None:
        """Connect, and learn which versions were told. Every voter is told of anew then, which completes what was cut short."""
        await self._consumer.start()
        await self._producer.start()
        self._versions = await self._versions_told()
        self._places = await self._partitions(EVENTS.name)
        rows = [TopicPartition(*place) for place in await self._partitions(topic_of(ANNOTATORS_PROJECTION).name)]
        self._consumer.assign(rows)
        await self._consumer.seek_to_beginning(*rows)
        await self._read_to_end()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: read rows, and estimate what they changed."""
        while not stop.is_set():
            await self.estimate()
            try:
                await asyncio.wait_for(stop.wait(), self._seconds)
            except TimeoutError:
                await self._read_to_end()

    async def estimate(self) -> int:
        """Tell what is new by all rows read so far; returns how many control records each partition got."""
        told = 0
        while self._known.touched:
            about = next(iter(self._known.touched))
            del self._known.touched[about]
            labels, voters = self._known.voters(about)
            judged = sum(sum(map(sum, voter.credits)) for voter in voters) // 1_000
            estimates = await asyncio.to_thread(estimate, labels, voters)
            mine = self._told.setdefault(about, Told(self._versions.get(about, 0)))
            records = mine.news(about, estimates, judged)
            await self._publish(about, records)
            told += len(records)
            if records:
                self._say(f"{about.project} {about.task}: version {mine.version}, {len(voters)} voters")
        return told

    async def close(self) -> None:
        await self._consumer.stop()
        await self._producer.stop()

    async def _publish(self, about: Subject, records: list[SkillsEstimated]) -> None:
        """Durable on the source of control records before the first copy is anywhere else; all copies have one id."""
        if not self._writes:
            return
        messages = [_message(number, data) for number, data in enumerate(records)]
        homes = await self._partitions(ANNOTATORS.name)
        for places in ([homes[partition_of(about.project, len(homes))]], self._places):
            publisher = Publisher(self._producer)
            for place in places:
                for id_, time_ms, value in messages:
                    publisher.add(place, about.project.encode(), value, time_ms, fact_headers(id_, _SKILLS_ESTIMATED))
                    await publisher.send()
            await delivered(await publisher.send_all())

    async def _partitions(self, topic: str) -> list[Place]:
        return [(topic, number) for number in sorted(await self._consumer.partitions_for(topic))]

    async def _read_to_end(self) -> None:
        """Take in every row that is committed by now."""
        rows = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(rows)
        while [row for row in rows if await self._consumer.position(row) < ends[row]]:
            for fetched in (await self._consumer.getmany(timeout_ms=200, max_records=READ_ROWS)).values():
                for record in fetched:
                    self._known.learn(record.key, record.value)

    async def _versions_told(self) -> dict[Subject, int]:
        """The newest version of each subject on the source of control records."""
        found: dict[Subject, int] = {}
        places = [TopicPartition(*place) for place in await self._partitions(ANNOTATORS.name)]
        for place, end in (await self._consumer.end_offsets(places)).items():
            async for batch in read_range(self._brokers, (place.topic, place.partition), 0, end):
                for data in filter(None, map(_skills_in, batch)):
                    about = Subject(data.project, data.task)
                    found[about] = max(found.get(about, 0), data.version)
        return found


def _skills_in(record: Any) -> SkillsEstimated | None:
    if dict(record.headers).get("ce_type") != _SKILLS_ESTIMATED.encode():
        return None
    try:
        data = decode(record.value).data
    except Undecodable:
        return None
    return data if isinstance(data, SkillsEstimated) else None


def _message(number: int, data: SkillsEstimated) -> tuple[str, int, bytes]:
    """Id, time and bytes of the control record; `number` tells the records of one version apart."""
    time = datetime.now(UTC)
    id_ = event_id(time, SOURCE, data.project, data.task, data.version, number)
    return id_, unix_milliseconds(time), encode(enveloped(id_, SOURCE, data.project, time, data))
