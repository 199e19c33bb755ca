"""What must hold when all is quiet again: the log against what was meant, state and facts against the log, thrice.

The folds are replayed (`infra.verification`), the log is counted by other code (`infra.torture.recount`), and what
was to be written is made once more from its seed. A figure that is not 0 comes with the places where it is wrong.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from agents.log_reading import read_range
from infra.clickhouse.reconcile import reconcile
from infra.kafka.reading import ends, live_states
from infra.torture.load import Sent
from infra.torture.recount import Comparison, Events, Judgements, Slice, Slices, Submission
from infra.verification import Verification, verify
from schemas.catalogue import TYPE_OF
from schemas.events import ClockTicked, Outcome, SkillsEstimated
from schemas.policy import Policy
from schemas.topics import EVENTS, JUDGEMENTS, POLICIES, QUARANTINE, SLICES
from streams.annotators import ANNOTATORS_PROJECTION
from streams.catalogue import PROJECTIONS
from streams.diversity import DIVERSITY
from streams.preferences import CHOICES, comparisons, key_of
from streams.preferences import Comparison as Compared
from streams.projection import AnyProjection, AnyState
from streams.review import REVIEW
from streams.submissions import live_votes

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WRITTEN = (EVENTS, JUDGEMENTS, SLICES, POLICIES)
FOLDED: dict[str, AnyProjection] = {EVENTS.name: REVIEW, JUDGEMENTS.name: ANNOTATORS_PROJECTION, SLICES.name: DIVERSITY}
#: What the system says of itself meanwhile: no seed makes it again.
OF_THE_SYSTEM = frozenset(TYPE_OF[data].encode() for data in (SkillsEstimated, ClockTicked))
OUTCOMES: tuple[str, ...] = get_args(Outcome)
#: Of the policies that campaigns apply.
LABELS = Policy().labels
#: Places that are told for each kind of fault; the rest is a number.
TOLD = 20
SINK_WAIT_SECONDS = 120.0
#: What the recount raises at JSON that is none, or none of ours.
UNREADABLE = (ValueError, LookupError, TypeError)

#: Topic, partition, offset.
Place = tuple[str, int, int]


@dataclass
class Findings:
    """`lost`: records meant and not in the log, facts that are missing, and counts below what the log says.
    `doubled`: facts and counts above it. `details` says where."""

    lost: int = 0
    doubled: int = 0
    hashes_equal: bool = True
    sink_equal: bool = True
    quarantine_exact: bool = True
    records: int = 0
    state_rows: dict[str, int] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    _told: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        return not self.lost and not self.doubled and self.hashes_equal and self.sink_equal and self.quarantine_exact

    def tell(self, what: str, where: str) -> None:
        self._told[what] += 1
        if self._told[what] <= TOLD:
            self.details.append(f"{what}: {where}")

    def lose(self, what: str, where: str, count: int = 1) -> None:
        self.lost += count
        self.tell(what, where)

    def double(self, what: str, where: str, count: int = 1) -> None:
        self.doubled += count
        self.tell(what, where)

    def compare(self, what: str, where: str, got: int, expected: int) -> None:
        """A count of the state against the log's."""
        if got < expected:
            self.lose(f"{what} below the log", f"{where}: {got}, not {expected}", expected - got)
        elif got > expected:
            self.double(f"{what} above the log", f"{where}: {got}, not {expected}", got - expected)


async def check_log(
    brokers: str, meant: Iterable[Sent], found: Findings, folded: Iterable[AnyProjection] = tuple(FOLDED.values())
) -> None:
    """The log against what was meant, the recount against the log, and state and quarantine against both."""
    recount = Recount()
    wanted, poison = _wanted(meant)
    await _read_log(brokers, wanted, poison, recount, found)
    for place, digests in wanted.items():
        for missing in digests.values():
            if missing > 0:
                found.lose("not in the log", f"{place[0]}/{place[1]}", missing)
    await _check_quarantine(brokers, recount.refused, found)
    rows = {projection.name: await _rows(brokers, projection) for projection in folded}
    check_rows(rows, recount, found)


class Recount:
    """The naive counts of the three topics that are folded, and every record that must stand in quarantine."""

    def __init__(self) -> None:
        self.events, self.judgements, self.slices = Events(), Judgements(), Slices()
        self.refused: dict[Place, tuple[str, bytes | None]] = {}

    def add(self, place: Place, value: bytes | None, poison: str) -> None:
        code = poison or self._count(place[0], value or b"")
        if code and place[0] in FOLDED:
            self.refused[place] = code, value

    def _count(self, topic: str, value: bytes) -> str:
        if topic == EVENTS.name:
            return self.events.add(value)
        if topic == JUDGEMENTS.name:
            self.judgements.add(value)
        elif topic == SLICES.name:
            self.slices.add(value)
        return ""


