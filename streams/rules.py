"""When a rule of the policy holds against a person; all in integers, so that every machine flags the same people.

A rate's rule holds while the lower 95 % Wilson bound of the rate is over its limit, with a minimum count; once it holds, until
that bound falls under the limit less `clear_margin_permille`. After a flag expired, its rule looks only at what came after:
a rate at work of the hours since, a window at nothing older, copying at what both judged since.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from schemas.events import LikenessMeasured
from schemas.policy import Policy
from streams.tallies import RATES, Judged, Tally, rate_counts
from streams.weights import passes_limit

RULES = ("rejection", "disagreement", "golden", "constant", "copying", "hurry")
#: Thresholds about people. They are looked at over a whole project.
OF_PEOPLE = (
    "rejection_limit_permille", "rejection_min_decided", "rejection_action", "disagreement_limit_permille",
    "disagreement_min_scored", "disagreement_action", "golden_limit_permille", "golden_min_seen", "golden_action",
    "hurry_share_permille", "hurry_floor_milliseconds", "hurry_action", "constant_share_permille", "constant_action",
    "copying_z_milli", "copying_action", "recent_votes", "clear_margin_permille", "flag_hours",
)  # fmt: skip
#: Too fast votes say something only beside one of these.
_BESIDE = ("disagreement", "golden", "constant", "copying")
#: A vote is too fast under this part of the project's median.
MEDIAN_PARTS = 5
#: Submissions that two people must both have judged before their likeness says anything.
MIN_SHARED = 20
#: People whose likeness is kept for one person; the least alike go first.
MAX_ALIKE = 20
#: Records that a flag cites.
MAX_EVIDENCE = 20


class Rules(NamedTuple):
    """A project's policy and pace as the fold uses them."""

    version: int
    policy: Policy
    pace_version: int
    #: Of all votes of the project; 0 while nothing is measured.
    median_milliseconds: int
    #: From the policy: how many votes and texts the windows hold, and (limit in permille, minimum count) of each rate.
    recent: int
    limits: dict[str, tuple[int, int]]
    #: Thousandths of votes from which one label is constant.
    constant: int


def rules_of(version: int, policy: Policy, pace_version: int = 0, median_milliseconds: int = 0) -> Rules:
    limits = {
        "rejection": (policy.rejection_limit_permille, policy.rejection_min_decided),
        "disagreement": (policy.disagreement_limit_permille, policy.disagreement_min_scored),
        "golden": (policy.golden_limit_permille, policy.golden_min_seen),
    }
    return Rules(
        version,
        policy,
        pace_version,
        median_milliseconds,
        policy.recent_votes,
        limits,
        policy.constant_share_permille * policy.recent_votes,
    )


DEFAULT_RULES = rules_of(0, Policy())


class Finding(NamedTuple):
    """What a rule found: whether it holds, its counts and limit, and whom else and what it is about."""

    holds: bool
    against: int
    total: int
    limit_permille: int
    other: str | None = None
    subjects: tuple[str, ...] = ()


def look(rule: str, tally: Tally, rules: Rules) -> Finding:
    """The rule against these counts, easier to satisfy where its flag already stands."""
    return _LOOKS[rule](rule, tally, rules)


def action_of(rule: str, policy: Policy) -> str:
    action: str = getattr(policy, f"{rule}_action")
    return action


# --- rates -------------------------------------------------------------------------------------


def is_suspect(rate: str, tally: Tally, rules: Rules) -> bool:
    """Whether the rule of this rate, or with disagreement the one of constant answers, might hold where no flag stands. Nearly
    nobody is, so that this is all that most judgements cost."""
    if tally.since:
        return True
    worse, better = RATES[rate]
    against = tally.counts[worse]
    total = against + tally.counts[better]
    limit, minimum = rules.limits[rate]
    if total >= minimum and 1000 * against > limit * total:
        return True
    labels = tally.labels
    return rate == "disagreement" and len(labels) >= rules.recent and 1000 * labels.count(labels[-1]) >= rules.constant


def _rate(rule: str, tally: Tally, rules: Rules) -> Finding:
    against, total = rate_counts(tally, rule)
    limit, minimum = rules.limits[rule]
    bar = eased(limit, rules) if rule in tally.flags else limit
    return Finding(rate_holds(against, total, bar, minimum), against, total, limit)


def rate_holds(against: int, total: int, limit_permille: int, minimum: int) -> bool:
    """What raises the flag of a rate."""
    return total >= minimum and passes_limit(against, total, limit_permille)


def eased(limit: int, rules: Rules) -> int:
    """The limit, in permille, of a flag that stands."""
    return max(0, limit - rules.policy.clear_margin_permille)


# --- windows -----------------------------------------------------------------------------------


def _window(rule: str, tally: Tally, rules: Rules) -> list[Judged]:
    """The last votes that the rule may look at, or none while they are too few."""
    recent, since = rules.policy.recent_votes, tally.since.get(rule)
    votes = [Judged(*vote) for vote in tally.votes[-recent:]]
    kept = votes if since is None else [vote for vote in votes if vote.hour >= since[0]]
    return kept if len(kept) >= recent else []


def is_fast(milliseconds: int | None, rules: Rules) -> bool:
    """Whether a vote took too little time: under the policy's floor, or under a fifth of the project's median."""
    if milliseconds is None:
        return False
    return milliseconds < rules.policy.hurry_floor_milliseconds or MEDIAN_PARTS * milliseconds < rules.median_milliseconds


