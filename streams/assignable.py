"""One subject as whoever hands out work sees it: what the facts say of it, and how many more people it wants.

Facts about it come from three topics, whose readers may be behind one another: what follows from several facts is
worked out when it is asked for, so that no order of their arrival leaves a trace.
"""

from typing import Literal, NamedTuple

from schemas.policy import Policy
from streams.candidates import Rank

Serves = Literal["overlap", "control", "recheck", "edit", "comparison"]
#: Which of a subject's queues it waits in: to be voted on, to be served unannounced, or to be edited.
Pool = Literal["vote", "control", "edit"]
COMPARISON = "comparison"
#: What an editor is shown: votes could not settle it, or they rejected it and said why.
EDITED = ("escalated", "rejected")
#: What takes up one of the votes that a subject wants.
JUDGED = ("overlap", "recheck", "comparison")


class Lease(NamedTuple):
    """Somebody has a subject in hand."""

    id: str
    subject: str
    project: str
    annotator: str
    revision: int
    serves: Serves
    until_ms: int


class Vote(NamedTuple):
    """The newest that one person said about a submission, or of a comparison."""

    revision: int
    label: str
    reasoned: bool


class Request(NamedTuple):
    """Review wants more votes than the policy's least."""

    revision: int
    because: str
    votes: int
    votes_live: int
    confidence: int
    time_ms: int


