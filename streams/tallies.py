"""What is counted of one person in one project: sums, counts by hour, confusion, and the last few pieces of work.

Integers and names only, in the shape in which they are stored, so that packing a row costs nearly nothing. Taking a
judgement back subtracts what it added, and takes it out of the windows where it still stands.
"""

from sys import intern
from typing import Any, NamedTuple

from schemas.events import JudgementScored

COUNTS = (
    "submitted", "approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong", "credited", "timed_votes",
    "milliseconds",
)  # fmt: skip
#: Counts kept per hour, in this order, after the hour itself.
HOURLY = ("approved", "rejected", "agreed", "disagreed", "golden_right", "golden_wrong")
#: Event-time hours kept per person and project; the oldest go first.
MAX_HOURS = 720
#: Golden answers kept for whoever estimates skills.
MAX_GOLDEN = 100
BEFORE_ALL_HOURS = -1_000_001

#: What a rate is of: (counted against, counted for).
RATES = {
    "rejection": ("rejected", "approved"),
    "disagreement": ("disagreed", "agreed"),
    "golden": ("golden_wrong", "golden_right"),
}
_AGAINST = {against: rule for rule, (against, _) in RATES.items()}
_FOR = {good: rule for rule, (_, good) in RATES.items()}
#: Outcome -> its column among an hour's counts, its rate, and whether it counts against the person.
_MEANS = {name: (HOURLY.index(name) + 1, (_AGAINST | _FOR)[name], int(name in _AGAINST)) for name in HOURLY}


class Judged(NamedTuple):
    """One judged piece of work, as the windows keep it; a text has no label, truth or duration.

    The windows hold plain tuples, which JSON takes as they are; this names their fields.
    """

    submission: str
    revision: int
    against: int
    label: str | None
    truth: str | None
    milliseconds: int | None
    hour: int
    #: The record of `assay.events.v1` that the judgement follows from.
    partition: int
    offset: int


Window = list[Any]
#: True label -> label said -> how often, or how much of it in permille.
Confusion = dict[str, dict[str, int]]


