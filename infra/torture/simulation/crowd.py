"""People and tools that write events, well and badly: what happens to submissions, duplicates, disorder and poison."""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import orjson

from schemas.catalogue import NEWEST
from schemas.identity import event_id
from schemas.topics import EVENTS, JUDGEMENTS, Topic

START = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = "p"
SLICES = ("en/reviews/sentiment", "de/legal/rewriting")
WRITERS = tuple(f"w-{number}" for number in range(4))
VOTERS = tuple(f"v-{number}" for number in range(6))
#: Subjects on which people work at a time.
OPEN_SUBJECTS = 8
#: Control records, and the topics of which every partition gets a copy.
EVERYWHERE = {"policy": (EVENTS, JUDGEMENTS), "weigh": (EVENTS,), "tick": (EVENTS, JUDGEMENTS)}
#: What is no event, and under which code it must be refused.
POISON: tuple[tuple[bytes | None, str], ...] = (
    (None, "not_json"),
    (b"", "not_json"),
    (b"{no json", "not_json"),
    (b"\xff\xfe\x00", "not_json"),
    (b"[]", "invalid"),
    (b'{"type":"assay.VoteCast.v1","data":{"voter":3}}', "invalid"),
    (b'{"type":"assay.NeverHeardOf.v1","data":{}}', "unknown_type"),
)


class Said(NamedTuple):
    """One event for the log, or poison with the code that refuses it; `everywhere`: a control record, which every
    partition of these topics gets."""

    kind: str
    subject: str
    value: bytes | None
    everywhere: tuple[Topic, ...] = ()
    refused_as: str = ""