class Subject:
    """A submission or a comparison. `revision` 0: other facts came before the subject itself."""

    __slots__ = (
        "controlled", "declined", "editor", "erased", "freed_ms", "golden", "handled", "kind", "leases", "left", "place",
        "project", "prompt", "request", "revision", "right", "seen", "since_ms", "slice", "stocked", "verdict", "votes",
        "withdrawn", "writer",
    )  # fmt: skip

    def __init__(self) -> None:
        self.project = ""
        self.kind = ""
        self.slice = ""
        self.writer = ""
        #: Who wrote the current revision, if not the writer.
        self.editor = ""
        self.prompt: str | None = None
        self.left = self.right = ""
        self.revision = 0
        self.since_ms = 0
        self.withdrawn = False
        #: Nobody can read the current revision's text any more.
        self.erased = False
        self.votes: dict[str, Vote] = {}
        #: The revision whose right label is known; 0: none.
        self.golden = 0
        self.verdict: tuple[int, str] | None = None
        self.request: Request | None = None
        self.leases: dict[str, Lease] = {}
        #: Person -> the newest revision that they gave back, and that they edited, ruled on or reopened.
        self.declined: dict[str, int] = {}
        self.handled: dict[str, int] = {}
        #: Who was handed it as a control task.
        self.controlled: set[str] = set()
        #: When a lease on it ended without the work.
        self.freed_ms = 0
        #: Ends of the ids of events that came, where one that comes again could do harm.
        self.seen: tuple[str, ...] = ()
        #: The queue that it waits in, its rank there, and how many people it wants; whether it counts as approved.
        self.place: Place | None = None
        self.stocked = False

    def first_time(self, event_id: str) -> bool:
        """Whether this event is new here, which is then noted: the same id twice is one event."""
        end = event_id[-17:]
        if end in self.seen:
            return False
        self.seen = (*self.seen, end)
        return True

    @property
    def decided(self) -> str | None:
        """The verdict on the current revision."""
        return self.verdict[1] if self.verdict is not None and self.verdict[0] == self.revision else None

    @property
    def approved(self) -> bool:
        return self.decided == "approved" and not self.withdrawn

    @property
    def is_golden(self) -> bool:
        return self.golden == self.revision > 0

    def live(self, policy: Policy) -> int:
        """Votes that count towards a verdict."""
        return sum(self.counts(voter, vote, policy) for voter, vote in self.votes.items())

    def counts(self, voter: str, vote: Vote, policy: Policy) -> bool:
        if self.kind == COMPARISON:
            return True
        return vote.revision == self.revision and voter != self.writer and vote.label in policy.labels

    def held(self) -> int:
        """Open leases whose vote is to come."""
        return sum(
            lease.revision == self.revision and lease.serves in JUDGED and not self.voted(lease.annotator)
            for lease in self.leases.values()
        )

    def voted(self, person: str) -> bool:
        vote = self.votes.get(person)
        return vote is not None and vote.revision >= self.revision

    def wanted(self, policy: Policy) -> int:
        """How many votes and open leases it may have. A request stands while the votes are there that it speaks of."""
        request, decided = self.request, self.decided
        if request is None or request.revision != self.revision or self.live(policy) < request.votes_live:
            request = None
        if decided is not None:
            return request.votes if request is not None and request.because == "recheck" and decided == "approved" else 0
        least = policy.preference_overlap_min if self.kind == COMPARISON else policy.overlap_min
        return max(least, request.votes if request is not None and request.because == "unsure" else 0)

    def serves(self) -> Serves:
        if self.kind == COMPARISON:
            return "comparison"
        return "recheck" if self.decided is not None else "overlap"

    def closed_to(self, person: str) -> bool:
        """Whether this revision is nothing for this person to judge, for as long as it is the current one."""
        return (
            person in (self.writer, self.editor)
            or self.voted(person)
            or self.declined.get(person, 0) >= self.revision
            or self.holds(person)
        )

    def closed_to_editor(self, person: str) -> bool:
        return (
            person == self.writer
            or max(self.handled.get(person, 0), self.declined.get(person, 0)) >= self.revision
            or self.holds(person)
        )

    def holds(self, person: str) -> bool:
        return any(lease.annotator == person for lease in self.leases.values())

    def rank(self, name: str, policy: Policy) -> Rank:
        """Where it stands among those that want votes: the least certain first, then those nothing is known of, by age."""
        request = self.request if self.request is not None and self.request.revision == self.revision else None
        if request is None:
            return (1, 0, self.since_ms, name)
        if self.decided is not None:
            return (1, 0, request.time_ms, name)
        return (0, request.confidence, self.since_ms, name) if policy.queue_order == "uncertain" else (1, 0, self.since_ms, name)

    def waits_since(self) -> int:
        """When it came to want somebody, or was given back."""
        asked = self.request.time_ms if self.request is not None and self.request.revision == self.revision else 0
        return max(self.since_ms, self.freed_ms, asked)

    def to_edit(self) -> bool:
        if self.kind == COMPARISON or self.withdrawn or self.is_golden:
            return False
        return self.decided == "escalated" or (self.decided == "rejected" and self._reasoned())

    def _reasoned(self) -> bool:
        return any(vote.reasoned and vote.revision == self.revision for vote in self.votes.values())

    def over(self, lease: Lease) -> Literal["done", "moot"] | None:
        """Why this lease holds no longer, whatever the time is."""
        if not self.revision:
            return None
        if lease.serves == "edit":
            return self._edit_over(lease)
        if self.erased and not self.voted(lease.annotator):
            return "moot"
        vote = self.votes.get(lease.annotator)
        if vote is not None and vote.revision >= lease.revision:
            return "done"
        if self.withdrawn or lease.revision < self.revision:
            return "moot"
        return "moot" if lease.revision == self.revision and self._settled(lease.serves) else None

    def _settled(self, serves: Serves) -> bool:
        if serves == "control" or self.decided is None:
            return False
        return serves != "recheck" or self.decided != "approved"

    def _edit_over(self, lease: Lease) -> Literal["done", "moot"] | None:
        if self.handled.get(lease.annotator, 0) >= lease.revision:
            return "done"
        if self.withdrawn or self.erased or lease.revision < self.revision:
            return "moot"
        return "moot" if lease.revision == self.revision and self.decided not in EDITED else None


class Place(NamedTuple):
    """Where a subject waits."""

    project: str
    pool: Pool
    kind: str
    slice: str
    rank: Rank
    wants: int
