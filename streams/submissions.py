"""All that review keeps about one submission, and which of its votes count."""

from operator import attrgetter
from sys import intern
from typing import Any, NamedTuple

from schemas.words import Verdict
from streams.projection import maker
from streams.scores import Scores, summed
from streams.weighing import Rules


class Vote(NamedTuple):
    """A live vote: the last that this voter cast on this revision."""

    voter: str
    label: str
    revision: int
    offset: int
    hour: int
    milliseconds: int | None


made_vote = maker(Vote)


class Analysis(NamedTuple):
    """What was recorded about a revision's text."""

    revision: int
    model: str
    words: int
    embedding: str


#: No record has weighed a row's votes yet.
UNWEIGHED = -2


class Row:
    """All that the fold keeps about one submission. `revision` 0: votes came before the submission itself."""

    __slots__ = (
        "analysis", "because", "credits", "decided_under", "events", "floor", "golden", "hour", "kind", "label", "live", "offset",
        "project", "prompt", "reached", "revised", "revision", "scores", "seen", "slice", "unsure_votes", "verdict", "votes",
        "weighed", "withdrawn", "writer",
    )  # fmt: skip

    def __init__(self) -> None:
        self.offset = -1
        self.project = ""
        self.kind = ""
        self.writer = ""
        self.slice = ""
        self.prompt: str | None = None
        self.revision = 0
        #: Hours in which the submission came in, and its current revision.
        self.hour = 0
        self.revised = 0
        self.withdrawn = 0
        #: Each voter's vote on the newest revision that they voted on.
        self.votes: dict[str, Vote] = {}
        #: How many of them count, and their score by label, summed by the rules of `weighed`.
        self.live = 0
        self.scores: Scores = ()
        self.weighed = UNWEIGHED
        self.golden: tuple[int, str] | None = None
        self.analysis: Analysis | None = None
        self.verdict: Verdict | None = None
        #: The label decided, why, the offset of the record that decided, and the policy version that it was decided under.
        self.label = ""
        self.because = ""
        self.reached = -1
        self.decided_under = 0
        #: What the verdict's judgements say of each label, in permille.
        self.credits: dict[str, int] = {}
        #: Live votes before which nothing is decided again: one more than an editor took a verdict back from.
        self.floor = 0
        #: Live votes when more were asked for; 0 while nothing is asked.
        self.unsure_votes = 0
        #: How many events were folded, and `id:checksum ` of each: one string, where a list of ids would be
        #: half of the memory of all rows.
        self.events = 0
        self.seen = ""


_fields = attrgetter(*Row.__slots__)


def twin(row: Row) -> Row:
    """A copy that is folded on its own from here on. Only the votes are ever changed in place."""
    made = Row.__new__(Row)
    (
        made.analysis, made.because, made.credits, made.decided_under, made.events, made.floor, made.golden, made.hour, made.kind,
        made.label, made.live, made.offset, made.project, made.prompt, made.reached, made.revised, made.revision, made.scores,
        made.seen, made.slice, made.unsure_votes, made.verdict, votes, made.weighed, made.withdrawn, made.writer,
    ) = _fields(row)  # fmt: skip
    made.votes = {**votes}
    return made


def counts(row: Row, vote: Vote) -> bool:
    """Votes count on the current revision, and not by its writer."""
    return vote.revision == row.revision and vote.voter != row.writer


def live_votes(row: Row) -> list[Vote]:
    return [vote for vote in row.votes.values() if counts(row, vote)]


def counted(row: Row, rules: Rules) -> list[Vote]:
    """The live votes that the policy's labels let count. A label that it does not name counts for nobody."""
    return [vote for vote in row.votes.values() if counts(row, vote) and vote.label in rules.places]


def weigh(row: Row, rules: Rules) -> None:
    """Sum the votes anew."""
    scores, live, place, weights, default = rules.prior, 0, rules.places.get, rules.weights.get, rules.default
    revision, writer = row.revision, row.writer
    for voter, label, voted_on, _, _, _ in row.votes.values():
        # As `counts` and `counted` have it.
        if voted_on == revision and voter != writer and (voted := place(label)) is not None:
            scores = summed(scores, weights(voter, default)[voted])
            live += 1
    row.live, row.scores, row.weighed = live, scores, rules.weighed


def pack(row: Row) -> list[Any]:
    """In the order of `Row`'s fields; an object would name them a million times, at twice the bytes and time."""
    return [
        row.offset,
        row.project,
        row.kind,
        row.writer,
        row.slice,
        row.prompt,
        row.revision,
        row.hour,
        row.revised,
        row.withdrawn,
        [*map(tuple, row.votes.values())],
        row.live,
        row.scores,
        row.weighed,
        row.golden,
        None if row.analysis is None else tuple(row.analysis),
        row.verdict,
        row.label,
        row.because,
        row.reached,
        row.decided_under,
        row.credits,
        row.floor,
        row.unsure_votes,
        row.events,
        row.seen,
    ]


def unpack(packed: list[Any]) -> Row:
    row = Row.__new__(Row)
    (
        row.offset,
        row.project,
        row.kind,
        row.writer,
        row.slice,
        row.prompt,
        row.revision,
        row.hour,
        row.revised,
        row.withdrawn,
        votes,
        row.live,
        scores,
        row.weighed,
        golden,
        analysis,
        row.verdict,
        row.label,
        row.because,
        row.reached,
        row.decided_under,
        row.credits,
        row.floor,
        row.unsure_votes,
        row.events,
        row.seen,
    ) = packed
    row.votes = {
        (name := intern(voter)): made_vote((name, intern(label), revision, offset, hour, milliseconds))
        for voter, label, revision, offset, hour, milliseconds in votes
    }
    row.scores = tuple(scores)
    row.golden = None if golden is None else (golden[0], golden[1])
    row.analysis = None if analysis is None else Analysis(*analysis)
    return row