def _hurry(rule: str, tally: Tally, rules: Rules) -> Finding:
    limit = rules.policy.hurry_share_permille
    if not any(other in tally.flags for other in _BESIDE):
        return Finding(False, 0, 0, limit)
    votes = _window(rule, tally, rules)
    fast = sum(is_fast(vote.milliseconds, rules) for vote in votes)
    bar = eased(limit, rules) if rule in tally.flags else limit
    return Finding(1000 * fast > bar * len(votes), fast, len(votes), limit)


def _constant(rule: str, tally: Tally, rules: Rules) -> Finding:
    """One label makes up nearly all recent votes, and what was right on the same subjects does not explain it: the lower Wilson
    bound of the share with another right label is over what the constant label leaves."""
    limit = rules.policy.constant_share_permille
    share = eased(limit, rules) if rule in tally.flags else limit
    votes = _window(rule, tally, rules)
    label = constant_label(tally)
    said = sum(vote.label == label for vote in votes)
    otherwise = sum(vote.truth != label for vote in votes)
    holds = bool(votes) and 1000 * said >= share * len(votes) and passes_limit(otherwise, len(votes), 1000 - share)
    return Finding(holds, said, len(votes), limit)


def constant_label(tally: Tally) -> str:
    """The label that most of the recent votes say; of two, the first by name."""
    labels = [label for label in tally.labels if label is not None]
    return min(sorted(set(labels)), key=lambda label: -labels.count(label), default="")


# --- two people --------------------------------------------------------------------------------


class Alike(NamedTuple):
    """What was measured last of this person and another; `shared_before` and `same_before` stood when a flag expired."""

    version: int
    shared: int
    same: int
    expected_permille: int
    z_milli: int
    habits_z_milli: int
    bound_milli: int
    shared_before: int
    same_before: int
    subjects: list[str]


def z_squared_micro(same: int, shared: int, expected_permille: int) -> int:
    """The square of z = (same - n e) / sqrt(n e (1 - e)) in millionths, rounded down; 0 where no more agree than expected."""
    expected = min(999, max(1, expected_permille))
    distance = 1000 * same - expected * shared
    return 0 if distance <= 0 or shared <= 0 else distance * distance * 1_000_000 // (shared * expected * (1000 - expected))


def measured(tally: Tally, data: LikenessMeasured) -> bool:
    """Note what was measured; whether it is news."""
    known = tally.alike.get(data.other)
    if known is not None and data.version <= known[0]:
        return False
    before = (0, 0) if known is None else Alike(*known)[7:9]
    said = data.version, data.shared, data.same, data.expected_permille, data.z_milli, data.habits_z_milli, data.bound_milli
    tally.alike[data.other] = [*said, *before, list(data.evidence)]
    if len(tally.alike) > MAX_ALIKE:
        del tally.alike[min(tally.alike, key=lambda other: (_strength(tally.alike[other]), other))]
    return True


def _since(alike: list[Any]) -> tuple[int, int]:
    """(same, shared) of what both judged since a flag expired, if one did."""
    one = Alike(*alike)
    return max(0, one.same - one.same_before), max(0, one.shared - one.shared_before)


def _strength(alike: list[Any]) -> int:
    """The square of z in millionths: as it was measured, or after an expiry of what came since."""
    one = Alike(*alike)
    if one.shared_before:
        return z_squared_micro(*_since(alike), one.expected_permille)
    return max(0, one.z_milli) ** 2


def start_afresh(tally: Tally) -> None:
    """What both judged by now no longer speaks against them."""
    for alike in tally.alike.values():
        alike[7:9] = alike[1:3]


def _copying(rule: str, tally: Tally, rules: Rules) -> Finding:
    known = [other for other in sorted(tally.alike) if _since(tally.alike[other])[1] >= MIN_SHARED]
    if not known:
        return Finding(False, 0, 0, 0)
    other = max(known, key=lambda name: _strength(tally.alike[name]))
    one = Alike(*tally.alike[other])
    bar = max(rules.policy.copying_z_milli, one.bound_milli)
    holds = _strength(tally.alike[other]) > bar * bar
    return Finding(holds, *_since(tally.alike[other]), one.expected_permille, other, tuple(one.subjects))


_Look = Callable[[str, Tally, Rules], Finding]
_LOOKS: dict[str, _Look] = {**dict.fromkeys(RATES, _rate), "constant": _constant, "copying": _copying, "hurry": _hurry}


# --- evidence ----------------------------------------------------------------------------------


def evidence(rule: str, tally: Tally, rules: Rules) -> list[Judged]:
    """The newest judgements that speak against the person under this rule, oldest first."""
    since = tally.since.get(rule)
    found = [one for one in _against(rule, tally, rules) if since is None or one.hour >= since[0]]
    return found[-MAX_EVIDENCE:]


def _against(rule: str, tally: Tally, rules: Rules) -> Iterator[Judged]:
    if rule in RATES:
        window = {"rejection": tally.texts, "disagreement": tally.votes, "golden": tally.golden}[rule]
        return (one for one in map(Judged._make, window) if one.against)
    votes = map(Judged._make, tally.votes)
    if rule == "hurry":
        return (vote for vote in votes if is_fast(vote.milliseconds, rules))
    label = constant_label(tally) if rule == "constant" else None
    return (vote for vote in votes if label is not None and vote.label == label)
