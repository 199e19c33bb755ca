"""Real choices through the real fold in memory: agreement with the majority, and rankings beside references.

A set is a folder with `votes.csv` (task, worker, label: 1 or left, 2 or right, 0 or tie) and, to say what each task compares,
either PandaLM's JSON list or an `items.csv` (task, left, right).
"""

import csv
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from infra.errors import AssayError
from infra.importing.facts import Moment, Options, annotator, identifier, imported
from schemas.events import ComparisonOffered, PreferenceCast
from schemas.wire import encode
from schemas.words import Choice, Frozen
from streams.preferences import Comparison, comparisons
from streams.projection import record_of
from streams.rankings import Duel, Online, Ranked, duels, rank, sides
from streams.review import REVIEW

CHOICES: dict[str, Choice] = {"0": "tie", "1": "left", "2": "right", "tie": "tie", "left": "left", "right": "right"}
SCORE: dict[Choice, float] = {"left": 1.0, "right": 0.0, "tie": 0.5}
SOURCE = "assay/bench/preferences"

#: The bar of each figure that has one, and whether it is a floor or a ceiling.
BARS = {
    "agreement": (0.95, "least"),
    "bradley_terry_difference": (1e-6, "most"),
    "online_tau": (1.0, "least"),
    "online_error": (0.03, "most"),
}


class Vote(NamedTuple):
    task: str
    worker: str
    choice: Choice


class Set(NamedTuple):
    """What was asked (task -> the two items compared) and what people chose, in order."""

    pairs: dict[str, tuple[str, str]]
    votes: list[Vote]


