"""Krippendorff's alpha for labels, running: exact integers by slice, mergeable, and subtracted as exactly as added.

A subject with m >= 2 live votes, of which x_c say label c, adds sum x_c (x_c - 1) / (m - 1) to the observed agreement and x_c to
n_c; then alpha = 1 - (N - 1)(N - sum o_cc) / (N^2 - sum n_c^2) (Krippendorff 2011). The division by m - 1 waits until it is
read: kept are, for each m, the sums of x_c (x_c - 1).

A fold that knows a subject's votes calls `moved` with the counts of labels before and after each change, and keeps the
`Agreements` in its control state with `pack` and `unpack`; partitions and slices are added up with `merged`.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

#: Label -> how many live votes on one subject say so.
Counts = Mapping[str, int]


class Agreement:
    """The sums of one slice."""

    __slots__ = ("labels", "pairs")

    def __init__(self) -> None:
        #: Label -> votes on subjects that have at least two.
        self.labels: dict[str, int] = {}
        #: Number of votes on a subject -> the sum over such subjects of x_c (x_c - 1).
        self.pairs: dict[int, int] = {}

    def count(self, counts: Counts, votes: int, sign: int) -> None:
        """Add (1) or take back (-1) one subject with so many votes in all."""
        labels, same = self.labels, 0
        for label, count in counts.items():
            labels[label] = labels.get(label, 0) + sign * count
            same += count * (count - 1)
        self.pairs[votes] = self.pairs.get(votes, 0) + sign * same

    @property
    def votes(self) -> int:
        """Votes that were compared: those on subjects with at least two."""
        return sum(self.labels.values())

    def alpha(self) -> Fraction | None:
        """Exactly; None where nothing is compared, or nobody ever said but one label: then there is no chance to agree by."""
        votes = self.votes
        expected = votes * votes - sum(count * count for count in self.labels.values())
        if not expected:
            return None
        observed = sum((Fraction(same, number - 1) for number, same in self.pairs.items()), Fraction(0))
        return 1 - (votes - 1) * (votes - observed) / expected


class Agreements:
    """Every slice's sums, by `<project>/<slice>`."""

    __slots__ = ("by_slice",)

    def __init__(self) -> None:
        self.by_slice: dict[str, Agreement] = {}

    def moved(self, slice_: str, before: Counts, after: Counts) -> None:
        """One subject's live votes were `before` and are `after`; an empty mapping is a subject without any."""
        had, has = sum(before.values()), sum(after.values())
        if had < 2 and has < 2:
            return
        sums = self.by_slice.get(slice_)
        if sums is None:
            sums = self.by_slice[slice_] = Agreement()
        if had >= 2:
            sums.count(before, had, -1)
        if has >= 2:
            sums.count(after, has, 1)

    def pack(self) -> dict[str, Any]:
        """What JSON can hold; what came to nothing is left out, so that taking back equals never saying."""
        packed: dict[str, Any] = {}
        for slice_, sums in sorted(self.by_slice.items()):
            labels = {label: count for label, count in sorted(sums.labels.items()) if count}
            if labels:
                packed[slice_] = [labels, {str(number): same for number, same in sorted(sums.pairs.items()) if same}]
        return packed


def unpack(packed: Mapping[str, Any]) -> Agreements:
    """The Agreements that were packed."""
    made = Agreements()
    for slice_, (labels, pairs) in packed.items():
        sums = made.by_slice[slice_] = Agreement()
        sums.labels = dict(labels)
        sums.pairs = {int(number): same for number, same in pairs.items()}
    return made


def merged(parts: Iterable[Agreement]) -> Agreement:
    """The sums of several slices, or of one slice in several partitions."""
    whole = Agreement()
    for part in parts:
        for label, count in part.labels.items():
            whole.labels[label] = whole.labels.get(label, 0) + count
        for number, same in part.pairs.items():
            whole.pairs[number] = whole.pairs.get(number, 0) + same
    return whole