Wanted = dict[tuple[str, int], Counter[int]]


def _wanted(meant: Iterable[Sent]) -> tuple[Wanted, dict[int, str]]:
    """How often each record is meant at each place, and under which code poison is refused; records by their hash."""
    wanted: Wanted = {}
    poison: dict[int, str] = {}
    for sent in meant:
        digest = hash((sent.key, sent.value))
        wanted.setdefault((sent.topic, sent.partition), Counter())[digest] += 1
        if sent.poison:
            poison[digest] = sent.poison
    return wanted, poison


def _type(raw: Any) -> bytes | None:
    return dict(raw.headers).get("ce_type")


async def _read_log(brokers: str, wanted: Wanted, poison: dict[int, str], recount: Recount, found: Findings) -> None:
    for (topic, partition), end in sorted((await ends(brokers, *(topic.name for topic in WRITTEN))).items()):
        due = wanted.get((topic, partition), Counter[int]())
        async for batch in read_range(brokers, (topic, partition), 0, end):
            found.records += len(batch)
            for raw in batch:
                digest, where = hash((raw.key, raw.value)), f"{topic}/{partition}@{raw.offset}"
                if meant := digest in due:
                    due[digest] -= 1
                try:
                    recount.add((topic, partition, raw.offset), raw.value, poison.get(digest, ""))
                except UNREADABLE as error:
                    found.double("a strange record", f"{where}: {error!r}")
                else:
                    if topic == EVENTS.name and not meant and _type(raw) not in OF_THE_SYSTEM:
                        found.double("nobody meant to write it", where)


# --- quarantine --------------------------------------------------------------------------------


async def _check_quarantine(brokers: str, expected: dict[Place, tuple[str, bytes | None]], found: Findings) -> None:
    held = await _quarantined(brokers)
    found.quarantined = dict(sorted(Counter(code for code, _ in held.values()).items()))
    for place in sorted(expected.keys() | held.keys()):
        if expected.get(place) != held.get(place):
            found.quarantine_exact = False
            got, wanted = held.get(place, ("nothing", b""))[0], expected.get(place, ("nothing", b""))[0]
            found.tell("quarantine", f"{place[0]}/{place[1]}@{place[2]}: {got}, not {wanted}")
        if place in expected and place not in held:
            found.lose("neither in state nor in quarantine", f"{place[0]}/{place[1]}@{place[2]}")


async def _quarantined(brokers: str) -> dict[Place, tuple[str, bytes | None]]:
    """Code and bytes by position. After a crash a record is refused again: two that differ are told as `differing`."""
    held: dict[Place, tuple[str, bytes | None]] = {}
    for place, end in (await ends(brokers, QUARANTINE.name)).items():
        async for batch in read_range(brokers, place, 0, end):
            for raw in batch:
                about = {name: value.decode() for name, value in raw.headers}
                at = (about["topic"], int(about["partition"]), int(about["offset"]))
                one = (about["code"], raw.value)
                held[at] = one if held.get(at, one) == one else ("differing", raw.value)
    return held


# --- state -------------------------------------------------------------------------------------

Rows = dict[str, Any]


async def _rows(brokers: str, projection: AnyProjection) -> Rows:
    """Every row of every partition, as a worker would recover it."""
    rows: Rows = {}
    async for state in live_states(brokers, projection):
        rows |= rows_of(state)
    return rows


def rows_of(state: AnyState) -> Rows:
    """A partition's rows by key, comparisons among them."""
    return state.rows | {key_of(subject): row for subject, row in comparisons(state)}


def check_rows(rows: dict[str, dict[str, Any]], recount: Recount, found: Findings) -> None:
    """The rows of each projection that is folded, by name, against the recount."""
    found.state_rows = {name: len(by_key) for name, by_key in rows.items()}
    if REVIEW.name in rows:
        of_review = rows[REVIEW.name]
        compared = {key: row for key, row in of_review.items() if isinstance(row, Compared)}
        _check_submissions({key: row for key, row in of_review.items() if key not in compared}, recount.events.submissions, found)
        _check_comparisons(compared, recount.events.comparisons, found)
    if ANNOTATORS_PROJECTION.name in rows:
        _check_annotators(rows[ANNOTATORS_PROJECTION.name], recount, found)
    if DIVERSITY.name in rows:
        _check_slices(rows[DIVERSITY.name], recount.slices.slices, found)