def measure(data: Path, orders: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every set under the folder, or the folder itself. Raises AssayError where there is none."""
    folders = [folder for folder in (data, *sorted(data.glob("*/"))) if (folder / "votes.csv").is_file()]
    sets = {folder.name: found for folder in folders if (found := read(folder)) is not None}
    if not sets:
        hint = "a set is a folder with votes.csv (task,worker,label) and PandaLM's JSON or items.csv (task,left,right)"
        raise AssayError("no set of comparisons here", where=data, hint=hint)
    measured: dict[str, Any] = {}
    for name, found in sets.items():
        say(f"{name}: {len(found.votes)} choices on {len(found.pairs)} comparisons")
        measured[name] = of_set(name, found, orders, seed)
    return {"sets": measured, "bars": BARS, "holds": all(one["holds"] for one in measured.values())}


# --- reading -----------------------------------------------------------------------------------


def read(folder: Path) -> Set | None:
    """The set in this folder; None where nothing says what was compared, as in sets of other votes."""
    pairs = _pairs(folder)
    if not pairs:
        return None
    with (folder / "votes.csv").open(encoding="utf-8", newline="") as file:
        votes = [Vote(row["task"], row["worker"], CHOICES[row["label"]]) for row in csv.DictReader(file) if row["task"] in pairs]
    return Set(pairs, votes)


def _pairs(folder: Path) -> dict[str, tuple[str, str]]:
    items = folder / "items.csv"
    if items.is_file():
        with items.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {row["task"]: (row["left"], row["right"]) for row in rows if {"task", "left", "right"} <= row.keys()}
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.glob("*.json")):
        listed = orjson.loads(path.read_bytes())
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and {"idx", "cmp_key"} <= one.keys():
                left, _, right = str(one["cmp_key"]).partition("_")
                found[str(one["idx"])] = left, right
    return found


# --- one set -----------------------------------------------------------------------------------


def of_set(name: str, found: Set, orders: int, seed: int) -> dict[str, Any]:
    begun = time.perf_counter()
    folded = fold(name, found)
    seconds = time.perf_counter() - begun
    choices = [(*found.pairs[vote.task], vote.choice) for vote in found.votes]
    counted = duels(choices)
    ranked = rank(counted)
    online = _online(choices, {one.item: one.strength for one in ranked}, orders, seed)
    figures = {
        "comparisons": len(found.pairs),
        "choices": len(found.votes),
        "annotators": len({vote.worker for vote in found.votes}),
        "fold_seconds": round(seconds, 3),
        "choices_per_second": round(len(found.votes) / seconds),
        **_outcomes(folded),
        **_agreement(found, folded),
        "bradley_terry_difference": difference(counted, ranked),
        **online,
        "ranking": {one.item: _strength(one) for one in ranked},
        "davidson": {one.item: _strength(one) for one in rank(counted, "davidson")},
        "position": {one.annotator: _position(one) for one in sides((vote.worker, vote.choice) for vote in found.votes)},
    }
    missed = [bar for bar, (limit, kind) in BARS.items() if not _within(figures[bar], limit, kind)]
    return {**figures, "missed": missed, "holds": not missed}


def _within(figure: float, limit: float, kind: str) -> bool:
    return figure >= limit if kind == "least" else figure <= limit


def fold(name: str, found: Set) -> dict[str, Comparison]:
    """Every comparison by task, after its choices went as bytes through decoding and the fold."""
    state = REVIEW.empty()
    for offset, value in enumerate(_events(name, found)):
        state = REVIEW.apply(state, record_of(0, offset, value)).state
    by_subject = dict(comparisons(state))
    return {task: by_subject[identifier(name, task)] for task in found.pairs}


def _events(name: str, found: Set) -> Iterator[bytes]:
    options = Options(name)

    def event(number: int, task: str, data: Frozen) -> bytes:
        moment = Moment(number, options.moment(number))
        return encode(imported(moment, SOURCE, identifier(name, task), data, number).event)

    for number, (task, (left, right)) in enumerate(found.pairs.items()):
        names = {"prompt": f"{task}-prompt", "left": f"{left}-{task}-left", "right": f"{right}-{task}-right"}
        subjects = {side: identifier(name, one) for side, one in names.items()}
        yield event(number, task, ComparisonOffered(project=name, slice=options.slice, **subjects))
    for number, vote in enumerate(found.votes, len(found.pairs)):
        yield event(number, vote.task, PreferenceCast(annotator=annotator(vote.worker), choice=vote.choice))


def _outcomes(folded: dict[str, Comparison]) -> dict[str, Any]:
    """Shares of all comparisons, by what became of them."""
    counts = Counter(_outcome(row) for row in folded.values())
    return {"outcomes": {name: round(count / len(folded), 4) for name, count in sorted(counts.items())}}


def _outcome(row: Comparison) -> str:
    if row.decision is None:
        return "open"
    return row.decision.choice if row.decision.settled_by == "overall" else f"{row.decision.choice} by {row.decision.settled_by}"


def _agreement(found: Set, folded: dict[str, Comparison]) -> dict[str, Any]:
    """Of the comparisons where more than half of all who chose chose alike: how often Assay chose that, too."""
    chosen: dict[str, dict[str, Choice]] = {}
    for vote in found.votes:
        chosen.setdefault(vote.task, {})[vote.worker] = vote.choice
    alike = total = 0
    for task, by_worker in chosen.items():
        choice, count = Counter(by_worker.values()).most_common(1)[0]
        if len(by_worker) > 1 and 2 * count > len(by_worker):
            decision = folded[task].decision
            total += 1
            alike += decision is not None and decision.choice == choice
    return {"with_majority": total, "agreement": round(alike / max(1, total), 4)}


def _strength(one: Ranked) -> dict[str, Any]:
    numbers = {name: round(getattr(one, name), 4) for name in ("strength", "error", "low", "high")}
    about = {name: getattr(one, name) for name in ("wins", "losses", "ties", "n", "group", "regularised")}
    return numbers | about | ({} if one.tie_nats is None else {"tie_nats": round(one.tie_nats, 4)})


def _position(one: Any) -> dict[str, Any]:
    return {"left": one.left, "right": one.right, "ties": one.ties, "left_share": round(one.left_share, 4), "z": round(one.z, 2)}


# --- references --------------------------------------------------------------------------------


def difference(counted: Sequence[Duel], ranked: Sequence[Ranked]) -> float:
    """The largest difference of a strength from a logistic regression by statsmodels, over groups with a finite maximum.

    Bradley and Terry's model is that regression on who stands on which side. Each row is a pair, with half a win for a tie.
    """
    largest = 0.0
    for group in sorted({one.group for one in ranked if not one.regularised}):
        ours = {one.item: one.strength for one in ranked if one.group == group}
        theirs = logistic_regression([duel for duel in counted if duel.first in ours], sorted(ours))
        largest = max(largest, *(abs(ours[item] - strength) for item, strength in theirs.items()))
    return largest


def logistic_regression(counted: Sequence[Duel], items: Sequence[str]) -> dict[str, float]:
    """Strengths less their mean; the last item's is 0 in the regression."""
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    design = np.zeros((len(counted), len(items)))
    for at, duel in enumerate(counted):
        design[at, items.index(duel.first)], design[at, items.index(duel.second)] = 1, -1
    halves = np.array([[duel.wins + duel.ties / 2, duel.losses + duel.ties / 2] for duel in counted])
    with warnings.catch_warnings():
        # An exact fit is no separation, and where there are as many pairs as strengths nothing is left to be off by.
        warnings.simplefilter("ignore")
        fitted = GLM(halves, design[:, :-1], family=Binomial()).fit(tol=1e-14, maxiter=200)
    strengths = np.append(np.asarray(fitted.params), 0.0)
    return dict(zip(items, (strengths - strengths.mean()).tolist(), strict=True))


def _online(choices: Sequence[tuple[str, str, Choice]], batch: dict[str, float], orders: int, seed: int) -> dict[str, Any]:
    """The worst of these many random orders: Kendall's tau with the batch, and the largest difference of a strength."""
    from scipy.stats import kendalltau

    taus, errors = [], []
    for order in range(orders):
        shuffled = list(choices)
        random.Random(seed + order).shuffle(shuffled)
        online = Online()
        for left, right, choice in shuffled:
            online.take(left, right, SCORE[choice])
        found = {item: strength for item, (strength, _) in online.strengths().items()}
        taus.append(float(kendalltau([found[item] for item in batch], list(batch.values())).statistic))
        errors.append(max(abs(found[item] - strength) for item, strength in batch.items()))
    return {"online_orders": orders, "online_tau": round(min(taus), 4), "online_error": round(max(errors), 4)}
