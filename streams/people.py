"""What a person's counts say to a reader: rates with intervals, flags with what is behind them, confusion, trend.

Nothing here names the subject of a golden answer, or the place of the vote on one: with the verdict on that vote, either
would tell the answer.
"""

from bisect import bisect_left
from datetime import UTC, datetime
from typing import Any, NamedTuple

from streams.annotators import subject_of
from streams.projection import HOUR_MILLISECONDS
from streams.rates import Rate, rate_of
from streams.rules import Alike, Rules, eased, evidence, is_fast, look, rate_holds
from streams.tallies import RATES, Confusion, Judged, Tally, rate_counts

#: What flags lead to, least first.
STATES = {"": "active", "notify": "active", "deprioritise": "deprioritised", "restrict": "restricted"}
_SEVERITY = list(STATES)


class Person(NamedTuple):
    """One person in one project and task."""

    annotator: str
    project: str
    task: str
    tally: Tally
    rules: Rules

    @property
    def state(self) -> str:
        """What the person's flags lead to, all in all."""
        return state_of(self.tally)

    def rate(self, rule: str) -> Rate:
        """The rate as its rule looks at it: after a flag expired, only what came since."""
        return rate_of(*rate_counts(self.tally, rule))

    def over_limit(self) -> tuple[float, str]:
        """How many times its limit the lower bound of the worst rate is, and which rate that is. By lower bounds, so that one
        of one never outranks forty of a hundred."""
        return max((1_000 * self.rate(rule).low / self.rules.limits[rule][0], rule) for rule in RATES)


def state_of(tally: Tally) -> str:
    return STATES[max((flag[0] for flag in tally.flags.values()), key=_SEVERITY.index, default="")]


def person(annotator: str, name: str, tally: Tally, rules: Rules) -> Person:
    """Of the tally that stands in a row under this name."""
    return Person(annotator, *subject_of(name), tally, rules)


def summary(one: Person) -> dict[str, Any]:
    """One line of a list; rates of 0 to 1, times in seconds."""
    tally, (times, worst) = one.tally, one.over_limit()
    timed = tally.counts["timed_votes"]
    return {
        "annotator": one.annotator,
        "project": one.project,
        "task": one.task,
        "state": one.state,
        "flags": sorted(tally.flags),
        "over_limit": round(times, 3),
        "worst": worst if one.rate(worst).total else None,
        "submitted": tally.counts["submitted"],
        **{rule: about_rate(one, rule) for rule in RATES},
        "seconds_per_vote": round(tally.counts["milliseconds"] / timed / 1_000, 3) if timed else None,
        "timed_votes": timed,
    }


def about_rate(one: Person, rule: str) -> dict[str, Any]:
    """n, the rate with its interval, and the limit and minimum count of its rule."""
    rate, (limit, minimum) = one.rate(rule), one.rules.limits[rule]
    return {
        "against": rate.against,
        "total": rate.total,
        "rate": None if rate.rate is None else round(rate.rate, 4),
        "low": round(rate.low, 4),
        "high": round(rate.high, 4),
        "limit": limit / 1_000,
        "minimum": minimum,
    }


def detail(one: Person) -> dict[str, Any]:
    """All that there is to say of one person in one project and task."""
    tally = one.tally
    return {
        **summary(one),
        "policy_version": one.rules.version,
        "flags": [about_flag(one, rule) for rule in tally.flags],
        "recent": recent(one),
        "hours": [len(tally.hours), min(tally.hours, default=None), max(tally.hours, default=None)],
        "confusion_permille": shares(tally.confusion),
        "golden_confusion_permille": shares(tally.golden_confusion),
        "confusion_votes": {truth: permille / 1_000 for truth, permille in votes_by_truth(tally.confusion).items()},
        "golden_confusion_votes": votes_by_truth(tally.golden_confusion),
        "alike": [about_likeness(one, other) for other in sorted(tally.alike)],
    }


