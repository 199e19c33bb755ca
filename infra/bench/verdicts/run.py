"""Every set under a folder: live, with golden answers, by dynamic overlap, and what other aggregators make of the same votes."""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from infra.bench.peers import environment
from infra.bench.verdicts import peers as others
from infra.bench.verdicts.crowds import Crowd, folders, read
from infra.bench.verdicts.figures import calibration, judged, rounded
from infra.bench.verdicts.means import average, holds
from infra.bench.verdicts.passes import CAP, START, Pass, majority, passed
from infra.settings import Settings
from schemas.words import Model

#: The models that say anything before there are golden answers.
WITHOUT_GOLDEN: tuple[Model, ...] = ("majority", "weighted", "bayesian")

Json = dict[str, Any]
Say = Callable[[str], None]
Answers = dict[str, others.Answer]


@dataclass(frozen=True)
class Options:
    """What a run draws and how often: golden answers (a share of those known, between two numbers) and orders of votes."""

    seed: int = 1
    repeats: int = 3
    golden_share: float = 0.1
    golden_least: int = 100
    golden_most: int = 200
    #: Seconds that one peer may take on one set; 0: no peers.
    peer_seconds: float = 900.0

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.repeats))

    def revealed(self, crowd: Crowd, seed: int) -> frozenset[int]:
        return crowd.revealed(self.golden_share, self.golden_least, self.golden_most, seed)


def measure(settings: Settings, data: Path, names: Sequence[str], options: Options, say: Say) -> Json:
    """All sets under `data`, or those named, on all of this machine's processors. May take hours on large ones."""
    found: dict[str, Crowd] = {}
    left_out: dict[str, str] = {}
    for folder in folders(data, names):
        crowd = read(folder)
        if isinstance(crowd, str):
            left_out[folder.name] = crowd
        else:
            found[folder.name] = crowd
    workers = len(os.sched_getaffinity(0))
    program = environment.python(settings, environment.AGGREGATORS) if options.peer_seconds else None
    # Threads wait for the peers' processes, so that passes and peers share the processors.
    with ProcessPoolExecutor(workers, get_context("spawn")) as passes, ThreadPoolExecutor(workers) as waiting:
        started = [Measured(crowd, options, passes) for crowd in found.values()]
        asked = [_asked(program, crowd, options, waiting, say) for crowd in found.values()]
        sets = {one.crowd.name: one.figures(peer.result(), say) for one, peer in zip(started, asked, strict=True)}
    mean = average(list(sets.values()))
    return {"options": vars(options), "sets": sets, "left_out": left_out, "mean": mean, "holds": holds(sets, mean)}


def _asked(program: Path | None, crowd: Crowd, options: Options, waiting: Executor, say: Say) -> "Future[Answers]":
    if program is None:
        return waiting.submit(dict)
    return waiting.submit(others.answers, program, crowd, options.peer_seconds, say)


