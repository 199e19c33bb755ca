"""Comparisons in a log of several partitions: their ranking, and no snapshot where none is decided."""

import asyncio
from collections.abc import Iterator

import pytest

from agents.publishing import partition_of
from infra import rankings
from infra.datasets import snapshots
from infra.errors import AssayError
from infra.importing.publish import publishing
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.rankings import Request
from infra.settings import Kafka, Settings
from schemas.topics import EVENTS
from schemas.words import Frozen
from tests.jobs.conversations import approved, compared, events, text

PARTITIONS = 3
PROMPTS = 12


def steps(project: str) -> list[tuple[str, Frozen]]:
    """Writer w-a's completions are preferred, but at the last prompt; at the first it is a tie; one comparison is open."""
    made: list[tuple[str, Frozen]] = []
    for at in range(PROMPTS):
        made += approved(
            text(f"q{at}", f"Question {at * 7919} on {at}?", project=project),
            text(f"a{at}", f"Answer {at}.", prompt=f"q{at}", project=project, writer="w-a"),
            text(f"b{at}", f"Reply {at}.", prompt=f"q{at}", project=project, writer="w-b"),
        )
        choice = "tie" if at == 0 else "right" if at == PROMPTS - 1 else "left"
        made += compared(f"c{at}", f"q{at}", f"a{at}", f"b{at}", choice, choice, project=project)
    return [*made, *compared("open", "q1", "b1", "a1", "left", project=project)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    broker = MemoryBroker()
    broker.create_topic(EVENTS.name, PARTITIONS)
    with serving("comparisons", broker) as address:
        asyncio.run(_send(address, events(steps("p"))))
        yield Settings(data_dir=tmp_path_factory.mktemp("data"), kafka=Kafka(brokers=address))


async def _send(brokers: str, made: list[tuple[str, bytes]]) -> None:
    async with publishing(brokers) as publisher:
        for subject, value in made:
            publisher.add((EVENTS.name, partition_of(subject, PARTITIONS)), subject.encode(), value, 1, [])


def test_writers_are_ranked_over_all_partitions(world: Settings) -> None:
    found = rankings.ranking(world, Request(project="p"))
    assert [(one.item, one.wins, one.losses, one.ties, one.group) for one in found.items] == [
        ("w-a", 10, 1, 1, 0),
        ("w-b", 1, 10, 1, 0),
    ]
    assert found.comparisons == {"left": 10, "open": 1, "right": 1, "tie": 1}
    assert found.items[0].low > 0
    assert not found.items[0].regularised


def test_choices_instead_of_decisions_and_one_prompt(world: Settings) -> None:
    found = rankings.ranking(world, Request(votes=True))
    assert [(one.item, one.n) for one in found.items] == [("w-a", 25), ("w-b", 25)]
    of_prompt = rankings.ranking(world, Request(by="completion", prompt="q1"))
    assert [(one.item, one.n, one.regularised) for one in of_prompt.items] == [("a1", 1, True), ("b1", 1, True)]
    assert rankings.ranking(world, Request(project="none")).items == []


def test_one_criterion_with_what_is_under_it(world: Settings) -> None:
    """In the open comparison the sides are swapped."""
    found = rankings.ranking(world, Request(project="p", criterion="harmless"))
    assert [(one.item, one.wins, one.losses) for one in found.items] == [("w-b", 24, 1), ("w-a", 1, 24)]
    assert rankings.ranking(world, Request(project="p", criterion="helpful")).items == []


def test_groups_by_completion_are_the_prompts(world: Settings) -> None:
    found = rankings.ranking(world, Request(by="completion"))
    assert len({one.group for one in found.items}) == PROMPTS
    assert [(one.annotator, one.left, one.right, one.ties) for one in found.position] == [("v-0", 11, 1, 1), ("v-1", 10, 1, 1)]


def test_without_a_decided_pair_there_is_no_snapshot(world: Settings) -> None:
    with pytest.raises(AssayError, match="no comparison is decided"):
        snapshots.build(world, snapshots.Request(kind="preference", projects=("none",)))
