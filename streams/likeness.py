"""How alike two people vote: agreement above what chance brings, given how right each of them is.

Two voters who are right with p and q agree by chance with e = p q + (1 - p)(1 - q) / (K - 1) of n shared subjects; then
z = (same - n e) / sqrt(n e (1 - e)). A pair says something from `MIN_SHARED` shared subjects, and beyond the z that chance
would not bring any of the project's pairs (Bonferroni). Two who always say the same label agree too, and copied nothing: so a
second z takes e from both confusion rows, and tells what their habits do not explain. What is right is a golden answer, or else
what the others say, these two left out, where it leads by `MIN_LEAD` votes: a guess at what is right would make honest people
seem worse than they are, and so too much alike.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, islice
from math import sqrt
from statistics import NormalDist, median
from typing import NamedTuple

from streams.rules import MIN_SHARED

#: Subject -> voter -> label.
Votes = Mapping[str, Mapping[str, str]]
#: The chance that any pair passes the bound where nobody copies.
FALSE_ALARM = 0.05
#: Subjects whose right label is known, without which a voter's accuracy is a guess.
MIN_KNOWN = 10
#: Votes by which others must agree on what is right.
MIN_LEAD = 2
#: Added to each cell of a confusion row: a row of few votes is no certainty.
PRIOR = 0.5
MAX_EVIDENCE = 20

#: (right label, label said) -> how often.
Confusion = Counter[tuple[str, str]]


class Pair(NamedTuple):
    """Two people's likeness. `expected` and `z` go by their accuracies; `habits_expected` and `habits_z` by confusion rows."""

    one: str
    other: str
    shared: int
    same: int
    expected: float
    z: float
    habits_expected: float
    habits_z: float
    rows: tuple[Confusion, Confusion]
    subjects: tuple[str, ...]

    def kind(self, bar: float) -> str:
        """What a likeness beyond the bar is: `constant` where each one's habits explain it, else `duplicate`.

        The bar is the policy's, or the bound by Bonferroni where that is higher: without golden answers nobody knows quite how
        right people are, and the bound alone would call honest people alike."""
        return "independent" if self.z <= bar else "duplicate" if self.habits_z > bar else "constant"


def bonferroni(pairs: int) -> float:
    """The z beyond which chance brings any of so many pairs with a probability of `FALSE_ALARM`."""
    return NormalDist().inv_cdf(1 - FALSE_ALARM / max(1, pairs))


def median_milliseconds(durations: Iterable[int]) -> int | None:
    """A project's pace; None without any."""
    found = list(durations)
    return round(median(found)) if found else None


def pairs(votes: Votes, golden: Mapping[str, str]) -> list[Pair]:
    """Every pair with enough in common, most alike first. Time and memory grow with the pairs of votes on each subject."""
    seen = _Crowd(votes, golden)
    found = [seen.pair(one, other, subjects) for (one, other), subjects in seen.shared() if len(subjects) >= MIN_SHARED]
    return sorted((pair for pair in found if pair is not None), key=lambda pair: (-pair.z, pair.one, pair.other))


class _Crowd:
    """All votes, and how right each voter is by the golden answers and by the others' votes."""

    def __init__(self, votes: Votes, golden: Mapping[str, str]) -> None:
        self.votes, self.golden = votes, golden
        self.labels = sorted({label for said in votes.values() for label in said.values()})
        self.counts = {subject: Counter(said.values()) for subject, said in votes.items()}
        self.confusion: dict[str, Confusion] = {}
        for subject, said in votes.items():
            for voter, label in said.items():
                right = self.right(subject, voter)
                if right is not None:
                    self.confusion.setdefault(voter, Counter())[right, label] += 1

    def shared(self) -> Iterable[tuple[tuple[str, str], list[str]]]:
        found: dict[tuple[str, str], list[str]] = {}
        for subject in sorted(self.votes):
            for pair in combinations(sorted(self.votes[subject]), 2):
                found.setdefault(pair, []).append(subject)
        return found.items()

    def right(self, subject: str, *without: str) -> str | None:
        """The golden answer, or what the others say; None where they differ too much."""
        if subject in self.golden:
            return self.golden[subject]
        others = self.counts[subject].copy()
        others.subtract(self.votes[subject][voter] for voter in without)
        (label, most), *rest = others.most_common(2)
        return label if most - (rest[0][1] if rest else 0) >= MIN_LEAD else None

    def pair(self, one: str, other: str, subjects: list[str]) -> Pair | None:
        """None where too little is known of how right either is, or one of them cannot differ by chance."""
        both = {subject: self.right(subject, one, other) for subject in subjects}
        rows = (self._without(one, both), self._without(other, both))
        if min(row.total() for row in rows) < MIN_KNOWN:
            return None
        same = sum(self.votes[subject][one] == self.votes[subject][other] for subject in subjects)
        accuracies = [(sum(_right(row)) + PRIOR) / (row.total() + 2 * PRIOR) for row in rows]
        expected = self._by_accuracy(*accuracies)
        by_habit = [self._by_habits(rows, right, expected) for right in both.values()]
        habits = sum(by_habit) / len(subjects)
        z, habits_z = _z(same, [expected] * len(subjects)), _z(same, by_habit)
        alike = self._evidence(one, other, subjects)
        return Pair(one, other, len(subjects), same, expected, z, habits, habits_z, rows, alike)

    def _evidence(self, one: str, other: str, subjects: list[str]) -> tuple[str, ...]:
        """What both said the same of; not where a golden answer is known, of which nobody should learn."""
        votes = self.votes
        alike = (subject for subject in subjects if votes[subject][one] == votes[subject][other] and subject not in self.golden)
        return tuple(islice(alike, MAX_EVIDENCE))

    def _without(self, voter: str, both: Mapping[str, str | None]) -> Confusion:
        """The voter's confusion, with what is right on shared subjects by those who are not of the pair."""
        row = self.confusion.get(voter, Counter()).copy()
        for subject, right in both.items():
            label, known = self.votes[subject][voter], self.right(subject, voter)
            if known is not None:
                row[known, label] -= 1
            if right is not None:
                row[right, label] += 1
        return row

    def _by_accuracy(self, one: float, other: float) -> float:
        return one * other + (1 - one) * (1 - other) / max(1, len(self.labels) - 1)

    def _by_habits(self, rows: tuple[Confusion, Confusion], right: str | None, otherwise: float) -> float:
        """The chance that both say the same where this is right."""
        if right is None:
            return otherwise
        one, other = ([row[right, label] + PRIOR for label in self.labels] for row in rows)
        return sum(a * b for a, b in zip(one, other, strict=True)) / (sum(one) * sum(other))


def _right(row: Confusion) -> Iterator[int]:
    return (count for (right, label), count in row.items() if right == label)


def _z(same: int, chances: list[float]) -> float:
    variance = sum(chance * (1 - chance) for chance in chances)
    return (same - sum(chances)) / sqrt(variance) if variance else 0.0


def row_shares(row: Confusion) -> dict[str, dict[str, float]]:
    """Right label -> label said -> share, for reading."""
    totals: Counter[str] = Counter()
    for (right, _), count in row.items():
        totals[right] += count
    shares: dict[str, dict[str, float]] = {}
    for (right, label), count in sorted(row.items()):
        if count:
            shares.setdefault(right, {})[label] = round(count / totals[right], 3)
    return shares
