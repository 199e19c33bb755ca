"""Every event type goes to bytes and back unchanged, and everything outside its bounds is refused by name."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from schemas.catalogue import EVENT_TYPES, NEWEST
from schemas.policy import Policy
from schemas.upcasts import UPCASTS
from schemas.wire import TooNew, Undecodable, Wire, decode, encode, headers, told
from streams.projection import record_of
from tests.schemas.strategies import any_event, events

EXAMPLES = Path(schemas.__file__).parent / "examples"
TYPES = sorted(EVENT_TYPES)


def example(type_: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((EXAMPLES / f"{type_.removeprefix('assay.')}.json").read_bytes())
    return found


@pytest.mark.parametrize("type_", TYPES)
def test_any_event_goes_round(type_: str) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(events(EVENT_TYPES[type_]))
    def goes_round(raw: dict[str, Any]) -> None:
        event = told(orjson.dumps(raw))
        value = encode(event)
        assert told(value) == event
        assert encode(told(value)) == value
        newest = decode(value)
        assert decode(encode(newest)) == newest

    goes_round()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(any_event(), st.data())
def test_whatever_is_cut_or_turned_over_is_refused_or_still_an_event(raw: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(orjson.dumps(raw))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] = data.draw(st.integers(0, 255))
    for damaged in (bytes(value), bytes(value[:place])):
        assert code_of(damaged) in {"", "not_json", "unknown_type", "too_new", "invalid"}


def code_of(value: bytes) -> str:
    try:
        decode(value)
    except Undecodable as refused:
        return refused.code
    return ""


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"null", "invalid"),
        (b"[1]", "invalid"),
        (b"{}", "invalid"),
        (b'{"type": 7}', "invalid"),
        (b'{"type": "assay.VoteCast.v1"}', "invalid"),
        (b'{"type": "assay.VoteCast.v2"}', "invalid"),
        (b'{"type": "assay.VoteCast.v3"}', "too_new"),
        (b'{"type": "assay.VoteCounted.v1"}', "unknown_type"),
        (b'{"type": "com.example.thing"}', "unknown_type"),
        (b'{"type": "' + b"x" * 10_000 + b'"}', "unknown_type"),
    ],
)
def test_what_is_no_event_has_a_code(value: bytes, code: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(value)
    assert refused.value.code == code
    assert len(str(refused.value)) <= 1_000


# --- every bound has its violation -------------------------------------------------------------


def violations(type_: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The example of this type, wrong in one place, for every bound of every field that stands in it."""
    schema = EVENT_TYPES[type_].event.model_json_schema()
    good = example(type_)
    for path, bad in _wrong(schema, good, schema.get("$defs", {}), ()):
        planted = copy.deepcopy(good)
        _put(planted, path, bad)
        yield f"{'/'.join(map(str, path))}={str(bad)[:40]!r}", planted


GONE = object()