class Measured:
    """The passes of one set, begun in other processes."""

    def __init__(self, crowd: Crowd, options: Options, passes: Executor) -> None:
        self.crowd, self.options = crowd, options
        self.golden = {seed: options.revealed(crowd, seed) for seed in options.seeds}
        self.orders = {seed: crowd.shuffled(seed) for seed in options.seeds}
        self._live = passes.submit(passed, crowd)
        self._with_golden = {seed: passes.submit(passed, crowd, tasks) for seed, tasks in self.golden.items()}
        asked = partial(passed, asked_only=True)
        self._dynamic = {seed: passes.submit(asked, order, self.golden[seed]) for seed, order in self.orders.items()}
        first = options.seeds[0]
        self._in_file_order = passes.submit(asked, crowd, self.golden[first])
        self._without_golden = passes.submit(asked, self.orders[first])

    def figures(self, peers: Answers, say: Say) -> Json:
        """Waits for all passes, and says what came out."""
        crowd, live = self.crowd, self._live.result()
        found: Json = {
            "votes": len(crowd.votes),
            "tasks": len(crowd.tasks),
            "workers": len(crowd.workers),
            "labels": len(crowd.labels),
            "gold": len(crowd.gold),
            "f1_of": f"label {crowd.labels[crowd.rare]}" if len(crowd.labels) == 2 else "mean over labels",
            "live": {**judged(crowd, live.models[live.champion].labels, crowd.gold), **_cost(live)},
            "models": {model: judged(crowd, live.models[model].labels, crowd.gold) for model in WITHOUT_GOLDEN},
            "peers": {name: _of_peer(crowd, answer) for name, answer in peers.items()},
        }
        found |= average([self._champion(seed, done.result(), live, peers) for seed, done in self._with_golden.items()])
        dynamic = [_dynamic(self.orders[seed], done.result(), self.golden[seed]) for seed, done in self._dynamic.items()]
        first = self.options.seeds[0]
        found["dynamic"] = {
            **average(dynamic),
            "in_file_order": _dynamic(crowd, self._in_file_order.result(), self.golden[first]),
            "without_golden": _dynamic(self.orders[first], self._without_golden.result(), ()),
        }
        say(f"{crowd.name}: live {found['live']['accuracy']}, champion {found['champion']['accuracy']}")
        return found

    def _champion(self, seed: int, done: Pass, live: Pass, peers: Answers) -> Json:
        """With some answers revealed, judged on the other tasks; all others are judged on these tasks too."""
        crowd, tasks = self.crowd, self.crowd.gold.keys() - self.golden[seed]
        champion, trusted, single = done.models[done.champion], live.models[live.champion], done.models["bayesian"]
        same_tasks: Json = {
            "live": judged(crowd, trusted.labels, tasks),
            "models": {model: judged(crowd, said.labels, tasks) for model, said in done.models.items() if model != "blend"},
            "peers": {name: judged(crowd, one.said, tasks) for name, one in peers.items() if one.said is not None},
        }
        error = {
            "before": rounded(calibration(crowd, single.labels, single.uncalibrated, tasks)),
            "after": rounded(calibration(crowd, champion.labels, champion.confidence, tasks)),
            "live": rounded(calibration(crowd, trusted.labels, trusted.confidence, tasks)),
        }
        about = {"golden_answers": len(self.golden[seed]), "model": done.champion, "on_the_same_tasks": same_tasks}
        return {"champion": {**judged(crowd, champion.labels, tasks), **about}, "ece": error}


def _cost(done: Pass) -> Json:
    return {
        "votes": done.votes,
        "seconds": round(done.seconds, 2),
        "votes_per_second": round(done.votes / done.seconds),
        "facts_per_vote": round(done.facts / max(1, done.votes), 2),
    }


def _of_peer(crowd: Crowd, answer: others.Answer) -> Json:
    if answer.said is None:
        return {"accuracy": None, "f1": None, "seconds": None, "reason": answer.reason}
    return {**judged(crowd, answer.said, crowd.gold), "seconds": answer.seconds}


def _dynamic(crowd: Crowd, done: Pass, revealed: Collection[int]) -> Json:
    """Against the majority of each task's first votes; what is saved is of the votes that this used. Judged on the tasks that
    were not golden: labels by the newest weights, and beside them as they were decided when their votes came in."""
    (fixed, votes), tasks = majority(crowd, CAP), crowd.gold.keys() - set(revealed)
    return {
        **judged(crowd, done.models[done.champion].labels, tasks),
        "as_decided": judged(crowd, done.verdicts, tasks),
        "start": START,
        "cap": CAP,
        "votes_per_task": round(done.votes / len(crowd.tasks), 3),
        "votes_saved": rounded(1 - done.votes / votes),
        "majority_of_cap": {**judged(crowd, fixed, tasks), "votes_per_task": round(votes / len(crowd.tasks), 3)},
    }
