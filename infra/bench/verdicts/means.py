"""Figures over sets: the mean of each, and whether the goals hold."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

#: Votes that dynamic overlap saves against the cap, and accuracy that it gains over the majority of the cap.
SAVED, GAINED = 0.35, 0.02
CALIBRATED = 0.03
#: Where one temperature, fitted on 100 right answers, was seen to reach that.
CALIBRATES = ("rte", "temp", "d_possent", "sp", "sp_amt")


def average(figures: Sequence[Json]) -> Json:
    """The same keys with the mean of what is a number wherever it is there; of what is no number, the first if all agree."""
    keys = list(dict.fromkeys(key for one in figures for key in one))
    found = {key: _average([one[key] for one in figures if key in one]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _average(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, Mapping) for value in known):
        return average(known)
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        mean = sum(known) / len(known)
        return known[0] if all(value == known[0] for value in known) else round(mean, 4)
    return known[0] if known and all(value == known[0] for value in known) else None


def holds(sets: Mapping[str, Json], mean: Json) -> Json:
    """Each goal, true or false; None where there is nothing to compare."""
    dynamic = mean.get("dynamic", {})
    errors = {name: one["ece"]["after"] for name, one in sets.items() if name in CALIBRATES and "ece" in one}
    return {
        "live_at_least_dawid_skene": _live_against(sets, "DawidSkene"),
        "champion_above_every_model": _champion_above(sets),
        "dynamic_saves_35_percent": dynamic["votes_saved"] >= SAVED if dynamic else None,
        "dynamic_gains_2_points": _gain(dynamic) >= GAINED if dynamic else None,
        "calibration_error_at_most_003": all(error <= CALIBRATED for error in errors.values()) if errors else None,
    }


def _gain(dynamic: Json) -> float:
    return float(dynamic["accuracy"] - dynamic["majority_of_cap"]["accuracy"])


def _live_against(sets: Mapping[str, Json], peer: str) -> bool | None:
    pairs = [(one["live"]["accuracy"], one["peers"][peer]["accuracy"]) for one in sets.values() if peer in one["peers"]]
    return _is_above([pair for pair in pairs if None not in pair], strictly=False)


def _champion_above(sets: Mapping[str, Json]) -> bool | None:
    """Above every model's mean and every peer's, each over the sets where that has a figure."""
    rivals: dict[str, list[tuple[float, float]]] = {}
    for one in sets.values():
        others = one["champion"]["on_the_same_tasks"]
        for name, figures in {**others["models"], **others["peers"]}.items():
            if figures["accuracy"] is not None and one["champion"]["accuracy"] is not None:
                rivals.setdefault(name, []).append((one["champion"]["accuracy"], figures["accuracy"]))
    answers = [_is_above(pairs, strictly=True) for pairs in rivals.values()]
    return all(answers) if answers else None


def _is_above(pairs: Sequence[tuple[float, float]], *, strictly: bool) -> bool | None:
    if not pairs:
        return None
    margin = sum(ours - theirs for ours, theirs in pairs)
    return margin > 0 if strictly else margin >= 0
