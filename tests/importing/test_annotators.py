"""The commands about people, on a real broker: what workers wrote is read, and what was measured is recorded."""

import asyncio
import random
from pathlib import Path

import krippendorff
import numpy as np
import pytest

from agents.publishing import partition_of
from agents.state_log import StateLog
from infra.history.kafka import KafkaHistory
from infra.kafka.reading import ends
from infra.verification import replayed
from schemas.events import AnnotatorEnrolled, LikenessMeasured, PaceMeasured
from schemas.topics import ANNOTATORS, EVENTS, JUDGEMENTS
from streams.annotators import ANNOTATORS_PROJECTION
from streams.projection import CONTROL_KEY, AnyProjection, AnyState, row_bytes
from streams.review import REVIEW
from tests.importing.conftest import PARTITIONS, Assay
from tests.streams.people import World


async def said(kafka: str, topic: str, project: str) -> list[tuple[int, str, object]]:
    """(partition, key, data) of every event of a project on a topic, which other tests write to as well."""
    found: list[tuple[int, str, object]] = []
    history = KafkaHistory(kafka)
    for (name, partition), end in (await ends(kafka, topic)).items():
        found += [(partition, one.event.subject, one.event.data) async for one in history.records(name, partition, end)]
    return [one for one in found if getattr(one[2], "project", None) == project]


@pytest.fixture(scope="module")
def judged(topics: str) -> str:
    """State rows as a worker leaves them: anna is restricted, ben has one judgement."""
    world = World()
    world.judge("golden_wrong", times=12, submission="secret")
    world.judge("rejected", "ben")
    asyncio.run(_written(topics, ANNOTATORS_PROJECTION, 1, world.state))
    return topics


async def _written(kafka: str, projection: AnyProjection, partition: int, state: AnyState) -> None:
    log = StateLog(kafka, projection, partition)
    await log.open()
    await log.write([(key.encode(), row_bytes(projection, state, key)) for key in (*state.rows, CONTROL_KEY)])
    await log.close()


async def _folded(kafka: str) -> None:
    """What review's workers would write of the log as it is."""
    for (_, partition), end in (await ends(kafka, EVENTS.name)).items():
        await _written(kafka, REVIEW, partition, await replayed(kafka, REVIEW, partition, end))


def test_people_are_listed_worst_first_and_shown(judged: str, assay: Assay) -> None:
    found = assay("annotators", "list", "--json").json
    assert [(one["annotator"], one["state"]) for one in found] == [("anna", "restricted"), ("ben", "active")]
    table = assay("annotators", "list", "--sort", "annotator").out
    assert "100.0% [75.8%-100.0%] 12 of 12" in table
    assert "1 of 1 (shown from 5)" in table
    shown = assay("annotators", "show", "anna").out
    assert "restrict since 2026-01-01T00:00Z until 2026-01-16T00:00Z: 12 of 12, limit 30.0%" in shown
    assert "secret" not in shown + assay("annotators", "show", "anna", "--json").out


def test_nobody_of_that_name(judged: str, assay: Assay) -> None:
    missing = assay("annotators", "show", "nobody")
    assert missing.code == 2
    assert "nobody of this id was judged yet" in missing.err


def votes_of_copies(folder: Path) -> Path:
    """A hundred and twenty tasks, six voters who are right with .8, and one who votes as the first does; all in four or five
    seconds."""
    chance = random.Random(4)
    lines, gold = ["seq,task,worker,label,seconds"], ["task,gold"]
    for task in range(120):
        truth = chance.choice("01")
        gold.append(f"t{task},{truth}")
        labels = [truth if chance.random() < 0.8 else "10"[int(truth)] for _ in range(6)]
        for worker, label in enumerate([*labels, labels[0]]):
            lines.append(f"{len(lines)},t{task},w{worker},{label},{4 + worker % 2}")
    (folder / "gold.csv").write_text("\n".join(gold) + "\n")
    (folder / "votes.csv").write_text("\n".join(lines) + "\n")
    return folder / "votes.csv"


def test_copies_are_found_and_recorded_for_the_rules(topics: str, assay: Assay, project: str, tmp_path: Path) -> None:
    labels = ("--labels", "good=1,bad=0")
    assert assay("import", votes_of_copies(tmp_path), "--format", "crowd-csv", "--project", project, *labels).code == 0
    compare = ("annotators", "compare", "--project", project, "--json")
    (found,) = assay(*compare, "--publish", "--dry-run").json
    assert (found["votes"], found["median_milliseconds"], found["compared"], found["records"]) == (840, 4_000, 21, 0)
    (first, *_) = found["pairs"]
    assert (first["kind"], first["same"], first["shared"], len(first["confusion"])) == ("duplicate", 120, 120, 2)
    assert asyncio.run(said(topics, JUDGEMENTS.name, project)) == []
    for version in (1, 2):
        (found,) = assay(*compare, "--publish").json
        assert found["records"] == PARTITIONS + 2 * found["beyond_bound"]
        recorded = [
            one for one in asyncio.run(said(topics, JUDGEMENTS.name, project)) if getattr(one[2], "version", 0) == version
        ]
        assert sorted(where for where, _, data in recorded if isinstance(data, PaceMeasured)) == list(range(PARTITIONS))
        pairs = {(key, data.other): (where, data) for where, key, data in recorded if isinstance(data, LikenessMeasured)}
        assert {(first["one"], first["other"]), (first["other"], first["one"])} <= pairs.keys()
        assert all(where == partition_of(key, PARTITIONS) for (key, _), (where, _) in pairs.items())


def test_alpha_is_that_of_all_partitions(topics: str, assay: Assay, project: str, tmp_path: Path) -> None:
    votes = votes_of_copies(tmp_path)
    assert assay("import", votes, "--format", "crowd-csv", "--project", project, "--labels", "good=1,bad=0").code == 0
    asyncio.run(_folded(topics))
    whole, part = assay("annotators", "agreement", "--project", project, "--json").json
    ratings = np.full((7, 120), np.nan)
    for line in votes.read_text().splitlines()[1:]:
        _, task, worker, label, _ = line.split(",")
        ratings[int(worker[1:]), int(task[1:])] = int(label)
    assert whole["alpha"] == pytest.approx(krippendorff.alpha(ratings, level_of_measurement="nominal"), abs=1e-9)
    assert (whole["slice"], whole["subjects"], whole["votes"]) == (None, 120, 840)
    assert {**part, "slice": None} == whole


def test_enrolment_is_recorded_unless_it_is_dry(topics: str, assay: Assay) -> None:
    enroll = ("annotators", "enroll", "anna", "--project", "poems", "--languages", "en", "--languages", "de", "--edits", "--json")
    assert assay(*enroll, "--dry-run").json["languages"] == ["en", "de"]
    assert asyncio.run(said(topics, ANNOTATORS.name, "poems")) == []
    assert assay(*enroll).code == 0
    ((_, person, data),) = asyncio.run(said(topics, ANNOTATORS.name, "poems"))
    assert person == "anna"
    assert data == AnnotatorEnrolled(project="poems", languages=("en", "de"), edits=True, enrolled_by="operator")
    refused = assay("annotators", "enroll", "anna", "--project", "poems", "--skills", "Writing")
    assert (refused.code, "lower case" in refused.err) == (2, True)
