"""Policies on a real broker: one version after another, each in every partition, once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.log_reading import read_range
from agents.publishing import fact_headers
from infra.errors import AssayError
from infra.importing.publish import message, publishing
from infra.kafka.reading import ends
from infra.policies import CONTROLLED, PolicyChange, history, in_force, policy_change, publish_policy, spread
from schemas.policy import THRESHOLDS, Policy, Threshold
from schemas.topics import POLICIES
from tests.importing.conftest import PARTITIONS, Assay

NOW = datetime(2026, 4, 1, tzinfo=UTC)
COPIES = PARTITIONS * len(CONTROLLED)


def change(project: str, version: int = 1, by: str = "ops", **thresholds: Any) -> PolicyChange:
    return policy_change(NOW, project, version, Policy(**thresholds), by, "a test")


async def ids(kafka: str, *topics: str) -> list[tuple[str, int, str]]:
    found = []
    for place, end in (await ends(kafka, *topics)).items():
        async for batch in read_range(kafka, place, 0, end):
            found += [(*place, dict(record.headers).get("ce_id", b"").decode()) for record in batch]
    return found


async def copies(kafka: str, id_: str) -> list[tuple[str, int]]:
    return sorted(
        (topic, partition) for topic, partition, found in await ids(kafka, *(t.name for t in CONTROLLED)) if found == id_
    )


async def test_one_copy_in_every_partition(topics: str, project: str) -> None:
    made = change(project)
    assert await publish_policy(topics, made) == 2 + COPIES
    everywhere = sorted((topic.name, partition) for topic in CONTROLLED for partition in range(PARTITIONS))
    assert await copies(topics, made.applied.id) == everywhere
    assert await publish_policy(topics, made) == 0
    assert await copies(topics, made.applied.id) == everywhere
    assert [id_ for *_, id_ in await ids(topics, POLICIES.name)].count(made.applied.id) == 1


async def test_an_interrupted_change_is_completed(topics: str, project: str) -> None:
    made = change(project)
    async with publishing(topics) as publisher:
        for event in made:
            one = message(event)
            publisher.add((POLICIES.name, 0), project.encode(), one.value, one.time_ms, fact_headers(one.id, one.type))
        one = message(made.applied)
        publisher.add((CONTROLLED[0].name, 1), project.encode(), one.value, one.time_ms, fact_headers(one.id, one.type))
    assert await spread(topics, made.applied) == COPIES - 1
    assert len(await copies(topics, made.applied.id)) == COPIES


async def test_of_two_with_one_version_the_first_counts(topics: str, project: str) -> None:
    first, second = change(project), policy_change(NOW.replace(year=2027), project, 1, Policy(overlap_min=3), "other", "a test")
    await publish_policy(topics, first)
    with pytest.raises(AssayError, match="at the same time"):
        await publish_policy(topics, second)
    assert await copies(topics, second.applied.id) == []
    assert (await in_force(topics))[project] == first.applied
    await publish_policy(topics, change(project, 2, overlap_max=7))
    assert [event.data.version for event in await history(topics) if event.subject == project] == [1, 1, 2, 2]  # type: ignore[union-attr]
    assert await publish_policy(topics, first) == 0, "an old version may be completed while a newer one is in force"


def test_apply_show_log(assay: Assay, project: str) -> None:
    said = assay("policy", "apply", "--project", project, "--set", "overlap_min=3", "--reason", "two were too few", "--json")
    assert said.code == 0, said.err
    assert said.json == {
        "project": project,
        "dry_run": False,
        "changed": {"overlap_min": [2, 3]},
        "version": 1,
        "records": 2 + COPIES,
    }
    more = ("policy", "apply", "--project", project, "--set", "overlap_max=9", "--reason", "[bold]more[/bold]", "--by", "ana")
    assert assay(*more, "--dry-run", "--json").json["records"] == 0
    assert assay(*more).out.startswith(f"{project}: version 2")
    assert assay(*more, "--json").json == {
        "project": project,
        "dry_run": False,
        "changed": {},
        "version": 2,
        "records": 0,
    }
    (shown,) = assay("policy", "show", "--project", project, "--json").json
    assert shown == {"project": project, "version": 2, "policy": Policy(overlap_min=3, overlap_max=9).model_dump(mode="json")}
    log = assay("policy", "log", "--project", project, "--json").json
    assert [(e["version"], e["changed"], e["by"]) for e in log] == [
        (1, {"overlap_min": [2, 3]}, "operator"),
        (2, {"overlap_max": [5, 9]}, "ana"),
    ]
    assert "[bold]more[/bold]" in assay("policy", "log", "--project", project).out


def test_show_has_every_threshold_and_the_default(assay: Assay, project: str) -> None:
    (shown,) = assay("policy", "show", "--project", project, "--json").json
    assert (shown["version"], shown["policy"]) == (0, Policy().model_dump(mode="json"))
    text = assay("policy", "show", "--project", project).out
    assert all(threshold.name in text and threshold.help in text for threshold in THRESHOLDS)
    assert "good,bad" in text


def test_choices_and_names_are_set(assay: Assay, project: str) -> None:
    command = ("policy", "apply", "--project", project, "--reason", "x", "--set", "labels=yes,no, unsure")
    more = ("--set", "approving=yes", "--set", "aggregation=weighted", "--set", "preference_criteria=")
    changed = {
        "labels": [["good", "bad"], ["yes", "no", "unsure"]],
        "approving": [["good"], ["yes"]],
        "aggregation": ["champion", "weighted"],
        "preference_criteria": [["harmless", "truthful", "helpful"], []],
    }
    assert assay(*command, *more, "--json").json["changed"] == changed
    (shown,) = assay("policy", "show", "--project", project, "--json").json
    assert shown["policy"]["labels"] == ["yes", "no", "unsure"]
    (entry,) = assay("policy", "log", "--project", project, "--json").json
    assert entry["changed"] == changed
    assert "labels good,bad -> yes,no,unsure" in " ".join(assay("policy", "log", "--project", project).out.split())


def out_of_range(threshold: Threshold) -> Iterator[tuple[str, str]]:
    """A value, and what is said about it."""
    name, allowed = threshold.name, f"from {threshold.minimum} to {threshold.maximum} {threshold.unit}"
    if threshold.choices:
        yield "magic", f"{name} has no such choice; got: magic; hint: {threshold.range}"
        return
    for size in (threshold.minimum - 1, threshold.maximum + 1):
        is_list = isinstance(threshold.default, tuple)
        value = ",".join(f"n{number}" for number in range(size)) if is_list else str(size)
        if size >= 0 or not is_list:
            yield value, f"{name} is out of range; got: {value or 'no name'}; hint: {allowed}"


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda one: one.name)
def test_out_of_range_is_refused_with_the_range(assay: Assay, threshold: Threshold) -> None:
    for value, expected in out_of_range(threshold):
        said = assay("policy", "apply", "--project", "p", "--set", f"{threshold.name}={value}", "--reason", "x")
        assert said.code == 2
        assert expected in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--project", "p", "--set", "overlap=3", "--reason", "x"),
            "no such threshold; got: overlap; hint: there are labels, approving",
        ),
        (("--project", "p", "--set", "overlap_min=two", "--reason", "x"), "overlap_min is a whole number; got: two"),
        (("--project", "p", "--set", "overlap_min=9", "--reason", "x"), "contradict each other"),
        (("--project", "p", "--set", "approving=great", "--reason", "x"), "approving has great, which labels has not"),
        (("--project", "p", "--set", "labels=so so,good", "--reason", "x"), "labels cannot be this"),
        (("--project", "a b", "--set", "overlap_min=3", "--reason", "x"), "this cannot be recorded"),
        (("--project", "p", "--set", "overlap_min=3", "--reason", ""), "this cannot be recorded"),
        (("--project", "p", "--set", "overlap_min=3"), "reason"),
    ],
)
def test_mistakes_are_one_line(assay: Assay, arguments: tuple[str, ...], said: str) -> None:
    found = assay("policy", "apply", *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert said in found.err
