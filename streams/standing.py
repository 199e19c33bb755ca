"""What a submission's row says to the world, and the facts that turn what it said into what it says now."""

from itertools import islice
from typing import NamedTuple
from zlib import crc32

from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.topics import JUDGEMENTS, SLICES, VERDICTS
from schemas.words import Verdict
from streams.deciding import leading_confidence, log_odds, needed_permille
from streams.projection import Effect, Json, effect, maker
from streams.scores import leading
from streams.submissions import Analysis, Row, Vote, counted, counts
from streams.weighing import Rules


class Standing(NamedTuple):
    """What a row says; its judgements follow from the verdict, the golden answer and the votes.

    `votes` is the row's own dict, of which the first `known` count: votes are only ever added to it, and where one
    is replaced or taken out the row gets a new dict.
    """

    verdict: Verdict | None
    label: str
    credits: dict[str, int]
    unsure_votes: int
    golden: str | None
    analysis: Analysis | None
    votes: dict[str, Vote]
    known: int


_standing = maker(Standing)
NOTHING = Standing(None, "", {}, 0, None, None, {}, 0)


class Change(NamedTuple):
    """One row between two standings; `revision` is the one that `before` spoke of."""

    key: str
    row: Row
    rules: Rules
    revision: int
    before: Standing
    after: Standing
    reason: str
    #: The row as its votes decided it, where others came or went since.
    decided: Row | None = None


class Said(NamedTuple):
    """The part of a standing that votes can change."""

    verdict: Verdict | None
    label: str
    credits: dict[str, int]
    unsure_votes: int


_said = maker(Said)


def said(row: Row) -> Said:
    return _said((row.verdict, row.label, row.credits, row.unsure_votes))


def standing(row: Row) -> Standing:
    return standing_as(row, said(row), len(row.votes))


def standing_as(row: Row, one: Said, known: int) -> Standing:
    """The row's standing, had it said this about so many of its votes."""
    analysis, label = row.analysis, one.label if one.verdict is not None else ""
    in_slice = one.verdict == "approved" and analysis is not None and analysis.revision == row.revision
    shown = analysis if in_slice else None
    return _standing((one.verdict, label, one.credits, one.unsure_votes, golden_now(row), shown, row.votes, known))


def golden_now(row: Row) -> str | None:
    """The right label of the current revision, if it is known."""
    return row.golden[1] if row.golden is not None and row.golden[0] == row.revision else None


# --- facts -------------------------------------------------------------------------------------

_VERDICT_REACHED = TYPE_OF[e.VerdictReached]
_VERDICT_REOPENED = TYPE_OF[e.VerdictReopened]
_OVERLAP_REQUESTED = TYPE_OF[e.OverlapRequested]
_JUDGEMENT_SCORED = TYPE_OF[e.JudgementScored]
_SLICE_ENTERED = TYPE_OF[e.SliceEntered]
_SLICE_LEFT = TYPE_OF[e.SliceLeft]


def difference(change: Change) -> list[Effect]:
    """The facts that turn what was said into what is now said: first what is taken back, then what is new."""
    before, after = change.before, change.after
    if before == after:
        return []
    effects: list[Effect] = []
    if (before.verdict, before.label) != (after.verdict, after.label):
        if before.verdict is not None:
            effects.append(reopened(change))
        if after.verdict is not None:
            effects += _reached(change, after.verdict)
    if after.unsure_votes and before.unsure_votes != after.unsure_votes:
        effects.append(requested(change.key, change.row, change.rules))
    effects += _judged(change)
    if before.analysis != after.analysis:
        if before.analysis is not None:
            effects.append(_sliced(change, _SLICE_LEFT, before.analysis))
        if after.analysis is not None:
            effects.append(_sliced(change, _SLICE_ENTERED, after.analysis))
    return effects


def reopened(change: Change) -> Effect:
    verdict = change.before.verdict
    data: Json = {"project": change.row.project, "revision": change.revision, "verdict": verdict, "reason": change.reason}
    return effect((VERDICTS.name, change.key, _VERDICT_REOPENED, data))


def _reached(change: Change, verdict: Verdict) -> list[Effect]:
    row, rules = change.decided or change.row, change.rules
    votes = counted(row, rules)
    approving = sum([rules.approves[rules.places[vote.label]] for vote in votes])
    data: Json = {
        "project": row.project,
        "revision": row.revision,
        "verdict": verdict,
        "label": row.label,
        "confidence_permille": leading_confidence(row, rules),
        "because": row.because,
        "policy_version": row.decided_under,
        "model": rules.model,
        "skills_version": rules.skills_version,
        "log_odds_milli_nats": log_odds(row.scores, rules.approves),
        "good_votes": approving,
        "bad_votes": row.live - approving,
        "decided_by": sorted([vote.offset for vote in votes])[:1_000],
    }
    reached = effect((VERDICTS.name, change.key, _VERDICT_REACHED, data))
    if verdict == "approved" and is_rechecked(change.key, row, rules):
        return [reached, _wanted(change.key, row, rules, "recheck")]
    return [reached]


