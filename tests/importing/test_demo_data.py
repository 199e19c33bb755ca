"""The demo's data is whole, the same every time, and small."""

from collections import Counter
from hashlib import sha256

from infra.demo_data import FOLDER, demo_events, demo_policies, gold
from infra.importing.publish import message
from schemas.events import GoldenAnswerSet, SubmissionReceived, VoteCast


def test_counts_ids_and_links() -> None:
    events = list(demo_events())
    assert len(events) == len({event.id for event in events}) == 48_828
    texts = {event.subject: event.data for event in events if isinstance(event.data, SubmissionReceived)}
    assert Counter(data.project for data in texts.values()) == {
        "sp": 4_999,
        "oasst": 1_167,
        "self-instruct": 350,
        "self-instruct-eval": 1_260,
    }
    assert all(data.prompt in texts for data in texts.values() if data.prompt is not None)
    votes = [event for event in events if isinstance(event.data, VoteCast)]
    assert all(event.subject in texts for event in votes)
    assert len({event.data.voter for event in votes if event.subject.startswith("sp-")}) == 203  # type: ignore[union-attr]
    golden = {event.subject: event.data.label for event in events if isinstance(event.data, GoldenAnswerSet)}
    assert golden == gold()
    assert len(golden) == 4_999
    assert {change.applied.subject for change in demo_policies()} == {data.project for data in texts.values()}


def test_the_same_bytes_every_time() -> None:
    digests = [sha256(b"".join(message(event).value for event in demo_events())).hexdigest() for _ in range(2)]
    assert digests[0] == digests[1]
    assert demo_policies() == demo_policies()


def test_each_part_has_its_source_and_all_is_small() -> None:
    parts = [path for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(parts) == 3
    for part in parts:
        assert "licence: Apache-2.0" in (part / "SOURCE.txt").read_text()
    assert sum(path.stat().st_size for part in parts for path in part.iterdir()) < 2_500_000
