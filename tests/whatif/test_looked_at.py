"""A preview that was looked at is recorded with what it was a preview of, and with nothing else."""

from pathlib import Path

import pytest

from infra.errors import AssayError
from infra.policies.previews import digest_of, keep, path_of
from infra.policies.tuning import Live, Wish, planned, policy_digest
from schemas.policy import Policy
from streams.policy_book import Book


def kept(data_dir: Path, policy: Policy, project: str = "p", slice_: str | None = None) -> str:
    """The digest of a preview of this."""
    about = {"project": project, "slice": slice_, "policy_digest": policy_digest(policy), "changed": {"overlap_max": [5, 6]}}
    digest = digest_of(about | {"predicted": {}})
    keep(data_dir, "key", about | {"predicted": {}, "digest": digest})
    return digest


def wish(most: int, preview: str) -> Wish:
    return Wish(project="p", set={"overlap_max": most}, reason="looked at", preview=preview)


def test_the_preview_of_what_is_applied_is_recorded(tmp_path: Path) -> None:
    digest = kept(tmp_path, Policy(overlap_max=6))
    plan = planned(Book([]), wish(6, digest), Live(), tmp_path)
    assert plan.change is not None
    assert plan.said["preview"] == digest


@pytest.mark.parametrize(("most", "project", "slice_"), [(7, "p", None), (6, "q", None), (6, "p", "en/a/b")])
def test_a_preview_of_something_else_is_refused(tmp_path: Path, most: int, project: str, slice_: str | None) -> None:
    digest = kept(tmp_path, Policy(overlap_max=6), project, slice_)
    with pytest.raises(AssayError, match="this preview is of another policy"):
        planned(Book([]), wish(most, digest), Live(), tmp_path)


def test_a_preview_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    digest = kept(tmp_path, Policy(overlap_max=6))
    path = path_of(tmp_path, digest)
    path.write_bytes(path.read_bytes().replace(b'"p"', b'"q"'))
    with pytest.raises(AssayError, match="a preview cannot be read"):
        planned(Book([]), wish(6, digest), Live(), tmp_path)


def test_a_preview_that_is_kept_elsewhere_is_taken(tmp_path: Path) -> None:
    assert planned(Book([]), wish(6, "ab" * 32), Live(), tmp_path).said["preview"] == "ab" * 32
