"""Assay's own events: whatever may be told from outside goes in, byte for byte in effect."""

from pathlib import Path

import orjson
import pytest

import schemas
from infra.importing.jsonl import IMPORTABLE
from schemas.wire import told
from tests.importing.feeding import adapted, codes, json_lines

EXAMPLES = [orjson.loads(path.read_bytes()) for path in sorted((Path(schemas.__file__).parent / "examples").iterdir())]


def test_every_fact_about_a_subject_goes_in_and_nothing_else() -> None:
    events, problems = adapted("jsonl", json_lines(*EXAMPLES))
    allowed = [told(orjson.dumps(one)) for one in EXAMPLES if one["type"] in IMPORTABLE]
    assert events == allowed
    assert {problem.code for problem in problems} == {"not_importable"}
    assert {event.type for event in events} == IMPORTABLE
    named = {type_.split(".")[1] for type_ in IMPORTABLE}
    assert {"SubmissionRuled", "SubmissionReopened"} < named
    assert not named & {"VerdictReached", "PolicyApplied", "SkillsEstimated", "ClockTicked", "LeaseGranted", "AnnotatorEnrolled"}


GOOD = next(one for one in EXAMPLES if one["type"] == "assay.VoteCast.v1")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "not_json"),
        (b"[]", "invalid"),
        (orjson.dumps(GOOD | {"type": "assay.VoteCast.v9"}), "too_new"),
        (orjson.dumps(GOOD | {"type": "assay.Nothing.v1"}), "unknown_type"),
        (orjson.dumps(GOOD | {"extra": 1}), "invalid"),
        (orjson.dumps(GOOD | {"time": "2026-01-01T00:00:00+02:00"}), "invalid"),
        (orjson.dumps(GOOD | {"time": "1960-01-01T00:00:00Z"}), "invalid"),
        (orjson.dumps(GOOD | {"id": "not-a-uuid"}), "invalid"),
        (b"\xff", "not_utf8"),
    ],
)
def test_a_bad_line_is_named(line: bytes, code: str) -> None:
    events, problems = adapted("jsonl", json_lines(GOOD) + line + b"\n" + json_lines(GOOD))
    assert codes(problems) == [(2, code)]
    assert problems[0].hint
    assert len(events) == 2
