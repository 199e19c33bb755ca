"""Rankings from comparisons: how much better one item is than another, with intervals, in one batch or one choice at a time.

Computed when it is read, from counts of choices by pair; floats live here, never in state. A strength is in nats: an item
that stands d above another is preferred over it with probability 1 / (1 + exp(-d)), ties aside.
"""

from collections.abc import Iterable, Sequence
from math import erfc, exp, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Model = Literal["bradley-terry", "davidson"]

#: Standard deviation, in nats, of the prior that holds items together which won or lost all that they took part in.
PRIOR_DEVIATION = 1.5
Z_95 = 1.959963984540054
#: Newton's method ends after so many steps, or at a step of this many nats; a step is halved so often.
_STEPS = 200
_STILL = 1e-12
_HALVINGS = 60


class Duel(NamedTuple):
    """How often the first of two items was preferred, how often the second, and how often neither."""

    first: str
    second: str
    wins: int
    losses: int
    ties: int


class Ranked(NamedTuple):
    """One item of a ranking. Strengths are comparable within one `group` only, where their mean is 0.

    `regularised`: no finite strengths fit the group best, since some of it never won against the rest or never lost to it; a weak
    prior then holds it together. `tie_nats` is the group's ln nu, where Davidson's model was fitted to ties.
    """

    item: str
    group: int
    strength: float
    error: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    regularised: bool
    tie_nats: float | None

    @property
    def n(self) -> int:
        return self.wins + self.losses + self.ties


def duels(choices: Iterable[tuple[str, str, str]]) -> tuple[Duel, ...]:
    """Counts by pair of (left, right, choice) with a choice of left, right or tie; each pair in order of its names."""
    counts: dict[tuple[str, str], list[int]] = {}
    for left, right, choice in choices:
        if left == right:
            continue
        pair, swapped = ((left, right), False) if left < right else ((right, left), True)
        place = 2 if choice == "tie" else int((choice == "right") != swapped)
        counts.setdefault(pair, [0, 0, 0])[place] += 1
    return tuple(Duel(*pair, *found) for pair, found in sorted(counts.items()))


# --- in one batch ------------------------------------------------------------------------------


def rank(found: Sequence[Duel], model: Model = "bradley-terry", prior_deviation: float = PRIOR_DEVIATION) -> list[Ranked]:
    """Items by group, and in each from the strongest to the weakest.

    Strengths are the maximum likelihood of Bradley and Terry (1952), a tie counting as half a win for either; or of Davidson
    (1970), who gives ties a likelihood of their own, nu sqrt(p q) beside p and q. Items that no chain of comparisons links are
    ranked apart. Standard errors come from the observed information, relative to the group's mean; intervals are 95 %.
    """
    ranked: list[Ranked] = []
    for number, of_group in enumerate(_groups(found)):
        ranked += _ranked(number, of_group, model, 0.0 if _is_bounded(of_group) else prior_deviation**-2)
    return ranked


def _ranked(group: int, found: Sequence[Duel], model: Model, ridge: float) -> list[Ranked]:
    tallies = _tallies(found)
    data = _Data.of(sorted(tallies), found, ridge, model == "davidson")
    point = _maximum(data)
    strengths = point[: data.size] - point[: data.size].mean()
    tie_nats = float(point[-1]) if data.with_ties else None
    ranked = [
        Ranked(name, group, s, error, s - Z_95 * error, s + Z_95 * error, *tallies[name], ridge > 0, tie_nats)
        for name, s, error in zip(sorted(tallies), strengths.tolist(), _errors(data, point), strict=True)
    ]
    return sorted(ranked, key=lambda one: (-one.strength, one.item))


class _Data(NamedTuple):
    """One group's duels as arrays: places of the items, and counts as floats; and how the strengths are held to 0."""

    size: int
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    won: Floats
    lost: Floats
    tied: Floats
    ridge: float
    with_ties: bool

    @classmethod
    def of(cls, items: Sequence[str], found: Sequence[Duel], ridge: float, davidson: bool) -> "_Data":
        place = {name: at for at, name in enumerate(items)}
        first = np.array([place[duel.first] for duel in found], dtype=np.intp)
        second = np.array([place[duel.second] for duel in found], dtype=np.intp)
        won, lost, tied = (np.array([duel[at] for duel in found], dtype=np.float64) for at in (2, 3, 4))
        # Where all or none are ties, nu has no maximum.
        with_ties = davidson and 0 < tied.sum() < (won + lost + tied).sum()
        return cls(len(items), first, second, won, lost, tied, ridge, bool(with_ties))