def is_rechecked(key: str, row: Row, rules: Rules) -> bool:
    """Whether this revision is drawn to be checked again once it is approved: by its name, so that nobody can tell before."""
    share = rules.policy.recheck_share_permille
    return share > 0 and crc32(f"{key}:{row.revision}".encode()) % 1_000 < share


def requested(key: str, row: Row, rules: Rules) -> Effect:
    return _wanted(key, row, rules, "unsure")


def _wanted(key: str, row: Row, rules: Rules, because: str) -> Effect:
    lead = leading(row.scores)
    data: Json = {
        "project": row.project,
        "revision": row.revision,
        "because": because,
        "votes_needed": 1,
        "votes_live": row.live,
        "label": rules.labels[lead],
        "confidence_permille": leading_confidence(row, rules),
        "confidence_needed_permille": needed_permille(rules, lead),
        "log_odds_milli_nats": log_odds(row.scores, rules.approves),
    }
    return effect((VERDICTS.name, key, _OVERLAP_REQUESTED, data))


# --- judgements --------------------------------------------------------------------------------

#: Verdicts that say who was right. An escalation does not, and voters' skills are learnt from it all the same: what votes
#: cannot settle is where they differ most.
_DECIDED = ("approved", "rejected")


def judgements(key: str, row: Row, said: Standing) -> list[Effect]:
    """What this standing says about the writer and about each voter whose vote counts."""
    if not said.credits and said.golden is None:
        return []
    made: list[Effect] = [_of_writer(key, row, str(said.verdict))] if said.verdict in _DECIDED else []
    for vote in islice(said.votes.values(), said.known):
        made += of_vote(key, row, said, vote)
    return made


def _judged(change: Change) -> list[Effect]:
    """Judgements taken back, then judgements made."""
    key, row = change.key, change.row
    old, new = judgements(key, row, change.before), judgements(key, row, change.after)
    return rejudged(old, new) if old else new


def rejudged(old: list[Effect], new: list[Effect]) -> list[Effect]:
    """The judgements taken back, then those made. Nobody is judged twice with one outcome, by which they are looked up: comparing
    each with each would take a subject of thousands of votes seconds a vote."""
    before, after = ({(one.key, one.data["outcome"]): one for one in judged} for judged in (old, new))
    gone = [one._replace(data={**one.data, "change": -1}) for name, one in before.items() if after.get(name) != one]
    return gone + [one for name, one in after.items() if before.get(name) != one]


def submitted(key: str, row: Row) -> Effect:
    return _of_writer(key, row, "submitted")


def _of_writer(key: str, row: Row, outcome: str) -> Effect:
    data: Json = {
        "project": row.project,
        "role": "writer",
        "outcome": outcome,
        "change": 1,
        "submission": key,
        "revision": row.revision,
        "hour": row.hour,
    }
    return effect((JUDGEMENTS.name, row.writer, _JUDGEMENT_SCORED, data))


def of_vote(key: str, row: Row, said: Standing, vote: Vote) -> list[Effect]:
    """What a standing says about one voter. A golden answer says alone how likely each label is."""
    if not counts(row, vote):
        return []
    made: list[Effect] = []
    decided = said.verdict in _DECIDED
    if decided or (said.credits and said.golden is None):
        likeliest = said.label or max(said.credits, key=said.credits.__getitem__)
        outcome = "credited" if not decided else "agreed" if vote.label == likeliest else "disagreed"
        scored = _of_voter(key, row, vote, outcome, likeliest)
        if said.golden is None:
            scored.data["credits_permille"] = said.credits
        made.append(scored)
    if said.golden is not None:
        outcome = "golden_right" if vote.label == said.golden else "golden_wrong"
        made.append(_of_voter(key, row, vote, outcome, said.golden))
    return made


def _of_voter(key: str, row: Row, vote: Vote, outcome: str, truth: str) -> Effect:
    data: Json = {
        "project": row.project,
        "role": "voter",
        "outcome": outcome,
        "change": 1,
        "submission": key,
        "revision": row.revision,
        "hour": vote.hour,
        "label": vote.label,
        "truth": truth,
    }
    if vote.milliseconds is not None:
        data["duration_milliseconds"] = vote.milliseconds
    return effect((JUDGEMENTS.name, vote.voter, _JUDGEMENT_SCORED, data))


def _sliced(change: Change, type_: str, analysis: Analysis) -> Effect:
    row = change.row
    data: Json = {
        "project": row.project,
        "submission": change.key,
        "revision": analysis.revision,
        "kind": row.kind,
        "writer": row.writer,
        "model": analysis.model,
        "words": analysis.words,
        "embedding": analysis.embedding,
    }
    return effect((SLICES.name, row.slice, type_, data))
