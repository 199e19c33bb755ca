"""`assay bench whatif`: a preview and a sweep of twenty values over the load, which workers have handled before.

The load is that of `bench live`; besides, one text of twenty is analysed, and of one of fifty the right label is known. The
ratio is to a plain replay of the same events by as many processes: the fold of the workers and nothing else.
"""

import asyncio
import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

from infra.bench.load import Line, lines, publish
from infra.bench.rig import Say, assay, brokers_of
from infra.history.kafka import KafkaHistory
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.settling import settled
from infra.whatif.preview import Request, asked, preview
from infra.whatif.replaying import Plain, Replay
from infra.whatif.sweep import Point, sweep
from infra.wiring import bootstrap
from schemas.catalogue import TYPE_OF, enveloped
from schemas.events import GoldenAnswerSet, SubmissionAnalysed
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.wire import decode, encode
from schemas.words import EMBEDDING_DIMENSIONS, Frozen

PREVIEW_SECONDS, SWEEP_SECONDS = 5.0, 30.0
VALUES = range(600, 1_000, 20)
ANALYSED, GOLDEN = 20, 50
_RECEIVED = "assay.SubmissionReceived.v2"


def load(events: int, subjects: int, seed: int) -> Iterator[Line]:
    """So many events, with analyses and golden answers among them."""
    chance, number = random.Random(seed), 0
    for line in lines(events, subjects, seed):
        for one in (line, *(_about(line, chance, number) if line[1] == _RECEIVED else ())):
            if number == events:
                return
            yield one
            number += 1


def _about(line: Line, chance: random.Random, number: int) -> Iterator[Line]:
    if chance.randrange(ANALYSED) == 0:
        embedding = b64encode(bytes(chance.randrange(256) for _ in range(EMBEDDING_DIMENSIONS))).decode()
        about: dict[str, Any] = {"model": "bench", "language": "en", "characters": 80, "words": 16}
        yield _line(line, number, SubmissionAnalysed(revision=1, embedding=embedding, **about))
    if chance.randrange(GOLDEN) == 0:
        label = "good" if chance.random() < 0.7 else "bad"
        yield _line(line, number, GoldenAnswerSet(revision=1, label=label, set_by="ed"))


def _line(line: Line, number: int, data: Frozen) -> Line:
    time_ = decode(line[3]).time
    type_ = TYPE_OF[type(data)]
    id_ = event_id(time_, "bench what-if", type_, number)
    return line[0], type_, id_, encode(enveloped(id_, "assay/bench", line[0], time_, data))


async def prepare(settings: Settings, events: int, subjects: int, seed: int, say: Say) -> None:
    """Write the load, and let a worker handle it: a preview is checked against what production said."""
    brokers = brokers_of(settings)
    await ensure_topics(brokers, settings)
    say(f"writing {events:,} events")
    await publish(brokers, settings.kafka.partitions, load(events, subjects, seed))
    say("a worker handles them")
    async with assay(settings, "worker", name="worker"):
        await settled(brokers, [settings.worker], lambda _: None)


def measure(settings: Settings, events: int, say: Say) -> dict[str, Any]:
    """Seconds of a preview, of a sweep and of the plain replay; the load must have been handled."""
    proposed = Policy(approve_confidence_permille=950, overlap_max=4)
    say("a plain replay")
    plain = _seconds(lambda: _plainly(settings))
    say("a preview")
    made: dict[str, Any] = {}
    taken = _seconds(lambda: made.update(preview(settings, Request("bench", proposed, cache=False)).said))
    say(f"a sweep of {len(VALUES)} values")
    points = [Point(value, Request("bench", Policy(approve_confidence_permille=value))) for value in VALUES]
    swept: dict[str, Any] = {}
    sweeping = _seconds(lambda: swept.update(sweep(settings, "approve_confidence_permille", points)))
    control = made["control"]
    return {
        "holds": bool(control["holds"]) and taken < PREVIEW_SECONDS and sweeping < SWEEP_SECONDS,
        "events": made["events"],
        "preview_seconds": round(taken, 3),
        "sweep_seconds": round(sweeping, 3),
        "sweep_values": len(swept["points"]),
        "plain_replay_seconds": round(plain, 3),
        "ratio_to_replay": round(taken / plain, 3),
        "sweep_ratio_to_replay": round(sweeping / plain, 3),
        "bars": {"preview_seconds": PREVIEW_SECONDS, "sweep_seconds": SWEEP_SECONDS},
        "verdicts_reproduced": [control["reproduced"], control["expected"]],
        "flips": made["flips"]["total"],
        "undetermined": made["undetermined"]["subjects"],
        "people": len(made["people"]),
        "slices": len(made["slices"]),
    }


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _plainly(settings: Settings) -> None:
    """The same records through the fold of the workers, by as many processes."""
    history = KafkaHistory(bootstrap(settings))
    about = asyncio.run(asked(settings, history, Request("bench", Policy())))
    with Replay(Plain(history, about.windows)) as replay:
        replay.found(None)
