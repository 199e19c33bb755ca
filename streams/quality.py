"""How surely rows were chosen: overlap, agreement, confidence and golden answers, from what voters said of each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

from schemas.manifest import Quality
from streams.agreement import Sums, alpha, compared, moved, nothing
from streams.rates import Z_SQUARED


class Judged(NamedTuple):
    """What was said of one submission or comparison: live votes by label, those of them on the side of what was decided, what
    that was and why, how surely, and whether a golden answer approves; None where that is not known."""

    labels: dict[str, int]
    agreeing: int
    verdict: str
    because: str
    confidence_permille: int | None
    golden: bool | None


def quality(rows: Iterable[str], judged: Mapping[str, Judged]) -> Quality:
    """Of these rows; `judged` has them and all else of their kind and projects, decided or not."""
    mine = [judged[row] for row in rows if row in judged]
    votes = [sum(one.labels.values()) for one in mine]
    known = [one for one in judged.values() if one.golden is not None and one.verdict in ("approved", "rejected")]
    surely = sorted(one.confidence_permille for one in mine if one.confidence_permille is not None)
    return Quality(
        votes=sum(votes),
        agreeing=sum(one.agreeing for one in mine),
        rows_by_votes=_counts(str(count) for count in sorted(votes)),
        because=_counts(sorted(one.because for one in mine)),
        golden_right=sum((one.verdict == "approved") == one.golden for one in known),
        golden_seen=len(known),
        **_confidence(surely),
        **_agreement([one.labels for one in judged.values()]),
    )


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _confidence(surely: Sequence[int]) -> dict[str, Any]:
    """Mean, half of its 95 % interval (normal), and the lowest tenth's upper end; `surely` is sorted."""
    rows = len(surely)
    if not rows:
        names = ("confidence_permille", "confidence_half_permille", "confidence_low_permille")
        return {"confident_rows": 0} | dict.fromkeys(names)
    mean = sum(surely) / rows
    spread = sqrt(Z_SQUARED * sum((one - mean) ** 2 for one in surely) / (rows - 1) / rows) if rows > 1 else 1_000.0
    return {
        "confident_rows": rows,
        "confidence_permille": round(mean),
        "confidence_half_permille": min(1_000, round(spread)),
        "confidence_low_permille": surely[(rows - 1) // 10],
    }


def _agreement(subjects: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """Krippendorff's alpha and its 95 % interval by the jackknife over subjects (Efron 1979): alpha without each of them once.
    Subjects that were voted on alike are left out alike, so that it takes one alpha for each kind of subject."""
    kinds = Counter(tuple(sorted(labels.items())) for labels in subjects if sum(labels.values()) >= 2)
    sums = nothing()
    for labels, count in kinds.items():
        for _ in range(count):
            moved(sums, {}, dict(labels))
    number, votes = compared(sums)
    whole = alpha(sums)
    said = {"compared": number, "compared_votes": votes, "alpha_milli": None if whole is None else _milli(float(whole))}
    ends = None if whole is None else _jackknife(sums, kinds, float(whole))
    low, high = (None, None) if ends is None else ends
    return said | {"alpha_low_milli": low, "alpha_high_milli": high}


def _jackknife(sums: Sums, kinds: Mapping[tuple[tuple[str, int], ...], int], whole: float) -> tuple[int, int] | None:
    without = list[tuple[float, int]]()
    for labels, count in kinds.items():
        moved(sums, dict(labels), {})
        rest = alpha(sums)
        moved(sums, {}, dict(labels))
        if rest is None:
            return None
        without.append((float(rest), count))
    number = sum(kinds.values())
    mean = sum(rest * count for rest, count in without) / number
    half = sqrt(Z_SQUARED * (number - 1) / number * sum(count * (rest - mean) ** 2 for rest, count in without))
    return _milli(whole - half), _milli(whole + half)


def _milli(value: float) -> int:
    return max(-1_000_000, min(1_000, round(1_000 * value)))