class Tally:
    """One person's counts in one project and task."""

    __slots__ = (
        "alike", "confusion", "counts", "flags", "golden", "golden_confusion", "hours", "hours_from", "labels", "since", "texts",
        "votes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        #: Hour -> [hour, counts in the order of HOURLY]; hours before `hours_from` are no longer kept.
        self.hours: dict[int, list[int]] = {}
        self.hours_from = BEFORE_ALL_HOURS
        #: From the credits of verdicts, in permille of votes; from golden answers, in votes.
        self.confusion: Confusion = {}
        self.golden_confusion: Confusion = {}
        #: The last decided texts, judged votes and golden answers; `labels` counts the labels in `votes`.
        self.texts: Window = []
        self.votes: Window = []
        self.golden: Window = []
        self.labels: dict[str, int] = {}
        #: Rule -> [hour, against, total]: after a flag expired its rule counts work from this hour on only.
        self.since: dict[str, list[int]] = {}
        #: Rule -> [action, hour raised, hour in which it goes or None].
        self.flags: dict[str, list[Any]] = {}
        #: Other person -> what was measured last; see streams/rules.py.
        self.alike: dict[str, list[Any]] = {}


def is_complete(data: JudgementScored) -> bool:
    """A vote is judged by its label and by what is right; review never derives it without, but the schema allows it."""
    return data.outcome not in _OF_VOTES or (data.label is not None and data.truth is not None)


_OF_VOTES = ("agreed", "disagreed", "golden_right", "golden_wrong", "credited")


def count(tally: Tally, data: JudgementScored, recent: int) -> None:
    """Add one judgement, or take it back. `recent`: how many texts and votes the windows hold."""
    outcome, sign = data.outcome, data.change
    tally.counts[outcome] += sign
    means = _MEANS.get(outcome)
    if means is None:
        if outcome == "credited":
            _count_credits(tally, data, sign)
        return
    place, rate, against = means
    _count_hour(tally, data.hour, place, sign)
    if rate == "disagreement":
        _count_vote(tally, data, sign)
        _keep(tally.votes, data, against, recent, tally.labels)
    elif rate == "golden":
        _add(tally.golden_confusion, data.truth or "", data.label or "", sign)
        _keep(tally.golden, data, against, MAX_GOLDEN)
    else:
        _keep(tally.texts, data, against, recent)
    since = tally.since.get(rate)
    if since is not None and data.hour >= since[0]:
        since[1] += sign * against
        since[2] += sign


def _count_credits(tally: Tally, data: JudgementScored, sign: int) -> None:
    if data.credits_permille is not None:
        for truth, credit in data.credits_permille.items():
            _add(tally.confusion, truth, data.label or "", sign * credit)


def _count_vote(tally: Tally, data: JudgementScored, sign: int) -> None:
    _count_credits(tally, data, sign)
    if data.duration_milliseconds is not None:
        counts = tally.counts
        counts["timed_votes"] += sign
        counts["milliseconds"] += sign * data.duration_milliseconds


def _add(confusion: Confusion, truth: str, label: str, change: int) -> None:
    row = confusion.get(truth)
    if row is None:
        row = confusion[intern(truth)] = {}
    total = row.get(label, 0) + change
    if total:
        row[intern(label)] = total
    else:
        row.pop(label, None)
        if not row:
            del confusion[truth]


def _count_hour(tally: Tally, hour: int, place: int, sign: int) -> None:
    row = tally.hours.get(hour)
    if row is None:
        if hour < tally.hours_from:
            return
        row = tally.hours[hour] = [hour, *_NO_COUNTS]
        if len(tally.hours) > MAX_HOURS:
            oldest = min(tally.hours)
            tally.hours_from = oldest + 1
            del tally.hours[oldest]
    row[place] += sign
    if sign < 0 and row[1:] == _NO_COUNTS:
        # What was all taken back was never there.
        tally.hours.pop(hour, None)


_NO_COUNTS = [0] * len(HOURLY)


def _keep(window: Window, data: JudgementScored, against: int, most: int, labels: dict[str, int] | None = None) -> None:
    if data.change < 0:
        _take_out(window, data.submission, data.revision, labels)
        return
    origin, label = data.origin, data.label
    if labels is not None and label is not None:
        labels[label] = labels.get(label, 0) + 1
    duration = data.duration_milliseconds
    window.append(
        (data.submission, data.revision, against, label, data.truth, duration, data.hour, origin.partition, origin.offset)
    )  # fmt: skip
    if len(window) > most:
        trim(window, most, labels)


def trim(window: Window, most: int, labels: dict[str, int] | None = None) -> None:
    """Let go of the oldest beyond so many."""
    while len(window) > most:
        gone = window.pop(0)
        if labels is not None:
            _uncount(labels, gone[3])


def _take_out(window: Window, submission: str, revision: int, labels: dict[str, int] | None) -> None:
    for place in range(len(window) - 1, -1, -1):
        one = window[place]
        if one[0] == submission and one[1] == revision:
            del window[place]
            if labels is not None:
                _uncount(labels, one[3])
            return


def _uncount(labels: dict[str, int], label: str) -> None:
    left = labels.get(label, 0) - 1
    if left > 0:
        labels[label] = left
    else:
        labels.pop(label, None)


def counted_from(tally: Tally, rule: str, hour: int) -> list[int]:
    """[hour, against, total] of a rate over the work of this hour and later, as the hours have it."""
    against, good = (HOURLY.index(name) + 1 for name in RATES[rule])
    rows = [row for row in tally.hours.values() if row[0] >= hour]
    return [hour, sum(row[against] for row in rows), sum(row[against] + row[good] for row in rows)]


def rate_counts(tally: Tally, rule: str) -> tuple[int, int]:
    """(against, total) that a rate's rule looks at."""
    since = tally.since.get(rule)
    if since is not None:
        return since[1], since[2]
    against, good = RATES[rule]
    counts = tally.counts
    return counts[against], counts[against] + counts[good]


def pack_tally(tally: Tally) -> list[Any]:
    return [
        list(tally.counts.values()),
        list(tally.hours.values()),
        tally.hours_from,
        tally.confusion,
        tally.golden_confusion,
        tally.texts,
        tally.votes,
        tally.golden,
        tally.since,
        tally.flags,
        tally.alike,
    ]


def unpack_tally(packed: list[Any]) -> Tally:
    tally = Tally()
    (
        counts,
        hours,
        tally.hours_from,
        tally.confusion,
        tally.golden_confusion,
        tally.texts,
        tally.votes,
        tally.golden,
        tally.since,
        tally.flags,
        tally.alike,
    ) = packed
    tally.counts = dict(zip(COUNTS, counts, strict=True))
    tally.hours = {row[0]: row for row in hours}
    for vote in tally.votes:
        tally.labels[vote[3]] = tally.labels.get(vote[3], 0) + 1
    return tally
