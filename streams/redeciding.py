"""Deciding again: what a text's votes come to under another policy, one after another as they were cast.

A row holds what stands. Beside it, in a shared row of its own, stands what it forgets and deciding again must know (`Past`):
votes that were replaced or taken back, editors' words, and what it stood for before a policy changed that. It is kept in projects
whose policies say what they are based on, and written seldom: nearly every event is a voter's first vote.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from schemas import events as e
from schemas.words import Verdict
from streams.deciding import decide, rule
from streams.projection import NOWHERE, AnyState, Json, Record
from streams.submissions import UNWEIGHED, Row, Vote, counts, weigh
from streams.weighing import Rules

#: What a submission's id has before it in the key of its past; no subject's id begins like this.
_KEY = "~past/"


class Stood(NamedTuple):
    """What a row stood for. `reached` is the offset up to which its votes decided."""

    verdict: Verdict | None
    label: str
    because: str
    reached: int
    decided_under: int
    credits: dict[str, int]
    floor: int


UNDECIDED = Stood(None, "", "", NOWHERE, 0, {}, 0)


Kind = Literal["replaced", "retracted", "ruled", "reopened", "looked"]


class Turn(NamedTuple):
    """An event on the current revision of which the row shows nothing any more; `vote` is the one that went.

    `looked`: one that changed no vote. It lets the votes be looked at again all the same, which can matter to a verdict from
    before the policy.
    """

    offset: int
    kind: Kind
    vote: Vote | None = None
    verdict: Verdict | None = None


class Past(NamedTuple):
    """What a row forgets of its current revision. `since`: the offset of the record that votes had waited for; NOWHERE: none had.
    `kept`: what the row stood for as the policy of an offset came, if it changed since."""

    revision: int
    since: int = NOWHERE
    turns: tuple[Turn, ...] = ()
    kept: tuple[tuple[int, Stood], ...] = ()


def past_of(state: AnyState, key: str, revision: int) -> Past:
    packed = state.shared.get(_KEY + key)
    if packed is None or packed["revision"] != revision:
        return Past(revision)
    turns = tuple(_turn(*turn) for turn in packed["turns"])
    return Past(revision, packed["since"], turns, tuple((since, Stood(*stood)) for since, stood in packed["kept"]))


def copy_past(here: AnyState, there: AnyState, key: str) -> None:
    """Let another state remember of a row what this one does."""
    packed = here.shared.get(_KEY + key)
    if packed is None:
        there.shared.pop(_KEY + key, None)
    else:
        there.shared[_KEY + key] = packed


def _turn(offset: int, kind: Any, vote: list[Any] | None, verdict: Verdict | None) -> Turn:
    return Turn(offset, kind, None if vote is None else Vote(*vote), verdict)


def _put(state: AnyState, key: str, past: Past) -> None:
    turns = [(turn.offset, turn.kind, None if turn.vote is None else tuple(turn.vote), turn.verdict) for turn in past.turns]
    packed: Json = past._asdict() | {"turns": turns}
    state.shared[_KEY + key] = packed | {"kept": [(since, tuple(stood)) for since, stood in past.kept]}
    state.touched[_KEY + key] = None


# --- what is kept ------------------------------------------------------------------------------


def stood_of(row: Row) -> Stood:
    return Stood(row.verdict, row.label, row.because, row.reached, row.decided_under, row.credits, row.floor)


def remember(state: AnyState, key: str, record: Record, row: Row, votes: dict[str, Vote]) -> None:
    """Keep what this event makes the row forget; `votes` are those from before it."""
    data = record.event.data
    if isinstance(data, e.SubmissionReceived | e.SubmissionEdited):
        if any(counts(row, vote) for vote in row.votes.values()):
            _put(state, key, Past(row.revision, record.offset))
        return
    turn, past = _turned(data, record.offset, row, votes), past_of(state, key, row.revision)
    if turn.kind != "looked" or row.verdict is not None or past.kept:
        _put(state, key, past._replace(turns=(*past.turns, turn)))


def _turned(data: Any, offset: int, row: Row, votes: dict[str, Vote]) -> Turn:
    if isinstance(data, e.SubmissionRuled):
        return Turn(offset, "ruled", verdict=data.verdict)
    if isinstance(data, e.SubmissionReopened):
        return Turn(offset, "reopened")
    voter = data.voter if isinstance(data, e.VoteCast | e.VoteRetracted) else ""
    gone = votes.get(voter)
    if gone is not None and row.votes.get(voter) is gone:
        gone = None
    if isinstance(data, e.VoteRetracted):
        return Turn(offset, "retracted", gone)
    return Turn(offset, "looked") if gone is None else Turn(offset, "replaced", gone)


def note(state: AnyState, key: str, row: Row, rules: Rules, stood: Stood, by_policy: bool = False) -> None:
    """Keep what a row stood for as its policy came, if the policy itself or something under it has changed that now.

    Nothing is kept of what was undecided and is decided by votes under the policy, as nearly every row is: its `reached` says it.
    """
    was_something = stood.verdict is not None or bool(stood.credits) or stood.floor > 0
    if not rules.remembers or stood == stood_of(row) or not (by_policy or (was_something and stood.reached < rules.since)):
        return
    past = past_of(state, key, row.revision)
    if not past.kept or past.kept[-1][0] < rules.since:
        _put(state, key, past._replace(kept=(*past.kept, (rules.since, stood))))


def stood_at(row: Row, past: Past, start: int) -> Stood:
    """What the row stood for as the policy of this offset came."""
    for since, stood in past.kept:
        if since >= start:
            return stood if stood.reached < start else UNDECIDED
    return UNDECIDED if row.reached >= start else stood_of(row)


# --- one after another -------------------------------------------------------------------------


def decide_again(row: Row, past: Past, rules: Rules, offset: int, may_turn: bool, start: int, base: Stood) -> None:
    """Decide the row as its policy had, from what it stood for at `start`: by what came after, in its order.

    `may_turn`: votes turn verdicts over. Weights are those of now. A verdict that comes out as it stands stays the one that was
    reached.
    """
    again, stood = _replayed(row, past, rules, offset, may_turn, start, base), stood_of(row)
    row.verdict, row.label, row.because = again.verdict, again.label, again.because
    row.credits, row.floor = again.credits, again.floor
    row.live, row.scores, row.weighed, row.unsure_votes = again.live, again.scores, again.weighed, again.unsure_votes
    row.reached, row.decided_under = again.reached, again.decided_under
    if row.verdict is not None and (row.verdict, row.label) == (stood.verdict, stood.label):
        row.reached, row.decided_under = stood.reached, stood.decided_under


def as_decided(row: Row, past: Past, rules: Rules) -> Row:
    """The row with the votes that decided it, where others came or went since."""
    then = _bare(row)
    for happened in _events(row, past):
        if happened.offset <= row.reached:
            _happen(then, happened)
    _restore(then, stood_of(row))
    weigh(then, rules)
    return then


def _restore(row: Row, stood: Stood) -> None:
    row.verdict, row.label, row.because, row.reached, row.decided_under, row.credits, row.floor = stood


def _replayed(row: Row, past: Past, rules: Rules, offset: int, may_turn: bool, start: int, base: Stood) -> Row:
    again, quiet, events = _bare(row), max(start, past.since), _events(row, past)
    for happened in events:
        if happened.offset <= quiet:
            _happen(again, happened)
    weigh(again, rules)
    if past.since > start:
        decide(again, rules, past.since, may_turn=False)
    else:
        _restore(again, base)
    for happened in events:
        if happened.offset > quiet:
            _happen(again, happened)
            if happened.verdict is not None:
                rule(again, rules, happened.offset, happened.verdict)
            else:
                decide(again, rules, happened.offset, may_turn or happened.kind == "retracted")
    decide(again, rules, offset, may_turn=False)
    return again


def _bare(row: Row) -> Row:
    """The row before anything was said of its revision."""
    bare = Row()
    bare.project, bare.slice, bare.writer, bare.revision, bare.withdrawn = row.project, row.slice, row.writer, row.revision, 0
    bare.weighed, bare.offset = UNWEIGHED, row.offset
    return bare


class _Happened(NamedTuple):
    offset: int
    kind: Literal["cast"] | Kind
    vote: Vote | None
    verdict: Verdict | None


def _events(row: Row, past: Past) -> list[_Happened]:
    """What happened to the revision, in order."""
    cast = [*row.votes.values(), *(turn.vote for turn in past.turns if turn.vote is not None)]
    found = [_Happened(vote.offset, "cast", vote, None) for vote in cast]
    # Where a vote was replaced, the other one's cast says it.
    found += [_Happened(*turn) for turn in past.turns if turn.kind != "replaced"]
    return sorted(found, key=lambda one: one.offset)


def _happen(row: Row, one: _Happened) -> None:
    _HAPPENS[one.kind](row, one)
    if one.kind in ("cast", "retracted"):
        row.weighed = UNWEIGHED


def _cast(row: Row, one: _Happened) -> None:
    if one.vote is not None:
        row.votes[one.vote.voter] = one.vote


def _retracted(row: Row, one: _Happened) -> None:
    if one.vote is not None:
        row.votes.pop(one.vote.voter, None)


def _reopened(row: Row, one: _Happened) -> None:
    if row.verdict is not None:
        row.verdict, row.floor = None, row.live + 1


_HAPPENS: dict[str, Callable[[Row, _Happened], None]] = {
    "cast": _cast,
    "retracted": _retracted,
    "reopened": _reopened,
    **dict.fromkeys(("ruled", "looked"), lambda row, one: None),
}
