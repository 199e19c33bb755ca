"""Lineage, both ways: what stands behind a model or snapshot, and where a person's texts went."""

from pathlib import Path

import pytest

from infra import lineage, snapshots
from infra.runs import now, run_event
from infra.snapshots import Request
from schemas.events import TrainingFinished
from tests.jobs.conversations import approved, compared, edit, text, votes
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
