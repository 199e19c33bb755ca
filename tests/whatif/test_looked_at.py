"""A preview that was looked at is recorded with what it was a preview of, and with nothing else."""

from pathlib import Path

import orjson
import pytest
from infra.tuning import Live, Wish, planned, policy_digest

from infra.errors import AssayError
from schemas.policy import Policy
from streams.policy_book import Book

DIGEST = "ab" * 32


def kept(folder: Path, policy: Policy, project: str = "p", slice_: str | None = None) -> Path:
    said = {"project": project, "slice": slice_, "policy_digest": policy_digest(policy), "changed": {"overlap_max": [5, 6]}}
    (folder / f"{DIGEST}.json").write_bytes(orjson.dumps(said))
    return folder


def wish(most: int) -> Wish:
    return Wish(project="p", set={"overlap_max": most}, reason="looked at", preview=DIGEST)


def test_the_preview_of_what_is_applied_is_recorded(tmp_path: Path) -> None:
    plan = planned(Book([]), wish(6), Live(), kept(tmp_path, Policy(overlap_max=6)))
    assert plan.change is not None
    assert plan.said["preview"] == DIGEST


@pytest.mark.parametrize(("most", "project", "slice_"), [(7, "p", None), (6, "q", None), (6, "p", "en/a/b")])
def test_a_preview_of_something_else_is_refused(tmp_path: Path, most: int, project: str, slice_: str | None) -> None:
    folder = kept(tmp_path, Policy(overlap_max=6), project, slice_)
    with pytest.raises(AssayError, match="this preview is of another policy"):
        planned(Book([]), wish(most), Live(), folder)


def test_a_preview_that_is_kept_elsewhere_is_taken(tmp_path: Path) -> None:
    assert planned(Book([]), wish(6), Live(), tmp_path).said["preview"] == DIGEST