class Crowd:
    """Says one thing after another. What it says follows from the chances that it is given, and from what it said."""

    def __init__(self) -> None:
        self._number = 0
        self._policy = self._skills = 0
        self._revisions: dict[str, int] = {}
        self._said: list[Said] = []

    def say(self, kind: str, chance: Random) -> Said:
        """One event of this kind of KINDS."""
        self._number += 1
        said = _HOW[kind](self, chance)
        self._said.append(said)
        return said

    def _subject(self, chance: Random) -> str:
        known = list(self._revisions)[-OPEN_SUBJECTS:]
        # Now and then somebody speaks of what has not come yet.
        return chance.choice(known) if known and chance.random() < 0.95 else f"s-{len(self._revisions) + 1}"

    def _revision(self, subject: str, chance: Random) -> int:
        return self._revisions.get(subject, 1) if chance.random() < 0.85 else chance.randint(1, 3)

    def _event(self, kind: str, subject: str, name: str, data: dict[str, Any], chance: Random) -> Said:
        # Clocks of people differ: event times go back and forth by hours.
        time = START + timedelta(minutes=7 * self._number + chance.randint(-200, 200) + 200)
        envelope = {
            "specversion": "1.0",
            "id": event_id(time, "crowd", self._number),
            "type": f"assay.{name}.v{NEWEST[name]}",
            "source": "assay/simulation",
            "subject": subject,
            "time": time,
            "data": data,
        }
        return Said(kind, subject, orjson.dumps(envelope, option=orjson.OPT_UTC_Z), EVERYWHERE.get(kind, ()))

    def receive(self, chance: Random) -> Said:
        subject = f"s-{len(self._revisions) + 1}"
        self._revisions[subject] = 1
        about = {"project": PROJECT, "kind": "completion", "writer": chance.choice(WRITERS), "slice": chance.choice(SLICES)}
        return self._event("receive", subject, "SubmissionReceived", {**about, "text": "A text.", "provenance": "human"}, chance)

    def edit(self, chance: Random) -> Said:
        subject = self._subject(chance)
        revision = max(2, self._revision(subject, chance) + 1)
        if subject in self._revisions:
            self._revisions[subject] = max(revision, self._revisions[subject])
        data = {"revision": revision, "editor": "ed", "text": "Another text."}
        return self._event("edit", subject, "SubmissionEdited", data, chance)

    def withdraw(self, chance: Random) -> Said:
        return self._event("withdraw", self._subject(chance), "SubmissionWithdrawn", {"withdrawn_by": "ed"}, chance)

    def vote(self, chance: Random) -> Said:
        subject, voter = self._subject(chance), chance.choice(VOTERS + WRITERS[:1])
        label = "good" if chance.random() < 0.65 else chance.choice(("bad", "bad", "bad", "unheard-of"))
        data = {"revision": self._revision(subject, chance), "voter": voter, "label": label}
        return self._event("vote", subject, "VoteCast", data, chance)

    def retract(self, chance: Random) -> Said:
        subject = self._subject(chance)
        data = {"revision": self._revision(subject, chance), "voter": chance.choice(VOTERS)}
        return self._event("retract", subject, "VoteRetracted", data, chance)

    def golden(self, chance: Random) -> Said:
        subject, label = self._subject(chance), chance.choice(("good", "bad"))
        data = {"revision": self._revision(subject, chance), "label": label, "set_by": "ed"}
        return self._event("golden", subject, "GoldenAnswerSet", data, chance)

    def rule(self, chance: Random) -> Said:
        subject, verdict = self._subject(chance), chance.choice(("approved", "rejected"))
        editor = chance.choice(("ed", "ed", WRITERS[0]))
        data = {"revision": self._revision(subject, chance), "verdict": verdict, "ruled_by": editor, "reason": "plain"}
        return self._event("rule", subject, "SubmissionRuled", data, chance)

    def reopen(self, chance: Random) -> Said:
        subject = self._subject(chance)
        data = {"revision": self._revision(subject, chance), "reopened_by": "ed", "reason": "on second thoughts"}
        return self._event("reopen", subject, "SubmissionReopened", data, chance)

    def analyse(self, chance: Random) -> Said:
        subject = self._subject(chance)
        about = {"model": "m", "language": "en", "characters": 7, "words": 2}
        data = {**about, "revision": self._revision(subject, chance), "embedding": b64encode(chance.randbytes(384)).decode()}
        return self._event("analyse", subject, "SubmissionAnalysed", data, chance)

    def policy(self, chance: Random) -> Said:
        self._policy += chance.choice((0, 1, 1, 1))
        confidence = chance.choice((700, 800, 900))
        policy = {
            "overlap_max": chance.randint(3, 6),
            "approve_confidence_permille": confidence,
            "reject_confidence_permille": confidence,
            "late_votes_reopen": chance.randint(0, 1),
            "recheck_share_permille": chance.choice((0, 300)),
            "deadline_hours": chance.choice((0, 24)),
        }
        data = {"project": PROJECT, "version": self._policy, "policy": policy, "applied_by": "ops", "reason": "trying"}
        return self._event("policy", PROJECT, "PolicyApplied", data | self._scope(chance), chance)

    def _scope(self, chance: Random) -> dict[str, Any]:
        """Of the project or of a slice; from now on, deciding again, or taking an earlier version back."""
        slice_ = chance.choice((None, None, SLICES[0]))
        about: dict[str, Any] = {"based_on": max(0, self._policy - 1), **({"slice": slice_} if slice_ else {})}
        if self._policy > 1 and chance.random() < 0.3:
            return about | {"undoes": chance.randint(1, self._policy - 1), "inherits": slice_ is not None}
        since = START + timedelta(hours=chance.randint(-5, 20))
        return about | ({"redecide_since": since} if chance.random() < 0.4 else {})

    def weigh(self, chance: Random) -> Said:
        """New weights of some voters; where a version comes in parts, its last one is said like any other."""
        self._skills += chance.choice((0, 1, 1))
        weights = {voter: [chance.randint(-3_000, 0) for _ in range(4)] for voter in chance.sample(VOTERS, 2)}
        data = {
            "project": PROJECT, "version": self._skills, "model": chance.choice(("weighted", "bayesian")), "champion": True,
            "labels": ["good", "bad"], "prior_milli_nats": [chance.randint(-900, 0), 0],
            "default_milli_nats": [-200, -1_600, -1_600, -200], "weights_milli_nats": weights,
            "temperature_permille": chance.choice((700, 1_000, 3_000)), "golden_answers": 50,
            "more": chance.random() < 0.3, "sweep": chance.random() < 0.5,
        }  # fmt: skip
        return self._event("weigh", PROJECT, "SkillsEstimated", data, chance)

    def tick(self, chance: Random) -> Said:
        until = START + timedelta(minutes=7 * self._number, hours=chance.randint(-2, 30))
        return self._event("tick", "clock", "ClockTicked", {"until": until}, chance)

    def duplicate(self, chance: Random) -> Said:
        """The very bytes of something said before."""
        if not self._said:
            return self.receive(chance)
        return chance.choice(self._said[-200:])._replace(kind="duplicate")

    def reuse(self, chance: Random) -> Said:
        """An id that another event has."""
        earlier = [(one, one.value) for one in self._said[-50:] if one.value and b'"A text."' in one.value]
        if not earlier:
            return self.vote(chance)
        one, value = chance.choice(earlier)
        return one._replace(kind="reuse", value=value.replace(b'"A text."', b'"A forged text."'))

    def poison(self, chance: Random) -> Said:
        value, code = chance.choice(POISON)
        return Said("poison", self._subject(chance), value, refused_as=code)


_HOW: dict[str, Callable[[Crowd, Random], Said]] = {
    "receive": Crowd.receive,
    "edit": Crowd.edit,
    "withdraw": Crowd.withdraw,
    "vote": Crowd.vote,
    "retract": Crowd.retract,
    "golden": Crowd.golden,
    "rule": Crowd.rule,
    "reopen": Crowd.reopen,
    "analyse": Crowd.analyse,
    "policy": Crowd.policy,
    "weigh": Crowd.weigh,
    "tick": Crowd.tick,
    "duplicate": Crowd.duplicate,
    "reuse": Crowd.reuse,
    "poison": Crowd.poison,
}
KINDS = tuple(_HOW)
#: How often each kind is said, of a hundred or so.
WEIGHTS = {
    "receive": 14, "edit": 7, "withdraw": 3, "vote": 45, "retract": 5, "golden": 4, "rule": 2, "reopen": 1, "analyse": 3,
    "policy": 2, "weigh": 2, "tick": 1, "duplicate": 9, "reuse": 2, "poison": 4,
}  # fmt: skip
