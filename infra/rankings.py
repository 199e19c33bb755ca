"""Rankings from the log: every partition folded to its end, choices counted by pair, strengths fitted on read."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from infra.history.kafka import KafkaHistory
from infra.history.source import Watch
from infra.kafka.reading import ends
from infra.settings import Settings
from infra.wiring import bootstrap
from schemas.topics import EVENTS
from streams.preferences import CHOICES, Comparison, comparisons, leaning
from streams.projection import AnyState
from streams.rankings import Model, Ranked, Sides, duels, rank, sides
from streams.review import REVIEW

By = Literal["writer", "completion"]


class Request(NamedTuple):
    """What to rank: writers, or completions; of one project or of all; of one prompt or of all.

    By what comparisons were decided to; or, with `votes`, by every live choice; or by what annotators said of one criterion.
    """

    by: By = "writer"
    project: str | None = None
    prompt: str | None = None
    model: Model = "bradley-terry"
    votes: bool = False
    criterion: str | None = None


class Found(NamedTuple):
    """Items from the strongest to the weakest by group, what became of the comparisons, and on which side people choose."""

    items: list[Ranked]
    comparisons: dict[str, int]
    left_out: int
    position: list[Sides]


def ranking(settings: Settings, request: Request, watch: Watch = lambda done, total: None) -> Found:
    return found(asyncio.run(_folded(settings, watch)), request)


async def _folded(settings: Settings, watch: Watch) -> list[AnyState]:
    """Every partition's state at the end of the log."""
    brokers, states = bootstrap(settings), list[AnyState]()
    log_ends = await ends(brokers, EVENTS.name)
    total, done = sum(log_ends.values()), 0
    for (topic, partition), end in sorted(log_ends.items()):
        state = REVIEW.empty()
        async for record in KafkaHistory(brokers).records(topic, partition, end, too_new=settings.worker.too_new):
            state = REVIEW.apply(state, record).state
            if not record.offset % 1_000:
                watch(done + record.offset, total)
        done += end
        states.append(state)
    watch(total, total)
    return states


def found(states: Iterable[AnyState], request: Request) -> Found:
    """The ranking that these partitions' states hold."""
    states = list(states)
    chosen = [row for state in states for _, row in comparisons(state) if _is_asked_for(row, request)]
    names = _names(states, chosen, request.by)
    known = [row for row in chosen if row.left in names and row.right in names]
    said = ((names[row.left], names[row.right], choice) for row in known for choice in _choices(row, request))
    outcomes = Counter(row.decision.choice if row.decision else "open" for row in chosen)
    people = sides((one.annotator, one.choice) for row in chosen for one in row.preferences)
    return Found(rank(duels(said), request.model), dict(sorted(outcomes.items())), len(chosen) - len(known), list(people))


def _is_asked_for(row: Comparison, request: Request) -> bool:
    return bool(row.project) and request.project in (None, row.project) and request.prompt in (None, row.prompt)


def _names(states: Iterable[AnyState], chosen: Iterable[Comparison], by: By) -> dict[str, str]:
    """What each completion is ranked as: itself, or its writer, whom a submission that never came in has not."""
    completions = {completion for row in chosen for completion in (row.left, row.right)}
    if by == "completion":
        return {completion: completion for completion in completions}
    return {key: row.writer for state in states for key, row in state.rows.items() if key in completions and row.revision}


def _choices(row: Comparison, request: Request) -> Iterator[str]:
    if request.criterion is not None:
        yield from (said for one in row.preferences if (said := leaning(one, request.criterion)) is not None)
    elif request.votes:
        yield from (one.choice for one in row.preferences)
    elif row.decision is not None and row.decision.choice in CHOICES:
        yield row.decision.choice
