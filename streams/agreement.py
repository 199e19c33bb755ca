"""Krippendorff's alpha for labels, running: exact integers by slice, mergeable, and taken back as exactly as added.

A subject with m >= 2 live votes, of which x_c say label c, adds sum x_c (x_c - 1) / (m - 1) to the observed agreement and x_c to
n_c; then alpha = 1 - (N - 1)(N - sum o_cc) / (N^2 - sum n_c^2) (Krippendorff 2011). The division by m - 1 waits until it is
read: kept are, for each m, the sums of x_c (x_c - 1).

Whoever knows a subject's votes calls `moved` with its counts before and after each change: `assay annotators agreement` once for
each of review's state rows. A fold may keep a slice's sums as a shared row, since they are JSON, under a key such as
`~agreement <project>/<slice>`, and drop it when `moved` returns False. Partitions and slices add up with `merged`.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TypedDict

#: Label -> how many live votes on one subject say so. An empty mapping is a subject without any.
Counts = Mapping[str, int]


class Sums(TypedDict):
    """`labels`: label -> votes on subjects that have at least two. `same`: number m of votes on a subject, as text -> the sum
    over such subjects of x_c (x_c - 1). `subjects`: m, as text -> how many there are."""

    labels: dict[str, int]
    same: dict[str, int]
    subjects: dict[str, int]


def nothing() -> Sums:
    return {"labels": {}, "same": {}, "subjects": {}}


def moved(sums: Sums, before: Counts, after: Counts) -> bool:
    """One subject's live votes were `before` and are `after`. False where nothing is left that the sums could say."""
    had, has = sum(before.values()), sum(after.values())
    if had >= 2:
        _count(sums, before, had, -1)
    if has >= 2:
        _count(sums, after, has, 1)
    return bool(sums["subjects"])


def _count(sums: Sums, counts: Counts, votes: int, sign: int) -> None:
    same = 0
    for label, count in counts.items():
        same += count * (count - 1)
        _add(sums["labels"], label, sign * count)
    number = str(votes)
    _add(sums["same"], number, sign * same)
    _add(sums["subjects"], number, sign)


def _add(totals: dict[str, int], key: str, change: int) -> None:
    total = totals.get(key, 0) + change
    if total:
        totals[key] = total
    else:
        # What was all taken back was never there.
        totals.pop(key, None)


def merged(parts: Iterable[Sums]) -> Sums:
    """The sums of several slices, or of one slice in several partitions."""
    whole = nothing()
    for part in parts:
        for name in ("labels", "same", "subjects"):
            for key, change in part[name].items():
                _add(whole[name], key, change)
    return whole


def compared(sums: Sums) -> tuple[int, int]:
    """(subjects, votes) that alpha rests on: those with at least two votes."""
    return sum(sums["subjects"].values()), sum(sums["labels"].values())


def alpha(sums: Sums) -> Fraction | None:
    """Exactly; None where nothing is compared, or nobody ever said but one label: then there is no chance to agree by."""
    votes = sum(sums["labels"].values())
    expected = votes * votes - sum(count * count for count in sums["labels"].values())
    if not expected:
        return None
    observed = sum((Fraction(same, int(number) - 1) for number, same in sums["same"].items()), Fraction(0))
    return 1 - (votes - 1) * (votes - observed) / expected