def _outcomes(data: _Data, point: Floats) -> tuple[Floats, Floats, Floats]:
    """Of each duel: the mean of (+1 won, -1 lost, 0 tied), P(tie), and the log of the sum of the three weights.

    P(tie) is 0 where a tie counts as half a win each.
    """
    half = (point[data.first] - point[data.second]) / 2
    tie = np.full_like(half, point[-1] if data.with_ties else -np.inf)
    total = np.logaddexp(np.logaddexp(half, -half), tie)
    return np.exp(half - total) - np.exp(-half - total), np.exp(tie - total), total


def _log_likelihood(data: _Data, point: Floats) -> float:
    _, _, total = _outcomes(data, point)
    half = (point[data.first] - point[data.second]) / 2
    said = (data.won - data.lost) * half - (data.won + data.lost + data.tied) * total
    tied = float(data.tied.sum() * point[-1]) if data.with_ties else 0.0
    return float(said.sum()) + tied - 0.5 * data.ridge * float((point[: data.size] ** 2).sum())


def _slope(data: _Data, point: Floats) -> tuple[Floats, Floats]:
    """Gradient and observed information (minus the Hessian); with ties, ln nu comes last."""
    mean, tie, _ = _outcomes(data, point)
    n, (size, one, other) = data.won + data.lost + data.tied, data[:3]
    gradient, information = np.zeros(len(point)), np.zeros((len(point), len(point)))
    surplus, variance = (data.won - data.lost - n * mean) / 2, n * (1 - tie - mean**2) / 4
    for place, sign in ((one, 1), (other, -1)):
        np.add.at(gradient, place, sign * surplus)
        np.add.at(information, (place, place), variance)
    np.add.at(information, (one, other), -variance)
    np.add.at(information, (other, one), -variance)
    if data.with_ties:
        gradient[-1], information[-1, -1] = (data.tied - n * tie).sum(), (n * tie * (1 - tie)).sum()
        for place, sign in ((one, 1), (other, -1)):
            np.add.at(information[-1], place, -sign * n * tie * mean / 2)
        information[:-1, -1] = information[-1, :-1]
    gradient[:size] -= data.ridge * point[:size]
    # Along a shift of all strengths the likelihood is flat: whatever is added there changes no difference.
    information[:size, :size] += data.ridge * np.eye(size) + 1 / size
    return gradient, information


def _maximum(data: _Data) -> Floats:
    """Newton's method with halved steps, on a concave likelihood. Strengths keep their mean at 0."""
    point = np.zeros(data.size + data.with_ties)
    value = _log_likelihood(data, point)
    for _ in range(_STEPS):
        gradient, information = _slope(data, point)
        step = np.asarray(np.linalg.solve(information, gradient), dtype=np.float64)
        if float(np.abs(step).max(initial=0.0)) < _STILL:
            break
        for _ in range(_HALVINGS):
            if (found := _log_likelihood(data, point + step)) >= value:
                break
            step = step / 2
        else:
            break
        point, value = point + step, found
    return point


def _errors(data: _Data, point: Floats) -> list[float]:
    """Standard errors of the strengths less their mean."""
    _, information = _slope(data, point)
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)[: data.size, : data.size]
    return [sqrt(max(0.0, variance)) for variance in np.diag(_centred(covariance)).tolist()]


def _centred(covariance: Floats) -> Floats:
    """The covariance of the same values less their mean."""
    if not covariance.size:
        return covariance
    rows = covariance - covariance.mean(axis=0)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True), dtype=np.float64)


def _tallies(found: Sequence[Duel]) -> dict[str, tuple[int, int, int]]:
    tallies: dict[str, tuple[int, int, int]] = {}
    for first, second, wins, losses, ties in found:
        for name, won, lost in ((first, wins, losses), (second, losses, wins)):
            before = tallies.get(name, (0, 0, 0))
            tallies[name] = (before[0] + won, before[1] + lost, before[2] + ties)
    return tallies


# --- what can be compared ----------------------------------------------------------------------

Edges = dict[str, set[str]]