def about_flag(one: Person, rule: str) -> dict[str, Any]:
    """What the rule counts now, what the flag leads to and until when, and the records behind it."""
    action, raised, expires = one.tally.flags[rule]
    finding = look(rule, one.tally, one.rules)
    cited = [] if rule == "golden" else evidence(rule, one.tally, one.rules)
    return {
        "rule": rule,
        "action": action,
        "against": finding.against,
        "total": finding.total,
        "limit_permille": finding.limit_permille,
        "raised_ms": raised * HOUR_MILLISECONDS,
        "expires_ms": None if expires is None else expires * HOUR_MILLISECONDS,
        "other": finding.other,
        "evidence": [{"partition": judged.partition, "offset": judged.offset} for judged in cited],
    }


def recent(one: Person) -> dict[str, Any]:
    """The last few pieces of work beside all of them: a trend, which alone flags nobody."""
    votes = [Judged(*vote) for vote in one.tally.votes]
    fast = sum(is_fast(vote.milliseconds, one.rules) for vote in votes)
    windows = {"rejection": one.tally.texts, "disagreement": one.tally.votes, "golden": one.tally.golden[-one.rules.recent :]}
    return {
        **{rule: [sum(judged[2] for judged in window), len(window)] for rule, window in windows.items()},
        "too_fast": [fast, len(votes)],
    }


def shares(confusion: Confusion) -> dict[str, dict[str, int]]:
    """Right label -> label said -> share in permille."""
    return {
        truth: {label: round(1_000 * count / sum(row.values())) for label, count in sorted(row.items())}
        for truth, row in sorted(confusion.items())
    }


def votes_by_truth(confusion: Confusion) -> dict[str, int]:
    """Right label -> how often anything was said where it was right, in the unit of `confusion`."""
    return {truth: sum(row.values()) for truth, row in sorted(confusion.items())}


def about_likeness(one: Person, other: str) -> dict[str, Any]:
    """`explained`: whether what each of them says where which label is right explains how alike they are."""
    alike = Alike(*one.tally.alike[other])
    return {
        "other": other,
        "shared": alike.shared,
        "same": alike.same,
        "expected": alike.expected_permille / 1_000,
        "z": alike.z_milli / 1_000,
        "habits_z": alike.habits_z_milli / 1_000,
        "bound": alike.bound_milli / 1_000,
        "explained": alike.habits_z_milli <= max(alike.bound_milli, one.rules.policy.copying_z_milli),
    }


# --- why, and what would change it -------------------------------------------------------------

#: More right work in a row than anybody is told to do.
MOST_MORE = 10_000


def clears_after(one: Person, rule: str) -> int | None:
    """How many more pieces of work, all good, take the flag of a rate away; None where that is no way, or a very long one."""
    if rule not in RATES:
        return None
    against, total = rate_counts(one.tally, rule)
    limit, minimum = one.rules.limits[rule]
    bar = eased(limit, one.rules)
    # The lower bound only falls as good work is added.
    more = bisect_left(range(MOST_MORE), True, key=lambda more: not rate_holds(against, total + more, bar, minimum))
    return more if more < MOST_MORE else None


_WORDS = {
    "rejection": "{against} of {total} decided texts were rejected",
    "disagreement": "{against} of {total} votes went against the verdict",
    "golden": "{against} of {total} answers on control tasks were wrong",
    "hurry": "{against} of the last {total} votes took too little time",
    "constant": "{against} of the last {total} votes said the same",
    "copying": "{against} of {total} votes were the same as those of {other}, where {limit_permille} of 1000 would be by chance",
}


def in_words(flag: dict[str, Any]) -> str:
    """One sentence about a flag of `about_flag`: what was counted, against which limit, what it leads to, and its end."""
    said = _WORDS[flag["rule"]].format(**flag)
    if flag["rule"] in RATES:
        low = rate_of(flag["against"], flag["total"]).low
        said += f": with 95 % certainty more than {100 * low:.0f} %, and the limit is {flag['limit_permille'] / 10:g} %"
    until = "" if flag["expires_ms"] is None else f" until {_utc(flag['expires_ms'])} at the latest"
    more = f"; {flag['clears_after']} more good ones in a row end it" if flag.get("clears_after") else ""
    return f"{_LEADS_TO[flag['action']]}{until}, since {said}{more}."


_LEADS_TO = {"notify": "Noted", "deprioritise": "Served last", "restrict": "Handed no work"}


def _utc(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1_000, UTC):%Y-%m-%d %H:%M} UTC"
