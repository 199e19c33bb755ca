"""Lineage, both ways: what stands behind a model or snapshot, and where a person's texts went."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from infra.cli import run
from infra.datasets import lineage, snapshots, tracing
from infra.datasets.openlineage import run_events
from infra.datasets.snapshots import Request
from infra.errors import AssayError
from infra.runs import run_event
from infra.settings import Settings
from infra.times import now
from infra.whatif.preview import downstream
from infra.wiring import settings
from schemas.events import EvaluationFinished, TrainingFinished
from schemas.manifest import RowKind
from schemas.topics import EVENTS
from schemas.words import UUID7_PATTERN
from streams.consequences import Compared, Moved
from streams.projection import Json, Record
from tests.jobs.conversations import approved, compared, edit, text, votes
from tests.jobs.histories import policy
from tests.jobs.logs import log_of, say

TEXTS = [
    *approved(
        text("q", "What is an egg?", writer="asker"), text("a", "A cell.", prompt="q"), text("b", "Food.", "q", writer="w-2")
    ),
    *approved(text("q2", "Why rain?", writer="asker"), text("c", "Clouds.", prompt="q2", writer="w-3")),
    edit("c", "Heavy clouds."),
    *votes("c", revision=2),
    *compared("x", "q", "a", "b", "left", "left"),
]


def trained(digest: str) -> TrainingFinished:
    counts = dict.fromkeys(
        ("steps", "trainable_parameters", "train_rows", "heldout_rows", "loss_before_milli_nats", "loss_after_milli_nats"), 1
    )
    about = {"snapshot_digest": digest, "recipe": "test", "base_model": "m", "checkpoint_digest": "0" * 64}
    return TrainingFinished(**about, **counts, duration_milliseconds=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("author", "rows"),
    [("asker", ["a", "b", "c"]), ("w-1", ["a"]), ("w-2", ["b"]), ("w-3", ["c"]), ("ed", ["c"]), ("v-1", []), ("nobody", [])],
)
def test_holding_names_rows_with_any_text_of_the_author(author: str, rows: list[str], tmp_path: Path) -> None:
    with log_of(TEXTS, tmp_path) as world:
        request = Request("s")
        sealed = snapshots.seal(world, request, snapshots.build(world, request))
        say(world, [run_event("test-1", trained(sealed.manifest.content_digest), now())])
        held = lineage.holding(world, author)
        assert [(one.snapshot, list(one.rows), one.runs) for one in held] == ([("s", rows, ("test-1",))] if rows else [])


def test_holding_sees_both_sides_of_a_pair_and_no_later_edit(tmp_path: Path) -> None:
    with log_of(TEXTS, tmp_path) as world:
        request = Request("pairs", "preference")
        snapshots.seal(world, request, snapshots.build(world, request))
        early = {place: 1 for place in snapshots.load(world, "pairs").offsets}
        assert [one.rows for one in lineage.holding(world, "w-2")] == [("x",)]
        assert lineage.holding(world, "ed") == []
        written = lineage.written_in(world)
        assert written.authors("c", early) <= {"asker", "w-3"}


def test_a_preview_names_what_rests_on_a_text_and_passes_over_files_that_an_erasure_took(tmp_path: Path) -> None:
    moved = Compared(
        moved=[Moved("a", "en/x/y", "approved", "rejected", ""), Moved("b", "en/x/y", "approved", "undetermined", "")]
    )
    with log_of(TEXTS, tmp_path) as world:
        kinds: tuple[tuple[str, RowKind], ...] = (("rows", "completion"), ("pairs", "preference"), ("erased", "completion"))
        for name, kind in kinds:
            request = Request(name, kind)
            manifest = snapshots.seal(world, request, snapshots.build(world, request)).manifest
        say(world, [run_event("test-1", trained(manifest.content_digest), now())])
        for file in manifest.files:
            (snapshots.folder(world, "erased") / file.path).unlink()
        told = [tuple(one.values()) for one in downstream(world, snapshots.load_all(world), moved)]
        assert [(name, *rest) for name, _, *rest in told] == [("rows", 3, 1, 1, ["test-1"]), ("pairs", 1, 1, 1, [])]


# --- both ways ---------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Settings]:
    """A snapshot of completions and one of pairs, a model on the first, and its evaluation."""
    with log_of([policy(0, 3), *TEXTS], tmp_path) as world:
        for request in (Request("s"), Request("pairs", "preference")):
            snapshots.seal(world, request, snapshots.build(world, request))
        digest, time = snapshots.load(world, "s").content_digest, now()
        tested = EvaluationFinished(
            snapshot_digest=digest, training_run="test-1", prompts=1, wins=1, ties=0, losses=0, gain_milli_nats=1,
            gain_low_milli_nats=0, gain_high_milli_nats=2, duration_milliseconds=1,
        )  # fmt: skip
        sealed = [snapshots.sealed_event(one) for one in snapshots.load_all(world)]
        say(world, [*sealed, run_event("test-1", trained(digest), time), run_event("eval-1", tested, time)])
        yield world


def test_a_model_leads_back_to_the_votes(world: Settings) -> None:
    log = snapshots.log_of(world)
    told = tracing.of_model(world, "test-1", log)
    assert [one["run"] for one in told["evaluations"]] == ["eval-1"]
    assert told["snapshot"]["digest"] == snapshots.load(world, "s").content_digest == told["training"]["snapshot_digest"]
    assert [row["texts"] for row in told["rows"]] == [["a", "q"], ["b", "q"], ["c", "q2"]]
    assert told["people"] == {
        "writers": {"asker": 2, "w-1": 1, "w-2": 1, "w-3": 1},
        "editors": {"ed": 1},
        "voters": {"v-1": 5, "v-2": 5},
    }
    assert [(one["project"], one["version"], one["decided"]) for one in told["policies"]] == [("p", 3, 5)]
    assert told["checks"]["because"] == {"confidence": 5}


def test_every_place_that_is_named_holds_what_it_says(world: Settings) -> None:
    log = snapshots.log_of(world)
    told = tracing.of_snapshot(world, "s", log)
    events = {f"{EVENTS.name}/{one.partition}@{one.offset}": one.event for one in asyncio.run(everything(world))}
    for name, one in told["texts"].items():
        for vote in one["votes"]:
            event = events[vote["at"]]
            assert (event.subject, event.data.voter, event.data.label) == (name, vote["voter"], vote["label"])
            assert event.data.revision == one["revision"]
        assert events[one["decided_at"]].subject == name
    pairs = tracing.of_snapshot(world, "pairs", log)
    assert [one["at"] for one in pairs["comparisons"]["x"]["choices"]]
    assert all(events[one["at"]].subject == "x" for one in pairs["comparisons"]["x"]["choices"])


async def everything(world: Settings) -> list[Record]:
    log = snapshots.log_of(world)
    return [one for place, end in (await log.ends(EVENTS.name)).items() async for one in log.records(*place, end)]


def test_a_snapshot_that_only_the_log_knows_is_traced_by_name_and_digest(world: Settings, tmp_path: Path) -> None:
    log, digest = snapshots.log_of(world), snapshots.load(world, "s").content_digest
    elsewhere = world.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    here = tracing.of_snapshot(world, "s", log)
    for name in ("s", digest, digest[:8]):
        there = tracing.of_snapshot(elsewhere, name, log)
        assert there["manifest"] is None
        assert there["models"] == ["test-1"]
        assert {key: there[key] for key in ("rows", "texts", "people")} == {key: here[key] for key in ("rows", "texts", "people")}


def test_a_text_and_a_person_lead_to_snapshots_and_models(world: Settings) -> None:
    log = snapshots.log_of(world)
    told = tracing.of_submission(world, "q", log)
    assert [(one["snapshot"], one["rows"], one["runs"]) for one in told["snapshots"]] == [
        ("s", ["a", "b"], ["test-1", "eval-1"]),
        ("pairs", ["x"], []),
    ]
    assert told["history"][0]["event"] == "assay.SubmissionReceived.v3"
    assert [one["rows"] for one in tracing.of_submission(world, "x", log)["snapshots"]] == [["x"]]
    editor = tracing.of_annotator(world, "ed", log)
    assert (editor["submissions"], editor["edits"], editor["judged"]) == (0, 1, 0)
    assert [(one["snapshot"], one["rows"]) for one in editor["holds_texts"]] == [("s", ["c"])]
    voter = tracing.of_annotator(world, "v-1", log)
    assert (voter["holds_texts"], voter["judged"]) == ([], 6)
    assert [(one["snapshot"], one["rows"]) for one in voter["rests_on_votes"]] == [("s", ["a", "b", "c"]), ("pairs", ["x"])]


@pytest.mark.parametrize("kind", ["model", "snapshot", "submission", "annotator"])
def test_what_is_unknown_is_said_with_what_is_known(world: Settings, kind: str) -> None:
    trace = {
        "model": lambda log: tracing.of_model(world, "nope", log),
        "snapshot": lambda log: tracing.of_snapshot(world, "nope", log),
        "submission": lambda log: tracing.of_submission(world, "nope", log),
        "annotator": lambda log: tracing.of_annotator(world, "nope", log),
    }[kind]
    with pytest.raises(AssayError) as caught:
        trace(snapshots.log_of(world))
    assert caught.value.hint
    if kind in ("model", "snapshot"):
        assert {"model": "known: test-1", "snapshot": "known: s, pairs"}[kind] in str(caught.value.hint)


# --- OpenLineage -------------------------------------------------------------------------------

URI = {"type": "string", "pattern": "^(https?|urn):"}
FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": URI, "_schemaURL": {"type": "string", "pattern": r"^https://openlineage\.io/spec/"}},
    },
}
DATASETS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": {
            "namespace": {"type": "string"}, "name": {"type": "string"},
            "facets": FACETS, "inputFacets": FACETS, "outputFacets": FACETS,
        },
        "additionalProperties": False,
    },
}  # fmt: skip
#: What the specification asks of a run event, kept to what is used here.
RUN_EVENT = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"},
        "producer": URI,
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": {"type": "object", "required": ["runId"], "properties": {"runId": {"type": "string", "pattern": UUID7_PATTERN}}},
        "job": {"type": "object", "required": ["namespace", "name"]},
        "inputs": DATASETS,
        "outputs": DATASETS,
    },
    "additionalProperties": False,
}


def test_openlineage_events_are_as_documented_and_hang_together(world: Settings) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    events = run_events(tracing.of_model(world, "test-1", snapshots.log_of(world)), "broker:9092,other:9092")
    for event in events:
        jsonschema.validate(event, RUN_EVENT)
    assert [event["job"]["name"] for event in events] == ["snapshot create", "train", "evaluate"]
    sealed, training, test = events
    assert [(one["namespace"], one["name"]) for one in sealed["inputs"]] == [("kafka://broker:9092", EVENTS.name)]
    offsets = snapshots.load(world, "s").offsets
    version = ",".join(f"{at}={offsets[f'{EVENTS.name}/{at}']}" for at in range(2))
    assert sealed["inputs"][0]["facets"]["version"]["datasetVersion"] == version
    assert sealed["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assert named(sealed["outputs"]) == named(training["inputs"])
    assert named(training["inputs"]) + named(training["outputs"]) == named(test["inputs"])


def named(datasets: list[Json]) -> list[tuple[str, str]]:
    return [(one["name"], one["facets"]["version"]["datasetVersion"]) for one in datasets]


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def assay(world: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    monkeypatch.setenv("ASSAY_KAFKA__BROKERS", str(world.kafka.brokers))
    monkeypatch.setenv("ASSAY_DATA_DIR", str(world.data_dir))
    settings.cache_clear()

    def call(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    yield call
    settings.cache_clear()


def test_the_command_line_tells_people_json_and_openlineage(assay: Callable[..., str]) -> None:
    shown = assay("lineage", "model", "test-1")
    for words in ("eval-1", "writers (4)  asker 2, w-1 1, w-2 1, w-3 1", "voters (2)   v-1 5, v-2 5"):
        assert words in shown
    assert orjson.loads(assay("lineage", "snapshot", "s", "--json"))["models"] == ["test-1"]
    events = [orjson.loads(one) for one in assay("lineage", "model", "test-1", "--openlineage").splitlines()]
    assert [one["job"]["name"] for one in events] == ["snapshot create", "train", "evaluate"]
    assert "pairs" in assay("lineage", "submission", "q")
    assert "resting on their votes" in assay("lineage", "annotator", "v-1")
    assert "known: test-1" in assay("lineage", "model", "none", code=2)
