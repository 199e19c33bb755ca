"""Policies on a real broker: one version after another, each in every partition, once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from agents.log_reading import read_range
from agents.publishing import fact_headers
from infra.errors import AssayError
from infra.http.application import application
from infra.http.policies import policy_routes
from infra.importing.publish import message, publishing
from infra.kafka.reading import ends
from infra.policies.log import CONTROLLED, PolicyChange, history, in_force, policy_change, publish_policy, spread
from infra.policies.previews import digest_of, keep, predicted
from infra.policies.tuning import Live
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
        "slice": None,
        "dry_run": False,
        "changed": {"overlap_min": [2, 3]},
        "version": 1,
        "based_on": 0,
        "preview": None,
        "redecide_since": None,
        "lint": [],
        "records": 2 + COPIES,
    }
    more = ("policy", "apply", "--project", project, "--set", "overlap_max=9", "--reason", "[bold]more[/bold]", "--by", "ana")
    assert assay(*more, "--dry-run", "--json").json["records"] == 0
    assert assay(*more).out.startswith(f"{project}: version 2")
    again = assay(*more, "--json").json
    assert (again["changed"], again["version"], again["records"]) == ({}, 2, 0)
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


# --- scopes, files, conflicts ------------------------------------------------------------------

SLICE = "en/reviews/sentiment"


def test_a_slice_has_its_own_and_goes_back_to_its_projects(assay: Assay, project: str) -> None:
    about = ("--project", project, "--reason", "a test", "--json")
    assert assay("policy", "apply", *about, "--set", "overlap_max=6").json["version"] == 1
    own = assay("policy", "apply", *about, "--slice", SLICE, "--set", "overlap_min=3", "--redecide-since", "2026-03-01").json
    assert (own["version"], own["based_on"], own["changed"]) == (2, 1, {"overlap_min": [2, 3]})
    whole, sliced = assay("policy", "show", "--project", project, "--json").json
    assert (whole["version"], whole["policy"]["overlap_min"]) == (1, 2)
    assert (sliced["slice"], sliced["version"], sliced["policy"]["overlap_max"]) == (SLICE, 2, 6)
    warned = assay("policy", "lint", "--project", project, "--set", "overlap_min=4", "--json")
    assert (warned.code, [one["code"] for one in warned.json]) == (0, ["conflicting_scopes"])
    undone = assay("policy", "undo", *about, "--slice", SLICE).json
    assert (undone["version"], undone["undoes"], undone["inherits"], undone["flips"]) == (3, 2, True, {})
    assert undone["cannot_undo"] == {"votes_cast_since": 0, "people_held_back": [], "snapshots": [], "trained_on_them": []}
    (shown,) = assay("policy", "show", "--project", project, "--slice", SLICE, "--json").json
    assert (shown["version"], shown["own"], shown["policy"]["overlap_min"]) == (1, False, 2)
    log = assay("policy", "log", "--project", project, "--json").json
    assert [(one["version"], one["slice"], one["undoes"], one["redecide_since"]) for one in log] == [
        (1, None, None, None),
        (2, SLICE, None, "2026-03-01T00:00:00Z"),
        (3, SLICE, 2, None),
    ]
    assert "undoes 2" in assay("policy", "log", "--project", project).out


def test_a_printed_document_is_taken_back_and_compared(assay: Assay, project: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(assay("policy", "show", "--project", project, "--toml").out)
    assert assay("policy", "diff", file, "current", "--project", project).code == 0
    file.write_text(file.read_text().replace("\noverlap_max = 5", "\noverlap_max = 7"))
    compared = assay("policy", "diff", "current", file, "--project", project, "--json")
    assert (compared.code, compared.json["changed"]) == (1, {"overlap_max": [5, 7]})
    applied = assay("policy", "apply", "--file", file, "--reason", "by file", "--without-preview", "--json").json
    assert (applied["project"], applied["version"], applied["changed"]) == (project, 1, {"overlap_max": [5, 7]})
    assert assay("policy", "diff", "0", "1", "--project", project, "--json").json["changed"] == {"overlap_max": [5, 7]}
    stale = assay("policy", "apply", "--file", file, "--set", "overlap_max=8", "--reason", "by file")
    assert stale.code == 1, "the file says based_on = 0"
    assert "version 1 decides there, and this was made from version 0" in stale.err
    assert "overlap_max 5 -> 7" in stale.err
    file.write_text("policy = [")
    assert "this is no TOML" in assay("policy", "apply", "--file", file, "--reason", "x").err


def test_an_error_of_the_linter_refuses_and_can_be_forced(assay: Assay, project: str) -> None:
    command = ("policy", "apply", "--project", project, "--set", "control_share_permille=0", "--reason", "no time for controls")
    assert assay("policy", "lint", "--project", project, "--set", "control_share_permille=0").code == 1
    refused = assay(*command)
    assert (refused.code, "no_control_tasks" in refused.err) == (2, True)
    assert assay(*command, "--force-lint", "no_control_tasks", "--json").json["version"] == 1
    (entry,) = assay("policy", "log", "--project", project, "--json").json
    assert entry["reason"] == "no time for controls [lint forced: no_control_tasks]"


def test_only_the_newest_is_undone_unless_the_later_go_too(assay: Assay, project: str) -> None:
    about = ("--project", project, "--reason", "a test", "--json")
    for overlap_max in (6, 7):
        assay("policy", "apply", *about, "--set", f"overlap_max={overlap_max}")
    assert "version 1 is not the newest there" in assay("policy", "undo", "1", *about).err
    assert assay("policy", "undo", "1", *about, "--with-later", "--dry-run").json["changed"] == {"overlap_max": [7, 5]}
    assert assay("policy", "undo", *about).json["changed"] == {"overlap_max": [7, 6]}
    assert "no such version was applied" in assay("policy", "undo", "9", *about).err


def test_the_log_puts_what_was_predicted_beside_what_is(assay: Assay, project: str, tmp_path: Path) -> None:
    ranges = {"before": 3, "low": 4, "high": 6}
    said = {"predicted": {"approved": ranges, "waiting": {"before": 1, "low": 0, "high": 0}}}
    digest = digest_of(said)
    keep(tmp_path, "key", said | {"digest": digest})
    assert predicted(tmp_path, digest) == said["predicted"]
    assert predicted(tmp_path, "cd" * 32) is None
    (tmp_path / "previews" / f"{'cd' * 32}.json").write_text(json.dumps(said))
    with pytest.raises(AssayError, match="a preview cannot be read"):
        predicted(tmp_path, "cd" * 32)
    applied = assay(
        "policy", "apply", "--project", project, "--set", "overlap_max=6", "--reason", "looked at", "--preview", digest, "--json"
    )
    assert applied.json["preview"] == digest


# --- over HTTP ---------------------------------------------------------------------------------


async def test_policies_over_http(topics: str, project: str) -> None:
    routes = policy_routes(topics, lambda project, slice_: Live(voters=3), "secret")
    app = application([routes], lambda: {"state": "ready"})
    operator = {"Authorization": "Bearer secret"}
    async with AsyncClient(transport=ASGITransport(app), base_url="http://desk/v1/policies") as client:
        change = {"set": {"overlap_max": 3}, "reason": "fewer people", "based_on": 0}
        anybody = await client.post(f"/{project}/apply", json=change)
        assert (anybody.status_code, anybody.json()["code"]) == (403, "for_operators")
        linted = (await client.post(f"/{project}/lint", json={"set": {"overlap_min": 4}})).json()
        assert [one["code"] for one in linted] == ["overlap_over_voters"]
        refused = await client.post(f"/{project}/apply", json={**change, "set": {"overlap_min": 4}}, headers=operator)
        assert (refused.status_code, refused.json()["findings"][0]["code"]) == (422, "overlap_over_voters")
        applied = await client.post(f"/{project}/apply", json=change, headers=operator)
        assert (applied.status_code, applied.json()["version"], applied.json()["records"]) == (200, 1, 2 + COPIES)
        conflict = await client.post(f"/{project}/apply", json={**change, "set": {"overlap_max": 2}}, headers=operator)
        assert (conflict.status_code, conflict.headers["content-type"]) == (409, "application/problem+json")
        assert (conflict.json()["version"], conflict.json()["changed"]) == (1, {"overlap_max": [5, 3]})
        assert (await client.get(f"/{project}")).json()["policy"]["overlap_max"] == 3
        assert project in {one["project"] for one in (await client.get("http://desk/v1/policies")).json()}
        undone = await client.post(f"/{project}/undo", json={"reason": "it was too few"}, headers=operator)
        assert (undone.status_code, undone.json()["undoes"], undone.json()["version"]) == (200, 1, 2)
        assert [one["version"] for one in (await client.get(f"/{project}/log")).json()] == [1, 2]
        nothing = await client.post(f"/{project}/apply", json={**change, "set": {"overlap": 1}, "based_on": 2}, headers=operator)
        assert (nothing.status_code, nothing.json()["title"]) == (422, "no such threshold")


async def test_without_a_token_nobody_writes(topics: str, project: str) -> None:
    app = application([policy_routes(topics, lambda project, slice_: Live())], lambda: {"state": "ready"})
    async with AsyncClient(transport=ASGITransport(app), base_url="http://desk/v1/policies") as client:
        body = {"reason": "any", "based_on": 0, "set": {"overlap_max": 6}}
        assert (await client.post(f"/{project}/apply", json=body, headers={"Authorization": "Bearer "})).status_code == 403
