"""From a submission's votes to its verdict: enough voters, sure enough, or an editor's turn."""

from schemas.words import MAX_MILLI_NATS, Verdict
from streams.scores import Scores, confidence_permille, is_sure, leading, shares_permille
from streams.submissions import Row, weigh
from streams.weighing import Rules, temperature_permille

RULED = "ruled"
UNSURE = "unsure"
#: What votes come to that nothing has decided yet: a verdict or None while they decide nothing, and why.
Outcome = tuple[Verdict | None, str]
_TOO_FEW: Outcome = (None, "")
_UNSURE: Outcome = (None, UNSURE)
_APPROVED: Outcome = ("approved", "confidence")
_REJECTED: Outcome = ("rejected", "confidence")
_ESCALATED: Outcome = ("escalated", "overlap_max")
#: From this change of a label's probability on it is said again.
MOVED_PERMILLE = 300


def decide(row: Row, rules: Rules, offset: int, may_turn: bool, credit_unsure: bool = False) -> None:
    """Set the row's verdict from its votes. `may_turn`: a verdict that they contradict does not stand.

    `credit_unsure`: an undecided row, too, says how likely each label is. It does so as new skills come, not at each vote: most
    rows are decided soon after, and would say it all twice. But those that stay undecided must be heard: what is hard to decide
    is where voters differ, and skills learnt without it are too good (docs/decisions/0009).
    """
    if row.weighed != rules.weighed:
        weigh(row, rules)
    row.unsure_votes = 0
    if row.verdict is not None and (not may_turn or row.because == RULED or _still_supported(row, rules)):
        if row.because != RULED:
            _credit_anew(row, rules)
        return
    row.verdict = None
    verdict, because = outcome(row, rules)
    if verdict is not None:
        _decided(row, rules, offset, verdict, because)
    elif because:
        row.unsure_votes = row.live
        if row.credits or credit_unsure:
            _credit_anew(row, rules)
    else:
        row.unsure_votes = row.live if row.floor and row.revision and not row.withdrawn else 0
        if row.credits:
            row.credits = {}


def outcome(row: Row, rules: Rules) -> Outcome:
    """What an undecided row's votes come to, from `live`, `scores`, `floor` and whether there is a text at all. So that whoever
    asks what another policy says of the same votes asks the very code that decides."""
    live, policy = row.live, rules.policy
    if row.withdrawn or not row.revision or live < policy.overlap_min or live < row.floor:
        return _TOO_FEW
    scores = row.scores
    lead = scores.index(max(scores))
    if is_sure(scores, lead, rules.needed[lead], rules.temperature + rules.per_vote * (live - 1)):
        return _APPROVED if rules.approves[lead] else _REJECTED
    return _ESCALATED if live >= policy.overlap_max else _UNSURE


def needed_permille(rules: Rules, label: int) -> int:
    """The confidence from which this label decides."""
    policy = rules.policy
    return policy.approve_confidence_permille if rules.approves[label] else policy.reject_confidence_permille


def escalate(row: Row, rules: Rules, offset: int, because: str) -> None:
    """Hand an undecided row to an editor."""
    if row.weighed != rules.weighed:
        weigh(row, rules)
    row.unsure_votes = 0
    _decided(row, rules, offset, "escalated", because)


def rule(row: Row, rules: Rules, offset: int, verdict: Verdict) -> None:
    """An editor's verdict; its label is the one of that side which the votes say most for."""
    if row.weighed != rules.weighed:
        weigh(row, rules)
    row.unsure_votes = 0
    _decided(row, rules, offset, verdict, RULED)
    side = [at for at, approves in enumerate(rules.approves) if approves == (verdict == "approved")]
    if side:
        row.label = rules.labels[max(side, key=lambda at: (row.scores[at], -at))]
        row.credits = {row.label: 1_000}


def _decided(row: Row, rules: Rules, offset: int, verdict: Verdict, because: str) -> None:
    row.verdict, row.label, row.because = verdict, rules.labels[leading(row.scores)], because
    row.reached, row.decided_under, row.floor = offset, rules.version, 0
    row.credits = _credits(row, rules)


def _credits(row: Row, rules: Rules) -> dict[str, int]:
    """How likely each label is, in permille: what voters' skills are learnt from."""
    return {label: share for label, share in zip(rules.labels, shares_permille(row.scores), strict=True) if share}


def _credit_anew(row: Row, rules: Rules) -> None:
    """Late votes and new weights change what is likely. It is said again when it has moved by much, or to another label:
    saying every change would be most of all facts, and teach nothing more (docs/decisions/0009)."""
    labels, said = rules.labels, row.credits
    for label, share in zip(labels, shares_permille(row.scores), strict=True):
        if not -MOVED_PERMILLE <= share - said.get(label, 0) <= MOVED_PERMILLE:
            break
    else:
        if said and said.get(labels[leading(row.scores)]) == max(said.values()):
            return
    row.credits = _credits(row, rules)


def _still_supported(row: Row, rules: Rules) -> bool:
    """A tie contradicts nobody; an escalation stands until the votes lean to one side."""
    if row.live < rules.policy.overlap_min:
        return False
    if row.verdict == "escalated":
        return log_odds(row.scores, rules.approves) == 0
    label = rules.places.get(row.label)
    return label is not None and row.scores[label] == max(row.scores)


def log_odds(scores: Scores, sides: tuple[bool, ...]) -> int:
    """Score of the best approving label less that of the best other one, as far as a fact can hold it; 0 where there is only one
    side."""
    if len(scores) == 2 and sides[0] != sides[1]:  # the same, at a fraction of the time
        lead = scores[0] - scores[1] if sides[0] else scores[1] - scores[0]
        return max(-MAX_MILLI_NATS, min(MAX_MILLI_NATS, lead))
    approving = [score for score, approves in zip(scores, sides, strict=True) if approves]
    others = [score for score, approves in zip(scores, sides, strict=True) if not approves]
    lead = max(approving) - max(others) if approving and others else 0
    return max(-MAX_MILLI_NATS, min(MAX_MILLI_NATS, lead))


def leading_confidence(row: Row, rules: Rules) -> int:
    """Calibrated probability of the leading label, in permille, rounded down."""
    return confidence_permille(row.scores, leading(row.scores), temperature_permille(rules, row.live))