def _wrong(schema: Any, value: Any, defs: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if "$ref" in schema:
        schema = defs[schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if isinstance(value, dict) and "properties" in schema:
        yield (*path, "unheard_of"), 1
        yield from (((*path, name), GONE) for name in schema.get("required", ()))
        for name, field in value.items():
            yield from _wrong(schema["properties"][name], field, defs, (*path, name))
        return
    if isinstance(value, list) and "items" in schema:
        yield path, [value[0]] * (schema["maxItems"] + 1) if value else "no list"
        if schema.get("minItems"):
            yield path, value[: schema["minItems"] - 1]
        for place, item in enumerate(value[:1]):
            yield from _wrong(schema["items"], item, defs, (*path, place))
    yield from ((path, bad) for bad in _wrong_leaves(schema))


_ODD_TEXTS = ("", "\n", "-a", "a b", "x" * 129 + "é", "a\n")


def _wrong_leaves(schema: Any) -> Iterator[Any]:
    yield from ({"a": []}, 1.5)
    if schema.get("type") != "array":
        yield []
    if schema.get("type") != "boolean" and 1 not in schema.get("enum", ()):  # for pydantic, true is the literal 1
        yield True
    if "minimum" in schema:
        yield from (schema["minimum"] - 1, schema["maximum"] + 1, str(schema["minimum"]))
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield ""
    if "pattern" in schema:
        yield from (bad for bad in _ODD_TEXTS if re.fullmatch(schema["pattern"], bad) is None)
    if "enum" in schema or "const" in schema:
        yield "something else"


def _put(planted: Any, path: tuple[Any, ...], bad: Any) -> None:
    for step in path[:-1]:
        planted = planted[step]
    if bad is GONE:
        del planted[path[-1]]
    else:
        planted[path[-1]] = bad


@pytest.mark.parametrize("type_", TYPES)
def test_every_bound_refuses(type_: str) -> None:
    count = 0
    for where, planted in violations(type_):
        with pytest.raises(Undecodable):
            pytest.fail(f"{where} was taken: {decode(orjson.dumps(planted))!r:.200}")
        count += 1
    assert count > 20


@pytest.mark.parametrize("time", ["2026-03-14T09:26:53+01:00", "2026-03-14T09:26:53", "2026-02-30T00:00:00Z", "soon", 1.5])
def test_times_are_utc(time: object) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(orjson.dumps(example("assay.VoteCast.v1") | {"time": time}))
    assert refused.value.code == "invalid"
    assert "/time" in str(refused.value)


def test_before_1970_there_are_no_records() -> None:
    value = orjson.dumps(example("assay.VoteCast.v1") | {"time": "1969-12-31T23:59:59.999Z"})
    with pytest.raises(Undecodable, match="before 1970"):
        record_of(0, 0, value)


def test_after_3110_there_are_none_either() -> None:
    """Review would derive judgements from them that the schema refuses: lost to the next fold, and to `assay verify`."""
    last = orjson.dumps(example("assay.VoteCast.v1") | {"time": "3110-10-18T16:59:59.999Z"})
    hour = record_of(0, 0, last).time_ms // 3_600_000
    assert hour == 10_000_000
    decode(orjson.dumps(_judged(hour)))
    with pytest.raises(Undecodable, match="hour"):
        decode(orjson.dumps(_judged(hour + 1)))
    with pytest.raises(Undecodable, match="after the year 3110"):
        record_of(0, 0, last.replace(b"16:59:59.999Z", b"17:00:00.000Z"))


def _judged(hour: int) -> dict[str, Any]:
    raw = example("assay.JudgementScored.v1")
    raw["data"]["hour"] = hour
    return raw


@pytest.mark.parametrize(
    ("version", "planted", "said"),
    [
        (1, {"overlap_min": 9, "overlap_max": 8}, r"overlap_max \(8\) is below overlap_min \(9\)"),
        (2, {"overlap_min": 9, "overlap_max": 8}, r"overlap_max \(8\) is below overlap_min \(9\)"),
        (2, {"preference_overlap_min": 9, "preference_overlap_max": 8}, r"preference_overlap_max \(8\) is below"),
        (2, {"labels": ["good", "bad", "good"]}, "labels names one twice"),
        (2, {"approving": ["good", "good"]}, "approving names one twice"),
        (2, {"preference_criteria": ["helpful", "helpful"]}, "criteria names one twice"),
        (2, {"approving": ["good", "great"]}, "approving has great, which labels has not"),
    ],
)
def test_a_policy_agrees_with_itself(version: int, planted: dict[str, Any], said: str) -> None:
    raw = example(f"assay.PolicyApplied.v{version}")
    raw["data"]["policy"] |= planted
    with pytest.raises(Undecodable, match=said):
        decode(orjson.dumps(raw))


_DEFAULTS: dict[str, Any] = Policy().model_dump(mode="json")
_MAJORITY = {"aggregation": "majority"} | {f"{rule}_action": "notify" for rule in ("disagreement", "golden", "hurry")}
_BY_MAJORITY = {"model": "majority", "skills_version": 0}
_ZEROS = {
    "project": "none",
    "task": "review",
    "prior_milli_nats": [0, 0],
    "default_milli_nats": [0] * 4,
    "weights_milli_nats": {},
}
#: An older version of a type -> the fields that the newest has beside those of the example, and those that are gone.
SINCE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "SubmissionReceived.v1": ({"provenance": "unknown"}, ()),
    "VoteCast.v1": ({}, ()),
    "GoldenAnswerSet.v1": ({"label": "bad"}, ("verdict",)),
    "PolicyProposed.v1": (
        {"policy": _DEFAULTS | example("assay.PolicyProposed.v1")["data"]["policy"] | _MAJORITY, "inherits": False},
        (),
    ),
    "PolicyProposed.v2": ({"inherits": False}, ()),
    "PolicyApplied.v1": (
        {"policy": _DEFAULTS | example("assay.PolicyApplied.v1")["data"]["policy"] | _MAJORITY, "inherits": False},
        (),
    ),
    "PolicyApplied.v2": ({"inherits": False}, ()),
    "SkillsEstimated.v1": (
        {**_ZEROS, "model": "majority", "champion": False, "labels": ["good", "bad"]}
        | {"temperature_permille": 1_000, "temperature_per_vote_permille": 0, "golden_answers": 0, "more": False, "sweep": False},
        (),
    ),
    "VerdictReached.v1": ({"label": "good", "confidence_permille": 984, "because": "confidence", **_BY_MAJORITY}, ()),
    "VerdictReopened.v1": ({}, ()),
    "OverlapRequested.v1": (
        {"because": "unsure", "label": "good", "confidence_permille": 500, "confidence_needed_permille": 0},
        (),
    ),
    "JudgementScored.v1": ({"task": "review", "truth": "good"}, ("verdict",)),
    "JudgementScored.v1.takenback": ({"task": "review"}, ()),
    "AnnotatorFlagged.v1": ({"task": "review", "action": "notify", "evidence": [], "subjects": []}, ()),
    "AnnotatorCleared.v1": ({"task": "review", "reason": "recovered"}, ()),
}


@pytest.mark.parametrize("name", SINCE)
def test_an_old_version_is_upcast_and_told_as_it_was(name: str) -> None:
    old = example(f"assay.{name}")
    event = decode(orjson.dumps(old))
    added, gone = SINCE[name]
    data = {field: value for field, value in old["data"].items() if field not in gone} | added
    type_ = name.split(".", maxsplit=1)[0]
    assert orjson.loads(encode(event)) == old | {"type": f"assay.{type_}.v{NEWEST[type_]}", "data": data}
    assert type(event) is EVENT_TYPES[event.type].event
    assert orjson.loads(encode(told(orjson.dumps(old)))) == old


def test_every_upcast_is_tested() -> None:
    assert {f"assay.{name}" for name in SINCE} >= {entry.type for entry in EVENT_TYPES.values() if entry.data in UPCASTS}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"verdict": "rejected", "log_odds_milli_nats": -2772}, {"label": "bad", "confidence_permille": 941}),
        ({"verdict": "escalated", "log_odds_milli_nats": 0}, {"because": "overlap_max", "confidence_permille": 500}),
        ({"log_odds_milli_nats": 100_000_000}, {"confidence_permille": 999}),
    ],
)
def test_a_verdict_of_version_1_says_which_label_leads(change: dict[str, Any], expected: dict[str, Any]) -> None:
    old = example("assay.VerdictReached.v1")
    old["data"] |= change
    assert orjson.loads(encode(decode(orjson.dumps(old))))["data"].items() >= expected.items()


