"""Skills of a load's voters, as control records between its events."""

import random
from datetime import timedelta

import numpy as np

from agents.publishing import Publisher, fact_headers
from infra.bench.load import START, VOTERS, Between
from schemas.catalogue import TYPE_OF, enveloped
from schemas.events import SkillsEstimated
from schemas.identity import event_id
from schemas.topics import EVENTS
from schemas.wire import encode
from streams.models import one_coin
from streams.skills import Estimate, Subject, control_records

#: Events between two estimates: at the rates that are measured, some ten seconds.
STRETCH = 250_000
LABELS = ("good", "bad")


def estimates(events: int) -> int:
    """How many versions stand among so many events: one before each stretch."""
    return -(-events // STRETCH)


def skills(version: int, seed: int) -> SkillsEstimated:
    """Every voter's weights, from accuracies of .6 to .95 that move a little from version to version."""
    chance, drift = random.Random(seed), random.Random(f"{seed} {version}")
    accuracy = np.array([0.6 + 0.35 * chance.random() + 0.02 * (drift.random() - 0.5) for _ in range(VOTERS)])
    matrices = np.rint(one_coin(accuracy, 2) * 1000).astype(np.int64).reshape(VOTERS, 4).tolist()
    weights = {f"v-{number}": tuple(matrix) for number, matrix in enumerate(matrices)}
    one = Estimate("bayesian", True, LABELS, (-357, -1204), (-223, -1609, -1609, -223), weights, 1_000, 200, 0, None)
    (record,) = control_records(Subject("bench", "review"), version, one, weights)
    return record


def between(partitions: int, seed: int) -> Between:
    """For `load.publish`: a copy of the next version in every partition, before each stretch."""

    def add(publisher: Publisher, number: int) -> None:
        if number % STRETCH == 0:
            _add(publisher, partitions, number // STRETCH + 1, seed)

    return add


def _add(publisher: Publisher, partitions: int, version: int, seed: int) -> None:
    type_, time = TYPE_OF[SkillsEstimated], START + timedelta(milliseconds=version)
    id_ = event_id(time, "bench", "skills", seed, version)
    value = encode(enveloped(id_, "assay/bench", "bench", time, skills(version, seed)))
    for partition in range(partitions):
        publisher.add((EVENTS.name, partition), b"bench", value, 1, fact_headers(id_, type_))
