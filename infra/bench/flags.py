"""`assay bench flags`: simulated voters answer golden tasks; the real fold says whom the policy restricts, and when.

Every voter is right with a fixed probability, and is looked at after each answer until a flag rises. The false alarms are those
at the accuracy that a good voter has. `tests/streams/test_rules.py` has the same exactly; docs/annotators.md says what follows.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

from schemas.catalogue import TYPE_OF
from schemas.events import EVENT, AnyEvent, JudgementScored
from schemas.identity import event_id
from schemas.words import Origin
from streams.annotators import ANNOTATORS_PROJECTION, AnnotatorsState
from streams.projection import Record
from streams.rates import rate_of

ACCURACIES = (850, 800, 600, 500)
#: A good voter's accuracy and the share of them that may be flagged; a guesser's, and answers until half of them are.
GOOD, FALSE_ALARMS = 850, 0.005
GUESSING, CAUGHT_WITHIN = 500, 15


def measure(annotators: int, answers: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Shares flagged within so many answers, by accuracy in permille; `holds`: both bars hold."""
    found: dict[str, dict[str, Any]] = {}
    for accuracy in ACCURACIES:
        say(f"{annotators:,} voters who are right with {accuracy / 1_000}")
        found[str(accuracy)] = _share(accuracy, annotators, answers, seed)
    good, guessing = found[str(GOOD)], found[str(GUESSING)]
    holds = good["flagged_share"] <= FALSE_ALARMS and (guessing["median_answers"] or answers + 1) <= CAUGHT_WITHIN
    return {"holds": holds, "annotators": annotators, "answers": answers, "seed": seed, "by_accuracy_permille": found}


def _share(accuracy: int, annotators: int, answers: int, seed: int) -> dict[str, Any]:
    chance = random.Random(f"{seed}/{accuracy}")
    caught = [at for _ in range(annotators) if (at := caught_after(chance, accuracy, answers)) is not None]
    share = rate_of(len(caught), annotators)
    # Of all annotators: those who were never caught come last.
    middle = median([*caught, *[answers + 1] * (annotators - len(caught))])
    return {
        "flagged": share.against,
        "flagged_share": round(len(caught) / annotators, 5),
        "interval": [round(share.low, 5), round(share.high, 5)],
        "median_answers": middle if middle <= answers else None,
    }


def caught_after(chance: random.Random, accuracy: int, answers: int) -> int | None:
    """The number of the answer at which the fold first flags a voter who is right with this probability, if it does."""
    state: AnnotatorsState = ANNOTATORS_PROJECTION.empty()
    for number in range(answers):
        right = chance.randrange(1_000) < accuracy
        state, effects, _ = ANNOTATORS_PROJECTION.apply(state, _answer(number, right, chance.choice(LABELS)))
        if effects:
            return number + 1
    return None


def _answer(number: int, right: bool, truth: str) -> Record:
    """The judgement of one answer as the log would hold it; unchecked, since checking costs more than all the rest."""
    about: dict[str, Any] = {"outcome": "golden_right" if right else "golden_wrong", "submission": f"s-{number}", "truth": truth}
    label = truth if right else LABELS[truth == LABELS[0]]
    origin = Origin.model_construct(partition=0, offset=number, index=0)
    data = JudgementScored.model_construct(_FIELDS, **_SAID, **about, label=label, origin=origin)
    return Record(0, number, 0, START_MS, _EVENT.model_copy(update={"data": data}))


LABELS = ("good", "bad")
START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1_000)
_SAID: dict[str, Any] = {"project": "p", "task": "review", "role": "voter", "change": 1, "revision": 1, "hour": 490_896}
_FIELDS = {*JudgementScored.model_fields}


def _event() -> AnyEvent:
    """The envelope of every judgement."""
    origin = {"partition": 0, "offset": 0, "index": 0}
    data = {**_SAID, "outcome": "submitted", "submission": "s-0", "origin": origin}
    type_ = TYPE_OF[JudgementScored]
    about = {"id": event_id(START, "flags"), "type": type_, "source": "assay/bench", "subject": "v-0", "time": START}
    return EVENT.validate_python({**about, "data": data})


_EVENT = _event()
