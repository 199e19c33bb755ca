"""What is counted of one person in one project: sums, counts by hour, confusion, and the last few pieces of work.

Integers and names only, in the shape in which they are stored, so that packing a row costs nearly nothing. Taking a
judgement back subtracts what it added, and takes it out of the windows where it still stands.
"""

from collections.abc import Mapping
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
#: Outcome -> its column among an hour's counts, its rate, whether it counts against the person, and its window.
_MEANS = {
    name: (HOURLY.index(name) + 1, rate, int(name in _AGAINST), {"rejection": "texts", "disagreement": "votes"}.get(rate, rate))
    for name, rate in (_AGAINST | _FOR).items()
}


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
        #: The last decided texts, judged votes and golden answers; `labels` has the labels of `votes`.
        self.texts: Window = []
        self.votes: Window = []
        self.golden: Window = []
        self.labels: list[str | None] = []
        #: Rule -> [hour, against, total]: after a flag expired its rule counts work from this hour on only.
        self.since: dict[str, list[int]] = {}
        #: Rule -> [action, hour raised, hour in which it goes or None].
        self.flags: dict[str, list[Any]] = {}
        #: Other person -> what was measured last; see streams/rules.py.
        self.alike: dict[str, list[Any]] = {}


#: Each of a voter's votes comes once under one of these, whether or not there is a golden answer besides.
_TIMED = ("agreed", "disagreed", "credited")


def is_complete(data: JudgementScored) -> bool:
    """A vote is judged by its label and by what is right; review never derives it without, but the schema allows it."""
    return (data.label is not None and data.truth is not None) or data.outcome not in _OF_VOTES


_OF_VOTES = (*_TIMED, "golden_right", "golden_wrong")


def add(tally: Tally, data: JudgementScored, recent: int) -> None:
    """Count one judgement. `recent`: how many texts and votes the windows hold.

    Nearly every record of the topic comes here, so that what is done for all of them stands in one place."""
    outcome = data.outcome
    tally.counts[outcome] += 1
    if outcome in _TIMED:
        _time_and_confusion(tally, data, 1)
    means = _MEANS.get(outcome)
    if means is None:
        return
    place, rate, against, name = means
    hour = data.hour
    counted = tally.hours.get(hour) or _new_hour(tally, hour)
    counted[place] += 1
    if tally.since:
        _count_since(tally, rate, against, data)
    label, origin, milliseconds = data.label, data.origin, data.duration_milliseconds
    if rate == "disagreement":
        tally.labels.append(label)
    elif rate == "golden":
        _confuse(tally.golden_confusion, {data.truth: 1}, label, 1)
    window: Window = getattr(tally, name)
    window.append(
        (data.submission, data.revision, against, label, data.truth, milliseconds, hour, origin.partition, origin.offset)
    )
    if len(window) > recent:
        trim(tally, recent)


def take_back(tally: Tally, data: JudgementScored) -> None:
    """Subtract what the same judgement once added."""
    outcome = data.outcome
    tally.counts[outcome] -= 1
    if outcome in _TIMED:
        _time_and_confusion(tally, data, -1)
    means = _MEANS.get(outcome)
    if means is None:
        return
    place, rate, against, name = means
    _uncount_hour(tally, data.hour, place)
    if tally.since:
        _count_since(tally, rate, against, data)
    if rate == "golden":
        _confuse(tally.golden_confusion, {data.truth: 1}, data.label, -1)
    _take_out(tally, name, data)


def _time_and_confusion(tally: Tally, data: JudgementScored, sign: int) -> None:
    credits, milliseconds = data.credits_permille, data.duration_milliseconds
    if credits is not None:
        _confuse(tally.confusion, credits, data.label, sign)
    if milliseconds is not None:
        counts = tally.counts
        counts["timed_votes"] += sign
        counts["milliseconds"] += sign * milliseconds


def _confuse(confusion: Confusion, credits: Mapping[Any, int], label: Any, sign: int) -> None:
    for truth, credit in credits.items():
        try:
            row = confusion[truth]
            count = row[label] = row[label] + sign * credit
        except KeyError:
            row = confusion.setdefault(truth, {})
            count = row[label] = sign * credit
        if not count:
            # What was all taken back was never there.
            del row[label]
            if not row:
                del confusion[truth]


def _new_hour(tally: Tally, hour: int) -> list[int]:
    counted = [hour, *_NO_COUNTS]
    if hour >= tally.hours_from:
        tally.hours[hour] = counted
        if len(tally.hours) > MAX_HOURS:
            oldest = min(tally.hours)
            tally.hours_from = oldest + 1
            del tally.hours[oldest]
    return counted


_NO_COUNTS = [0] * len(HOURLY)


def _uncount_hour(tally: Tally, hour: int, place: int) -> None:
    counted = tally.hours.get(hour)
    if counted is not None:
        counted[place] -= 1
        if counted[1:] == _NO_COUNTS:
            del tally.hours[hour]


def _count_since(tally: Tally, rate: str, against: int, data: JudgementScored) -> None:
    since = tally.since.get(rate)
    if since is not None and data.hour >= since[0]:
        since[1] += data.change * against
        since[2] += data.change


def trim(tally: Tally, recent: int) -> bool:
    """Let go of the oldest beyond so many; whether there were any."""
    votes, texts, golden = len(tally.votes) - recent, len(tally.texts) - recent, len(tally.golden) - MAX_GOLDEN
    if votes > 0:
        del tally.votes[:votes], tally.labels[:votes]
    if texts > 0:
        del tally.texts[:texts]
    if golden > 0:
        del tally.golden[:golden]
    return votes > 0 or texts > 0 or golden > 0


def _take_out(tally: Tally, name: str, data: JudgementScored) -> None:
    window: Window = getattr(tally, name)
    for place in range(len(window) - 1, -1, -1):
        if window[place][0] == data.submission and window[place][1] == data.revision:
            del window[place]
            if name == "votes":
                del tally.labels[place]
            return


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
    tally.labels = [vote[3] for vote in tally.votes]
    return tally