def _check_submissions(rows: Rows, counted: dict[str, Submission], found: Findings) -> None:
    nothing = Submission()
    for key in sorted(rows.keys() | counted.keys()):
        row, one = rows.get(key), counted.get(key, nothing)
        live = one.live(LABELS)
        expected = {
            "events": len(one.bodies),
            "revision": one.revision,
            "withdrawn": one.withdrawn,
            "live": len(live),
        }
        for name, value in expected.items():
            found.compare(f"review's {name}", key, getattr(row, name, 0), value)
        good = 0 if row is None else sum(vote.label == "good" for vote in live_votes(row))
        found.compare("review's good", key, good, live.count("good"))


def _check_comparisons(rows: Rows, counted: dict[str, Comparison], found: Findings) -> None:
    by_key = {key_of(subject): one for subject, one in counted.items()}
    for key in sorted(rows.keys() | by_key.keys()):
        row, one = rows.get(key, Compared()), by_key.get(key, Comparison())
        found.compare("comparisons' events", key, row.events, len(one.bodies))
        sides = one.sides or ("", "")
        found.compare("comparisons offered", key, int((row.left, row.right) == sides), 1)
        chosen = {preference.annotator: preference.choice for preference in row.preferences}
        for choice in CHOICES:
            expected = list(one.choices.values()).count(choice)
            found.compare(f"comparisons' choices of {choice}", key, list(chosen.values()).count(choice), expected)


def _check_annotators(rows: Rows, recount: Recount, found: Findings) -> None:
    got = Counter(
        {
            (annotator, project, outcome): tally.counts[outcome]
            for annotator, row in rows.items()
            for project, tally in row.projects.items()
            for outcome in OUTCOMES
        }
    )
    for key in sorted(got.keys() | recount.judgements.outcomes.keys()):
        found.compare("annotators' counts", "/".join(key), got[key], recount.judgements.outcomes[key])
    # The same from the other end: who was said to have submitted, and who did.
    submitted = Counter((one.writer, one.project) for one in recount.events.submissions.values() if one.revision)
    said = Counter({key[:2]: count for key, count in recount.judgements.outcomes.items() if key[2] == "submitted"})
    for writer in sorted(submitted.keys() | said.keys()):
        found.compare("submissions judged", "/".join(writer), said[writer], submitted[writer])


def _check_slices(rows: Rows, counted: dict[str, Slice], found: Findings) -> None:
    for key in sorted(rows.keys() | counted.keys()):
        expected, row = counted.get(key, Slice()), rows.get(key)
        found.compare("diversity's texts", key, row.texts if row else 0, expected.texts)
        found.compare("diversity's words", key, row.words if row else 0, expected.words)
        if row is not None and not np.array_equal(row.sums, expected.sums):
            found.hashes_equal = False
            found.tell("sums of embeddings differ", key)


# --- replay and store --------------------------------------------------------------------------


async def check_replay(brokers: str, found: Findings, projections: tuple[AnyProjection, ...] = PROJECTIONS) -> None:
    """Live against replay: every hash, and every derived fact by id, bytes and order."""
    verification = Verification()
    async for result in verify(brokers, projections):
        verification.add(result)
    for one in verification.compared:
        where = f"{one.projection}/{one.partition}"
        if one.behind:
            found.lose("not folded", f"{where} behind {one.position}", one.behind)
        if not one.equal:
            found.tell("live is not replay", f"{where}: {one.live_hash[:12]}, not {one.replay_hash[:12]}")
    for derived in verification.derived:
        found.facts[derived.topic] = derived.present
        _tell_derived(derived.topic, "missing", derived.missing, found.lose)
        _tell_derived(derived.topic, "unexpected", derived.unexpected, found.double)
        _tell_derived(derived.topic, "overtaken", derived.disordered, found.double)
        if derived.altered:
            found.tell("facts with other bytes", f"{derived.topic}: {derived.altered}")
    found.hashes_equal &= verification.holds


def _tell_derived(topic: str, what: str, count: int, add: Any) -> None:
    if count:
        add(f"facts {what}", f"{topic}: {count}", count)


async def check_store(brokers: str, client: "Client", found: Findings, wait_seconds: float = SINK_WAIT_SECONDS) -> None:
    """ClickHouse against the log, by count and checksum; its sink may take so long to catch up."""
    for one in await reconcile(brokers, client, wait_seconds):
        if not one.holds:
            found.sink_equal = False
            found.tell("ClickHouse is not the log", f"{one.topic}/{one.partition}: {one.clickhouse}, not {one.log}")