@pytest.mark.parametrize(
    ("outcome", "label", "verdict", "truth"),
    [
        ("agreed", "bad", "rejected", "bad"),
        ("disagreed", "good", "rejected", "bad"),
        ("golden_right", "bad", None, "bad"),
        ("golden_wrong", "bad", None, "good"),
        ("golden_wrong", None, None, None),
    ],
)
def test_a_judgement_of_version_1_says_what_was_right(outcome: str, label: Any, verdict: Any, truth: Any) -> None:
    old = example("assay.JudgementScored.v1")
    old["data"] |= {"outcome": outcome, "label": label, "verdict": verdict}
    assert orjson.loads(encode(decode(orjson.dumps(old))))["data"].get("truth") == truth


def test_a_golden_answer_of_version_1_is_a_label() -> None:
    old = example("assay.GoldenAnswerSet.v1")
    old["data"]["verdict"] = "approved"
    assert orjson.loads(encode(decode(orjson.dumps(old))))["data"]["label"] == "good"


def test_every_chain_ends_at_the_newest_version() -> None:
    for entry in EVENT_TYPES.values():
        event = decode(orjson.dumps(example(entry.type)))
        assert event.type == f"assay.{entry.name}.v{NEWEST[entry.name]}"
        assert type(event.data) not in UPCASTS


def test_an_earlier_version_of_assay_reads_no_later_version_of_a_type() -> None:
    earlier = Wire(entry for entry in EVENT_TYPES.values() if entry.type != "assay.SubmissionReceived.v2")
    assert earlier.decode(orjson.dumps(example("assay.SubmissionReceived.v1"))).subject == "poem-000042"
    with pytest.raises(TooNew, match="SubmissionReceived v2 is newer than v1") as refused:
        earlier.decode(orjson.dumps(example("assay.SubmissionReceived.v2")))
    assert refused.value.code == "too_new"


def test_newest_versions_and_headers() -> None:
    assert set(NEWEST) == {entry.name for entry in EVENT_TYPES.values()}
    assert headers("an-id", "a-type") == [("ce_id", b"an-id"), ("ce_type", b"a-type")]
