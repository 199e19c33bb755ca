"""What a campaign writes: events shaped like real work, with all the mess of real logs; a seed gives the same bytes."""

import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from agents.publishing import partition_of
from infra.policies.log import policy_change
from schemas.catalogue import NEWEST
from schemas.events import AnyEvent
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.topics import EVENTS, JUDGEMENTS, POLICIES, SLICES
from schemas.wire import encode
from schemas.words import EMBEDDING_DIMENSIONS

START = datetime(2026, 1, 1, tzinfo=UTC)
PROJECTS = ("alpha", "beta")
VOTERS, WRITERS, EDITORS, VECTORS = 1_000, 200, 20, 64
SLICES_OF = ("en/general/writing", "en/general/coding", "en/law/extraction", "de/general/writing")
TEXT = "The quick answer is that it depends on what the reader already knows about it."
#: Lines that come again, and ids that are used again, come from among so many of the newest.
RECENT = 500
#: How often a policy changes in one campaign, over both projects.
POLICY_CHANGES = 12
SOURCE = b'"source":"assay/torture"'


class Sent(NamedTuple):
    """One record to be written. `poison` says under which code it must be refused; "" for what is an event."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    time_ms: int
    poison: str = ""


class Shape(NamedTuple):
    """The arguments of a load."""

    events: int
    keys: int
    partitions: int
    seed: int


class _Subject:
    """What the load remembers of a submission that it has made up."""

    __slots__ = ("good_permille", "id", "revision", "voter")

    def __init__(self, id_: str, good_permille: int) -> None:
        self.id = id_
        self.good_permille = good_permille
        self.revision = 0
        self.voter = "v-0"


class Load:
    """The events of a campaign, in the order of writing. Iterate once: one item is all records of one event."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._chance = random.Random(shape.seed)
        self._subjects: list[_Subject] = []
        self._open: list[_Subject] = []
        self._recent: list[Sent] = []
        self._vectors = [b64encode(self._chance.randbytes(EMBEDDING_DIMENSIONS)).decode() for _ in range(VECTORS)]
        self._policies = 0
        #: Versions and policies by project and slice.
        self._applied: dict[tuple[str, str | None], list[tuple[int, Policy]]] = {}
        self._comparisons = 0
        self._number = 0
        self._time = START

    def __iter__(self) -> Iterator[tuple[Sent, ...]]:
        events, keys = self.shape.events, self.shape.keys
        shares = [share for share, _ in ACTIONS]
        actions: Iterator[Action] = iter(())
        for self._number in range(events):
            self._time = START + timedelta(milliseconds=100 * self._number - self._disorder())
            if self._number % max(2, events // POLICY_CHANGES) == 1:
                yield self._policy()
            elif len(self._subjects) < keys and len(self._subjects) * events <= self._number * keys:
                yield (self._received(),)
            else:
                action = next(actions, None)
                if action is None:
                    actions = iter(self._chance.choices(ACTIONS, shares, k=1_000))
                    action = next(actions)
                yield (action[1](self),)

    def _disorder(self) -> int:
        """Milliseconds by which an event is late or early: most are in time."""
        return self._chance.randint(-3_600_000, 7 * 86_400_000) if self._chance.random() < 0.03 else 0

    # --- who and where --------------------------------------------------------------------------

    def _now(self) -> _Subject:
        """A submission that is being worked on; now and then one of long ago."""
        late = self._chance.random() < 0.03
        return self._chance.choice(self._subjects if late else self._open)

    def _keep_open(self, subject: _Subject) -> None:
        if len(self._open) < max(20, self.shape.keys // 20):
            self._open.append(subject)
        else:
            self._open[self._chance.randrange(len(self._open))] = subject

    def _event(self, subject: str, name: str, data: dict[str, object], version: int = 0) -> Sent:
        """An event in its newest version, or another one."""
        envelope = {
            "specversion": "1.0",
            "id": event_id(self._time, "torture", self.shape.seed, self._number),
            "type": f"assay.{name}.v{version or NEWEST[name]}",
            "source": "assay/torture",
            "subject": subject,
            "time": self._time,
            "data": data,
        }
        sent = self._sent(subject, orjson.dumps(envelope, option=orjson.OPT_UTC_Z))
        self._remember(sent)
        return sent

    def _sent(self, subject: str, value: bytes | None, poison: str = "", topic: str = EVENTS.name) -> Sent:
        place = partition_of(subject, self.shape.partitions)
        return Sent(topic, place, subject.encode(), value, int(self._time.timestamp() * 1000), poison)

    def _remember(self, sent: Sent) -> None:
        if len(self._recent) < RECENT:
            self._recent.append(sent)
        else:
            self._recent[self._chance.randrange(RECENT)] = sent

    # --- what happens ---------------------------------------------------------------------------

    def _received(self) -> Sent:
        chance = self._chance
        number = len(self._subjects)
        subject = _Subject(f"s-{number:07d}", chance.choice((900, 800, 500, 200)))
        self._subjects.append(subject)
        self._keep_open(subject)
        subject.revision = 1
        data: dict[str, object] = {
            "project": PROJECTS[number % 2],
            "kind": chance.choice(("prompt", "completion")),
            "writer": f"w-{chance.randrange(WRITERS)}",
            "slice": chance.choice(SLICES_OF),
            "text": TEXT,
            "provenance": "human",
        }
        return self._event(subject.id, "SubmissionReceived", data)

    def _vote(self) -> Sent:
        subject = self._now()
        subject.voter = f"v-{self._chance.randrange(VOTERS)}"
        return self._event(subject.id, "VoteCast", self._judged(subject.revision, subject.voter, subject.good_permille))

    def _vote_of_before(self) -> Sent:
        """By a producer that was not upgraded."""
        subject = self._now()
        vote = self._judged(subject.revision, f"v-{self._chance.randrange(VOTERS)}", subject.good_permille)
        return self._event(subject.id, "VoteCast", vote, version=1)

    def _unheard_of(self) -> Sent:
        """A label that no policy names: it counts for nobody, and takes the place of the voter's earlier vote."""
        subject = self._now()
        vote = self._judged(subject.revision, subject.voter) | {"label": "unheard-of"}
        return self._event(subject.id, "VoteCast", vote)

    def _judged(self, revision: int, voter: str, good_permille: int = 500) -> dict[str, object]:
        label = "good" if self._chance.randrange(1_000) < good_permille else "bad"
        duration = self._chance.randrange(60_000)
        return {"revision": revision, "voter": voter, "label": label, "duration_milliseconds": duration}

    def _early_vote(self) -> Sent:
        """On a submission that may come later, or never."""
        subject = f"s-{len(self._subjects) + self._chance.randrange(100):07d}"
        return self._event(subject, "VoteCast", self._judged(1, f"v-{self._chance.randrange(VOTERS)}"))

    def _old_vote(self) -> Sent:
        """By the writer's double, or on a revision that is gone or yet to come."""
        subject = self._now()
        revision = max(1, subject.revision + self._chance.choice((-1, 1)))
        return self._event(subject.id, "VoteCast", self._judged(revision, f"w-{self._chance.randrange(WRITERS)}"))

    def _retracted(self) -> Sent:
        subject = self._now()
        return self._event(subject.id, "VoteRetracted", {"revision": subject.revision, "voter": subject.voter})

    def _edited(self) -> Sent:
        subject = self._now()
        subject.revision += 1
        editor = f"e-{self._chance.randrange(EDITORS)}"
        return self._event(subject.id, "SubmissionEdited", {"revision": subject.revision, "editor": editor, "text": TEXT})

    def _edited_out_of_turn(self) -> Sent:
        subject = self._now()
        data: dict[str, object] = {"revision": subject.revision + 7, "editor": "e-0", "text": TEXT}
        return self._event(subject.id, "SubmissionEdited", data)

    def _withdrawn(self) -> Sent:
        return self._event(self._now().id, "SubmissionWithdrawn", {"withdrawn_by": "e-0"})

    def _analysed(self) -> Sent:
        subject = self._now()
        data: dict[str, object] = {
            "revision": subject.revision,
            "model": "torture",
            "language": "en",
            "characters": len(TEXT),
            "words": 1 + self._chance.randrange(100),
            "embedding": self._chance.choice(self._vectors),
        }
        return self._event(subject.id, "SubmissionAnalysed", data)

    def _golden(self) -> Sent:
        subject = self._now()
        label = self._chance.choice(("good", "bad"))
        return self._event(subject.id, "GoldenAnswerSet", {"revision": subject.revision, "label": label, "set_by": "e-0"})

    def _ruled(self) -> Sent:
        subject = self._now()
        verdict, editor = self._chance.choice(("approved", "rejected")), f"e-{self._chance.randrange(EDITORS)}"
        data: dict[str, object] = {"revision": subject.revision, "verdict": verdict, "ruled_by": editor, "reason": "plain"}
        return self._event(subject.id, "SubmissionRuled", data)

    def _taken_back(self) -> Sent:
        subject = self._now()
        data: dict[str, object] = {"revision": subject.revision, "reopened_by": "e-0", "reason": "on second thoughts"}
        return self._event(subject.id, "SubmissionReopened", data)

    def _offered(self) -> Sent:
        """Two completions, now and then twice the same one, and now and then a comparison that was offered before."""
        chance, number = self._chance, self._comparisons
        if chance.random() < 0.2:
            number = chance.randrange(number + 1)
        self._comparisons = max(number + 1, self._comparisons)
        sides: dict[str, object] = {"prompt": self._now().id, "left": self._now().id, "right": self._now().id}
        about = {"project": PROJECTS[number % 2], "slice": chance.choice(SLICES_OF)}
        return self._event(f"c-{number:06d}", "ComparisonOffered", about | sides)

    def _preferred(self) -> Sent:
        """In one of the newest comparisons, or in one that is still to be offered; now and then again by the same annotator."""
        chance = self._chance
        number = max(0, self._comparisons + 2 - chance.randrange(8))
        data: dict[str, object] = {
            "annotator": f"v-{chance.randrange(20)}",
            "choice": chance.choices(("left", "right", "tie"), (6, 3, 1))[0],
            "criteria": [{"name": chance.choice(("helpful", "harmless/bias")), "score": chance.randint(-2, 2)}],
        }
        return self._event(f"c-{number:06d}", "PreferenceCast", data)

    def _policy(self) -> tuple[Sent, ...]:
        """A change of thresholds, of a project or a slice, now and then one that decides again or takes the last one back: on the
        policies topic, and a copy of its application in every partition."""
        self._policies += 1
        project, slice_ = scope = PROJECTS[self._policies % 2], SLICES_OF[0] if self._policies % 4 in (2, 3) else None
        applied = self._applied.setdefault(scope, [])
        about: dict[str, Any] = {"slice": slice_, "based_on": applied[-1][0] if applied else 0}
        if applied and self._policies % 8 in (5, 6):
            before = applied[-2][1] if len(applied) > 1 else None
            about |= {"undoes": applied[-1][0], "inherits": slice_ is not None and before is None}
            policy = before or Policy()
        else:
            about["redecide_since"] = (None, START, self._time)[self._policies % 3]
            policy = self._thresholds()
        applied.append((self._policies, policy))
        change = policy_change(self._time, project, self._policies, policy, "ops", "under fire", **about)
        home = partition_of(project, self.shape.partitions)
        return (
            *(self._control(POLICIES.name, home, event) for event in change),
            *(
                self._control(topic.name, number, change.applied)
                for topic in (EVENTS, JUDGEMENTS)
                for number in range(self.shape.partitions)
            ),
        )

    def _thresholds(self) -> Policy:
        chance = self._chance
        return Policy(
            overlap_min=chance.randint(2, 3),
            overlap_max=chance.randint(4, 7),
            approve_confidence_permille=chance.choice((850, 900, 950)),
            late_votes_reopen=int(self._policies % 4 == 3),
        )

    def _control(self, topic: str, partition: int, event: AnyEvent) -> Sent:
        return Sent(topic, partition, event.subject.encode(), encode(event), int(event.time.timestamp() * 1000))

    # --- the mess -------------------------------------------------------------------------------

    def _again(self) -> Sent:
        """The same bytes once more: one event."""
        return self._chance.choice(self._recent)

    def _reused(self) -> Sent:
        """An id that stands already, with another body."""
        sent = self._chance.choice(self._recent)
        return sent._replace(value=(sent.value or b"").replace(SOURCE, b'"source":"assay/another"'))

    def _poison(self) -> Sent:
        subject, number = self._now().id, self._number
        # Few on slices, where few facts are: a worker stops where a fifth of what it reads is poison.
        (topic,) = self._chance.choices((EVENTS.name, JUDGEMENTS.name, SLICES.name), (70, 25, 5))
        value, code = self._chance.choice(
            (
                (b'{"id":"cut off at %d' % number, "not_json"),
                (b"\xff\xfe\x00 %d" % number, "not_json"),
                (None, "not_json"),
                (b'{"number":%d}' % number, "invalid"),
                (b'{"type":"assay.VoteCast.v1","id":"%d"}' % number, "invalid"),
                (b'{"type":"assay.VoteCast.v99","number":%d}' % number, "too_new"),
                (b'{"type":"assay.NobodyKnows.v1","number":%d}' % number, "unknown_type"),
            )
        )
        return self._sent(subject, value, code, topic)


Action = tuple[int, Callable[[Load], Sent]]
#: How often what happens, in permille of the events that are no submissions.
ACTIONS: tuple[Action, ...] = (
    (796, Load._vote),
    (20, Load._vote_of_before),
    (50, Load._analysed),
    (30, Load._again),
    (20, Load._retracted),
    (15, Load._old_vote),
    (15, Load._edited),
    (12, Load._golden),
    (14, Load._preferred),
    (4, Load._offered),
    (4, Load._ruled),
    (4, Load._unheard_of),
    (2, Load._taken_back),
    (5, Load._early_vote),
    (4, Load._poison),
    (2, Load._withdrawn),
    (2, Load._reused),
    (1, Load._edited_out_of_turn),
)
