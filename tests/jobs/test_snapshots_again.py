"""Snapshots of other times, policies, splits and places, over logs in memory."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.cli import run
from infra.datasets import lineage, snapshots
from infra.datasets.copies import reproduce, successor
from infra.datasets.differences import compare
from infra.datasets.snapshots import Request, Sealed
from infra.errors import AssayError
from infra.history.archive import ArchiveHistory
from infra.history.archiving import archive
from infra.history.kafka import KafkaHistory
from infra.policies.given import given_policies
from infra.policies.log import policy_change
from infra.settings import Settings
from infra.training import checked
from infra.wiring import settings
from schemas.events import AuthorErased, GoldenAnswerSet, VoteCast
from schemas.manifest import FORMATS, LAYOUTS, GivenPolicy, Manifest, SplitRule
from schemas.policy import Policy
from schemas.topics import EVENTS
from tests.jobs.conversations import EVERYWHERE, START, approved, edit, text, votes
from tests.jobs.histories import beginning
from tests.jobs.logs import append, log_of, propose

STEPS = beginning()
STRICT = {"p": GivenPolicy(version=0, policy=Policy(overlap_min=3))}
LATER = [
    edit("a1", "Better words."),
    *votes("a1", revision=2),
    ("a2", VoteCast(revision=1, voter="v-3", label="good")),
    *approved(text("a9", "A late answer.", "q3", writer="eve", provenance="model")),
]


def sealed(world: Settings, request: Request) -> Sealed:
    return snapshots.seal(world, request, snapshots.build(world, request))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Settings]:
    with log_of(STEPS, tmp_path / "one") as one:
        yield one


# --- times and policies ------------------------------------------------------------------------


def test_a_time_becomes_offsets_and_the_rebuild_needs_no_clock(world: Settings) -> None:
    before = sealed(world, Request("before")).manifest
    append(world, LATER, start=1_000)
    time = START + timedelta(seconds=1_000)
    then = sealed(world, Request("then", as_of=time)).manifest
    assert (then.content_digest, then.offsets, then.as_of) == (before.content_digest, before.offsets, time)
    assert all(check.holds for check in snapshots.verify(world, "then"))
    between = snapshots.build(world, Request(as_of=START + timedelta(seconds=1_003)))
    assert sum(between.offsets.values()) == sum(before.offsets.values()) + 3
    assert sealed(world, Request("now")).manifest.content_digest != before.content_digest


def test_a_time_stops_at_the_first_event_that_is_not_before_it(world: Settings) -> None:
    """Older events that came in behind it are not in: what is cut off is an end of the log."""
    append(world, approved(text("z", "Imported late.", "q0")), start=-500)
    late = snapshots.build(world, Request(as_of=START + timedelta(seconds=8)))
    assert all(example.id != "z" for example in late.dataset.examples)


def test_an_old_dataset_under_a_new_policy(world: Settings) -> None:
    append(world, LATER, start=1_000)
    request = Request("strict", projects=("p",), policies=STRICT)
    with pytest.raises(AssayError, match="nothing to put into a snapshot"):
        snapshots.build(world, request)
    mild = {"p": GivenPolicy(version=0, policy=Policy(overlap_min=2, approve_confidence_permille=940))}
    found = sealed(world, Request("mild", projects=("p",), policies=mild)).manifest
    assert found.policy_versions == {"p": 0}
    assert found.given_policies["p"].policy.approve_confidence_permille == 940
    assert all(check.holds for check in snapshots.verify(world, "mild"))
    assert found.policy_digest != sealed(world, Request("plain")).manifest.policy_digest


def test_a_version_of_the_log_decides_where_it_is_named(world: Settings) -> None:
    """Whether it was applied or only proposed; of each project its own."""
    change = policy_change(START, "p", 7, Policy(approve_confidence_permille=935), "ops", "try")
    other = policy_change(START, "other", 7, Policy(overlap_min=4), "ops", "try")
    propose(world, [change.proposed, *other])
    log = snapshots.log_of(world)
    assert given_policies(log, "7", ("p",)) == {"p": GivenPolicy(version=7, policy=Policy(approve_confidence_permille=935))}
    assert {name: one.policy.overlap_min for name, one in given_policies(log, "7", ()).items()} == {"p": 2, "other": 4}
    assert given_policies(log, "0", ("p",)) == {"p": GivenPolicy(version=0, policy=Policy())}
    with pytest.raises(AssayError, match="no such policy in the log") as caught:
        given_policies(log, "8", ("p",))
    assert "known: 7" in str(caught.value)
    found = sealed(world, Request("seven", projects=("p",), policies=given_policies(log, "7", ("p",)))).manifest
    assert found.policy_versions == {"p": 7}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[policy]\noverlap_min = 0", "overlap_min cannot be this"),
        ("[policy]\noverlap_mim = 3", "overlap_mim"),
        ("overlap_min = 3", "this is no policy"),
        ("overlap_min =", "is no TOML"),
        ('slice = "en/reviews/sentiment"\n[policy]\noverlap_min = 3', "a slice's policy cannot decide alone"),
        ('project = "other"\n[policy]\noverlap_min = 3', "the policy is of another project"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_with_what_is_wrong(world: Settings, tmp_path: Path, written: str, said: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(written)
    with pytest.raises(AssayError) as caught:
        given_policies(snapshots.log_of(world), str(path), ("p",))
    assert said in str(caught.value)


def test_a_document_decides_for_the_project_that_it_names(world: Settings, tmp_path: Path) -> None:
    path, log = tmp_path / "p.toml", snapshots.log_of(world)
    path.write_text('project = "p"\nbased_on = 4\n[policy]\noverlap_min = 3\nlabels = ["good", "bad"]\n')
    given = GivenPolicy(version=0, policy=Policy(overlap_min=3))
    assert given_policies(log, str(path), ()) == given_policies(log, str(path), ("p", "q")) == {"p": given}
    path.write_text("[policy]\noverlap_min = 3\n")
    assert given_policies(log, str(path), ()) == {"*": given}


# --- elsewhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["completion", "preference"])
@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_it_is_reproduced_from_its_manifest_on_another_log(world: Settings, tmp_path: Path, kind: Any, partitions: int) -> None:
    append(world, LATER, start=1_000)
    time = START + timedelta(seconds=1_003)
    made = sealed(world, Request("made", kind, as_of=time, split=SplitRule(test_percent=40)))
    with log_of([*STEPS], tmp_path / "two", partitions) as other:
        append(other, LATER, start=1_000)
        again = reproduce(other, made.path, snapshots.log_of(other))
        assert again.manifest.content_digest == made.manifest.content_digest
        assert all(check.holds for check in snapshots.verify(other, "made"))


def test_another_log_is_refused_and_nothing_is_sealed(world: Settings, tmp_path: Path) -> None:
    made = sealed(world, Request("made"))
    with log_of([*STEPS, edit("a1", "Else.")], tmp_path / "two", 3) as other:
        with pytest.raises(AssayError, match="offsets are of other partitions"):
            reproduce(other, made.path, snapshots.log_of(other))
        ends = {f"{EVENTS.name}/{at}": end for at, end in enumerate(_ends(other, 3))}
        with pytest.raises(AssayError, match="this log gives another dataset"):
            reproduce(other, made.path, snapshots.log_of(other), offsets=ends)
        assert snapshots.load_all(other) == []


def _ends(world: Settings, partitions: int) -> list[int]:
    built = snapshots.build(world, Request())
    return [built.offsets[f"{EVENTS.name}/{at}"] for at in range(partitions)]


# --- numbers -----------------------------------------------------------------------------------


def test_the_card_has_counts_origin_licences_and_quality_with_intervals(world: Settings) -> None:
    golden = [
        ("a1", GoldenAnswerSet(revision=1, label="good", set_by="ed")),
        ("a2", GoldenAnswerSet(revision=1, label="bad", set_by="ed")),
    ]
    append(world, [*golden, *LATER], start=1_000)
    made = sealed(world, Request("made", licences={"p": "Apache-2.0"}))
    quality = made.manifest.quality
    assert quality is not None
    assert (made.manifest.provenance, quality.rows_by_votes) == ({"human": 8, "model": 1}, {"2": 8, "3": 1})
    assert (quality.votes, quality.agreeing, quality.golden_right, quality.golden_seen) == (19, 19, 0, 1)
    card = (made.path / "README.md").read_text()
    assert "license: apache-2.0" in card
    for line in (
        "human 8 (88.9 %), model 1 (11.1 %)",
        "`p`: policy 0; licence: Apache-2.0",
        "Overlap: 2.11 live votes a row (8 with 2, 1 with 3)",
        "Votes that say what was decided: 1.000 [0.832, 1.000], 19 of 19",
        "Verdicts that golden answers call right: 0.000 [0.000, 0.793], 0 of 1",
    ):
        assert line in card


def test_alpha_and_its_interval_are_those_of_the_votes(tmp_path: Path) -> None:
    """Ten texts, of which three are split; the interval by leaving each of them out in turn."""
    steps = [one for at in range(7) for one in approved(text(f"q{at}", f"Question {at * 7919}?"))]
    for at in range(7, 10):
        steps.append(text(f"q{at}", f"Question {at * 7919}?"))
        steps += [(f"q{at}", VoteCast(revision=1, voter=f"v-{label}", label=label)) for label in ("good", "bad")]
    with log_of(steps, tmp_path) as world:
        quality = snapshots.build(world, Request(kind="prompt")).quality
    assert quality is not None
    # Observed disagreement 3/10; 17 good and 3 bad of 20: expected 2 x 17 x 3 / (20 x 19).
    assert (quality.compared, quality.compared_votes) == (10, 20)
    assert quality.alpha_milli == round(1000 * (1 - (3 / 10) / (2 * 17 * 3 / (20 * 19))))
    assert quality.alpha_low_milli is not None
    assert quality.alpha_low_milli < quality.alpha_milli < (quality.alpha_high_milli or 0)


def test_slices_choose_and_the_manifest_says_so(tmp_path: Path) -> None:
    steps = approved(
        text("q", "What?"), text("a", "This.", "q", slice="en/law/chat"), text("b", "That.", "q", slice="de/law/chat")
    )
    with log_of(steps, tmp_path) as world:
        made = sealed(world, Request("law", slices=("en/*/chat",)))
        assert (made.manifest.rows, list(made.manifest.slices)) == (1, ["en/law/chat"])
        assert all(check.holds for check in snapshots.verify(world, "law"))


def test_what_hangs_together_by_writers_cannot_be_split(tmp_path: Path) -> None:
    steps = approved(*(one for at in range(9) for one in (text(f"q{at}", f"Of {at * 7919}?"), text(f"a{at}", "x", f"q{at}"))))
    with log_of(steps, tmp_path) as world, pytest.raises(AssayError, match="prompts and writers hang together") as caught:
        snapshots.build(world, Request(split=SplitRule(by="writer")))
    assert "one group of 9 of 9 rows" in str(caught.value)


def test_a_manifest_of_the_first_form_is_read_and_still_verified(world: Settings) -> None:
    made = sealed(world, Request("old"))
    path = made.path / "manifest.json"
    first = orjson.loads(path.read_bytes())
    new = {name for name, field in Manifest.model_fields.items() if not field.is_required()} - {"format"}
    path.write_bytes(
        orjson.dumps({name: value for name, value in first.items() if name not in new} | {"format": "assay.snapshot.v1"})
    )
    assert snapshots.load(world, "old").format == "assay.snapshot.v1"
    assert all(check.holds for check in snapshots.verify(world, "old"))


# --- differences -------------------------------------------------------------------------------


def reasons(world: Settings, name: str, other: str) -> dict[str, tuple[str, str]]:
    return {one.row: (one.change, one.reason) for one in compare(world, name, other).rows}


def test_each_way_between_two_snapshots_has_its_reason(world: Settings) -> None:
    sealed(world, Request("a"))
    append(world, LATER, start=1_000)
    sealed(world, Request("b"))
    assert reasons(world, "a", "b") == {"a1": ("changed", "edited"), "a9": ("added", "received")}
    assert reasons(world, "b", "a") == {"a1": ("changed", "edited"), "a9": ("removed", "received")}
    assert compare(world, "b", "a").backwards
    assert compare(world, "a", "a").rows == []
    one = compare(world, "a", "b").rows[0].place
    assert one is not None
    assert (one.event, one.reason) == ("assay.SubmissionEdited.v2", "edited")


def test_what_a_given_policy_and_another_request_change(world: Settings) -> None:
    append(world, [*LATER, *approved(text("b9", "So.", "q3", slice="de/law/chat"))], start=1_000)
    sealed(world, Request("a"))
    high = {"p": GivenPolicy(version=0, policy=Policy(overlap_min=2, late_votes_reopen=1, approve_confidence_permille=970))}
    with pytest.raises(AssayError, match="nothing to put"):
        sealed(world, Request("high", policies=high))
    sealed(world, Request("en", slices=("en/*/*",)))
    assert reasons(world, "a", "en") == {"b9": ("removed", "asked")}
    sealed(world, Request("half", split=SplitRule(test_percent=50)))
    moved = compare(world, "a", "half").rows
    assert moved
    assert {(one.change, one.reason, one.fields) for one in moved} == {("changed", "asked", ("split",))}


def test_a_stricter_policy_takes_rows_out_and_says_that_it_did(tmp_path: Path) -> None:
    third = [(subject, VoteCast(revision=1, voter="v-3", label="good")) for subject in ("q0", "a0")]
    with log_of([*STEPS, *third], tmp_path) as world:
        sealed(world, Request("a"))
        sealed(world, Request("strict", policies=STRICT))
        found = reasons(world, "a", "strict")
        assert {row for row in found} == {f"{side}{at}" for side in "ab" for at in range(4)} - {"a0"}
        assert set(found.values()) == {("removed", "policy")}


def test_snapshots_of_two_kinds_or_two_logs_are_not_compared(world: Settings, tmp_path: Path) -> None:
    sealed(world, Request("a"))
    sealed(world, Request("c", "preference"))
    with pytest.raises(AssayError, match="two kinds"):
        compare(world, "a", "c")


# --- what was erased ---------------------------------------------------------------------------


def test_an_erased_author_taints_and_the_successor_is_without_their_texts(world: Settings) -> None:
    sealed(world, Request("a"))
    sealed(world, Request("pairs", "preference"))
    append(world, [(EVERYWHERE, AuthorErased(author="ann"))], start=1_000)
    held = lineage.holding(world, "ann")
    assert [(one.snapshot, len(one.rows)) for one in held] == [("a", 2), ("pairs", 1)]
    failing = {check.check for check in snapshots.verify(world, "a") if not check.holds}
    assert "no row holds a text of an erased author" in failing
    lineage.taint(world, "ann")
    assert snapshots.erased_in(world, "a") == {"ann": ["a0", "b3"]}
    assert lineage.tainted(world, "ann") == ["a", "pairs"]
    with pytest.raises(AssayError, match="nothing may learn from it") as caught:
        checked(world, "a", "test")
    assert "assay snapshot rebuild a" in str(caught.value.hint)
    made = successor(world, "a")
    assert (made.manifest.name, made.manifest.successor_of, made.manifest.rows) == ("a.2", "a", 6)
    assert made.manifest.left_out == {"erased": 2}
    assert all(check.holds for check in snapshots.verify(world, "a.2"))
    assert lineage.holding(world, "ann")[0].snapshot == "a"
    assert [(one.row, one.reason) for one in compare(world, "a", "a.2").rows] == [("a0", "erased"), ("b3", "erased")]
    with pytest.raises(AssayError, match="nothing of this snapshot was erased"):
        successor(world, "a.2")


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def assay(world: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Any]]:
    monkeypatch.setenv("ASSAY_KAFKA__BROKERS", str(world.kafka.brokers))
    monkeypatch.setenv("ASSAY_DATA_DIR", str(world.data_dir))
    settings.cache_clear()

    def call(*arguments: str, code: int = 0) -> Any:
        assert run(arguments) == code
        said = capsys.readouterr()
        return orjson.loads(said.out) if "--json" in arguments and not code else said.out + said.err

    yield call
    settings.cache_clear()


def test_the_command_line_asks_for_all_of_it(assay: Callable[..., Any], world: Settings, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[policy]\noverlap_min = 2\napprove_confidence_permille = 930\n")
    base = ("snapshot", "create", "x", "--dry-run", "--json", "--project", "p")
    said = assay(
        *base, "--policy", str(tmp_path / "p.toml"), "--split", "70/30", "--as-of", "2026-03-01T00:00:30Z", "--slice", "en/*/*"
    )
    manifest = said["manifest"]
    assert manifest["given_policies"]["p"]["policy"]["approve_confidence_permille"] == 930
    assert (manifest["split"], manifest["asked_slices"]) == ({"test_percent": 30, "by": "prompt"}, ["en/*/*"])
    assert manifest["as_of"] == "2026-03-01T00:00:30Z"
    assert assay(*base, "--format", "unpaired")["manifest"]["layout"] == "unpaired"
    assert list(assay(*base, "--format", "unpaired")["manifest"]["columns"]) == list(LAYOUTS["preference"])
    for arguments, what in (
        (("--split", "90"), "--split is not understood"),
        (("--as-of", "soon"), "--as-of is not understood"),
        (("--policy", "77"), "no such policy in the log"),
        (("--policy", "none.toml"), "no such policy file"),
        (("--slice", "en"), "that is no slice"),
        (("--licence", "p"), "--licence is not understood"),
    ):
        assert what in assay("snapshot", "create", "x", "--dry-run", "--project", "p", *arguments, code=2)


def test_lists_show_what_is_tainted_and_diffs_what_changed(assay: Callable[..., Any], world: Settings) -> None:
    sealed(world, Request("a"))
    append(world, [*LATER, (EVERYWHERE, AuthorErased(author="ann"))], start=1_000)
    lineage.taint(world, "ann")
    assert [(one["name"], one["tainted"]) for one in assay("snapshot", "list", "--json")] == [("a", True)]
    assert "TAINTED" in assay("snapshot", "show", "a")
    assert "NO" in assay("snapshot", "verify", "a", code=1)
    assert assay("snapshot", "rebuild", "a", "--dry-run", "--json")["manifest"]["name"] == "a.2"
    sealed(world, Request("b"))
    said = assay("snapshot", "diff", "a", "b", "--json")
    assert {one["reason"] for one in said["summary"]} == {"erased", "edited", "received"}
    shown = assay("snapshot", "diff", "a", "b")
    assert "an author of one of its texts was erased" in shown
    assert "SubmissionEdited at" in shown


# --- an archive --------------------------------------------------------------------------------


def test_an_archive_gives_the_very_same_snapshot(world: Settings, tmp_path: Path) -> None:
    append(world, LATER, start=1_000)
    made = sealed(world, Request("made", policies={"p": GivenPolicy(version=0, policy=Policy(approve_confidence_permille=930))}))
    folder = tmp_path / "archive"
    asyncio.run(archive(KafkaHistory(str(world.kafka.brokers)), folder, topics=[EVENTS.name]))
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    again = reproduce(elsewhere, made.path / "manifest.json", ArchiveHistory(folder))
    assert again.manifest.content_digest == made.manifest.content_digest
    assert again.manifest.files == made.manifest.files
    assert all(check.holds for check in snapshots.verify(elsewhere, "made", log=ArchiveHistory(folder)))


# --- as others read it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sft", ["messages"]),
        ("prompt-completion", ["prompt", "completion"]),
        ("prompt-only", ["prompt"]),
        ("preference", ["prompt", "chosen", "rejected"]),
        ("unpaired", ["prompt", "completion", "label"]),
    ],
)
def test_load_dataset_reads_each_format_first(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, columns: list[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets.disable_progress_bars()
    kind, layout = FORMATS[name]
    made = sealed(world, Request("made", kind, layout=layout))
    found = datasets.load_dataset(str(made.path), cache_dir=str(tmp_path / "cache"))
    assert found["train"].column_names[: len(columns)] == columns
    times = 2 if name == "unpaired" else 1
    # A split without rows is not there: `load_dataset` would fail at its file.
    assert {split: len(rows) for split, rows in found.items()} == {one: times * n for one, n in made.manifest.splits.items() if n}