def _reached(edges: Edges, start: str) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def _groups(found: Sequence[Duel]) -> list[list[Duel]]:
    """Duels by the group of their items, those that some chain of comparisons links; in order of the groups' first names."""
    linked: Edges = {}
    for duel in found:
        linked.setdefault(duel.first, set()).add(duel.second)
        linked.setdefault(duel.second, set()).add(duel.first)
    group: dict[str, int] = {}
    count = 0
    for name in sorted(linked):
        if name not in group:
            group |= dict.fromkeys(_reached(linked, name), count)
            count += 1
    groups: list[list[Duel]] = [[] for _ in range(count)]
    for duel in found:
        groups[group[duel.first]].append(duel)
    return groups


def _is_bounded(found: Sequence[Duel]) -> bool:
    """Whether the maximum is finite: every item beat or tied every other one of its group by some chain (Ford 1957)."""
    beat: Edges = {}
    beaten_by: Edges = {}
    for first, second, won, lost, tied in found:
        for winner, loser, count in ((first, second, won + tied), (second, first, lost + tied)):
            if count:
                beat.setdefault(winner, set()).add(loser)
                beaten_by.setdefault(loser, set()).add(winner)
    items = {name for duel in found for name in duel[:2]}
    start = min(items)
    return _reached(beat, start) == items == _reached(beaten_by, start)


# --- one choice at a time ----------------------------------------------------------------------


class Online:
    """Gaussian strengths that every choice moves, and none is looked at twice (facts/verdicts.md, formula 9).

    The formula has a variance for each item; here the whole covariance is kept, at n^2 steps a choice. So what is learnt of one
    item moves those that it was compared with before, the order of choices matters little, and differences have errors. It
    is an approximation: an item that wins nearly always lags behind. Counts by pair and `rank` are exact at any time.
    """

    def __init__(self, prior_deviation: float = 3.0) -> None:
        """`prior_deviation`: of a strength before any choice, in nats."""
        self._prior = prior_deviation**2
        self._places: dict[str, int] = {}
        self._means: Floats = np.zeros(0)
        self._covariance: Floats = np.zeros((0, 0))

    def take(self, first: str, second: str, score: float, weight: float = 1.0) -> None:
        """`score`: 1 where the first was preferred, 0 where the second, .5 for a tie; `weight`: how much the choice counts."""
        one, other = self._place(first), self._place(second)
        expected = 1 / (1 + exp(float(self._means[other] - self._means[one])))
        shared = self._covariance[:, one] - self._covariance[:, other]
        heat = weight * expected * (1 - expected)
        gain = 1 / (1 + heat * float(shared[one] - shared[other]))
        self._means = self._means + shared * (gain * weight * (score - expected))
        self._covariance = self._covariance - np.outer(shared, shared) * (heat * gain)

    def strengths(self) -> dict[str, tuple[float, float]]:
        """By item: its strength and standard error, each relative to the mean of all."""
        covariance = _centred(self._covariance)
        means = self._means - self._means.mean() if self._places else self._means
        return {name: (float(means[at]), sqrt(max(0.0, covariance[at, at]))) for name, at in sorted(self._places.items())}

    def _place(self, item: str) -> int:
        at = self._places.get(item)
        if at is None:
            at = self._places[item] = len(self._places)
            self._means = np.append(self._means, 0.0)
            self._covariance = np.pad(self._covariance, (0, 1))
            self._covariance[at, at] = self._prior
        return at


# --- which side people choose ------------------------------------------------------------------


class Sides(NamedTuple):
    """How one annotator's choices fall on the two sides, ties aside, and how surely that is no chance."""

    annotator: str
    left: int
    right: int
    ties: int
    left_share: float
    z: float
    p: float


def sides(choices: Iterable[tuple[str, str]]) -> tuple[Sides, ...]:
    """Position bias by annotator of (annotator, choice): z = (left - n / 2) / sqrt(n / 4), with its two-sided p.

    A bias of the side says something only where sides were drawn by chance.
    """
    counts: dict[str, dict[str, int]] = {}
    for annotator, choice in choices:
        row = counts.setdefault(annotator, {"left": 0, "right": 0, "tie": 0})
        row[choice] += 1
    return tuple(_sides(annotator, *row.values()) for annotator, row in sorted(counts.items()))


def _sides(annotator: str, left: int, right: int, ties: int) -> Sides:
    n = left + right
    z = (left - n / 2) / sqrt(n / 4) if n else 0.0
    return Sides(annotator, left, right, ties, left / n if n else 0.5, z, erfc(abs(z) / sqrt(2)))
