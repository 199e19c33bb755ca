"""The committed files are those of the code; what is stale and what the log would not survive is named."""

import copy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from infra.golden_examples import EXAMPLES, without_upcast
from infra.schema_compatibility import breaches, widenings
from infra.schema_files import LEDGER, ROOT, Finding, asyncapi_whole, findings, generated, json_schema, write
from schemas.catalogue import EVENT_TYPES
from schemas.topics import FACT_TOPICS
from schemas.upcasts import UPCASTS, SubmissionReceivedV1

FILES = generated()
VOTE = "schemas/json/VoteCast.v1.json"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / EXAMPLES, tmp_path / EXAMPLES)
    for file in ("pyproject.toml", *FILES):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_the_committed_files_are_fresh() -> None:
    assert findings(FILES) == [], "run: assay schema check --write"


@pytest.mark.parametrize("file", [VOTE, "schemas/asyncapi.yaml", "docs/events.md"])
def test_stale_and_missing_files_are_named_and_rewritten(checkout: Path, file: str) -> None:
    with (checkout / file).open("a") as stale:
        stale.write(" ")
    assert findings(FILES, checkout) == [Finding(file, "stale")]
    (checkout / file).unlink()
    missing = findings(FILES, checkout)
    assert missing == [Finding(file, "missing")]
    write(FILES, missing, checkout)
    assert findings(FILES, checkout) == []


def test_an_event_type_may_not_go(checkout: Path) -> None:
    files = {name: text for name, text in FILES.items() if name != VOTE}
    assert findings(files, checkout) == [Finding(VOTE, "no event type has this schema any more", breaks=True)]


def test_a_damaged_file_is_stale(checkout: Path) -> None:
    (checkout / VOTE).write_text("{")
    assert findings(FILES, checkout) == [Finding(VOTE, "stale")]


def test_an_incompatible_change_breaks(checkout: Path) -> None:
    committed = orjson.loads(FILES[VOTE])
    committed["$defs"]["VoteCastV1"]["properties"]["label"]["enum"].append("superb")
    (checkout / VOTE).write_bytes(orjson.dumps(committed))
    broken, stale = findings(FILES, checkout)
    assert broken == Finding(VOTE, "incompatible at /data/label: values are refused now: superb", breaks=True)
    assert stale == Finding(VOTE, "stale")


GOLDEN = f"{EXAMPLES}/VoteCast.v1.json"


def test_a_widening_breaks_what_older_workers_read(checkout: Path) -> None:
    """The committed schema lacks a label that the code takes: a worker of that version refuses such votes."""
    committed = orjson.loads(FILES[VOTE])
    committed["$defs"]["VoteCastV1"]["properties"]["label"]["enum"].remove("bad")
    (checkout / VOTE).write_bytes(orjson.dumps(committed))
    reason = "incompatible at /data/label: it takes more than it did, which older workers refuse"
    assert findings(FILES, checkout) == [Finding(VOTE, reason, breaks=True), Finding(VOTE, "stale")]


def test_a_golden_example_may_not_change(checkout: Path) -> None:
    golden = checkout / GOLDEN
    golden.write_text(golden.read_text().replace("good", "bad"))
    assert findings(FILES, checkout) == [Finding(GOLDEN, "the golden example was changed", breaks=True)]
    assert generated(checkout)[LEDGER] == FILES[LEDGER], "a changed example is not made the golden one by --write"


def test_a_golden_example_may_not_go(checkout: Path) -> None:
    (checkout / GOLDEN).unlink()
    assert findings(FILES, checkout) == [Finding(GOLDEN, "the golden example is gone", breaks=True)]
    assert generated(checkout)[LEDGER] == FILES[LEDGER]


def test_a_golden_example_is_read_for_ever(checkout: Path) -> None:
    """As it would be by a code that takes less than the one that wrote it."""
    new = checkout / EXAMPLES / "VoteCast.v1.superb.json"
    new.write_text((checkout / GOLDEN).read_text().replace('"good"', '"superb"'))
    broken = [finding for finding in findings(generated(checkout), checkout) if finding.breaks]
    assert [(one.file, one.reason[:42]) for one in broken] == [
        (f"{EXAMPLES}/{new.name}", "the golden example is not read any more: a")
    ]


def test_a_new_example_becomes_golden(checkout: Path) -> None:
    shutil.copy(checkout / GOLDEN, checkout / EXAMPLES / "VoteCast.v1.another.json")
    files = generated(checkout)
    assert findings(files, checkout) == [Finding(LEDGER, "stale")]
    write(files, findings(files, checkout), checkout)
    assert findings(generated(checkout), checkout) == []
    subprocess.run(["sha256sum", "--check", "--quiet", "golden.sha256"], cwd=checkout / "schemas", check=True)


def test_every_older_version_has_an_upcast() -> None:
    assert without_upcast() == []
    without = dict(UPCASTS)
    without.pop(SubmissionReceivedV1)
    assert without_upcast(upcasts=without) == ["assay.SubmissionReceived.v1"]


def _data(schema: Any) -> Any:
    return schema["$defs"]["VoteCastV1"]


def _drop(schema: Any) -> None:
    del _data(schema)["properties"]["reason"]


def _require(schema: Any) -> None:
    _data(schema)["required"].append("reason")


def _new_required(schema: Any) -> None:
    _data(schema)["properties"]["country"] = {"type": "string"}
    _data(schema)["required"].append("country")


def _new_optional(schema: Any) -> None:
    _data(schema)["properties"]["country"] = {"type": "string"}


def _set(field: str, **changes: Any) -> Callable[[Any], None]:
    def change(schema: Any) -> None:
        _data(schema)["properties"][field] |= changes

    return change


def _not_null(schema: Any) -> None:
    _data(schema)["properties"]["reason"]["anyOf"].pop()


def _criterion(schema: Any) -> None:
    schema["$defs"]["Criterion"]["properties"]["score"]["maximum"] = 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop, "/data/reason: the field is gone"),
        (_require, "/data/reason: the field is required now"),
        (_new_required, "/data/country: the field is required now"),
        (_set("revision", maximum=9_999), "/data/revision: maximum was 10000 and is 9999"),
        (_set("revision", minimum=2), "/data/revision: minimum was 1 and is 2"),
        (_set("revision", type="string"), "/data/revision: the type was integer and is string"),
        (_set("revision", exclusiveMinimum=0), "/data/revision: exclusiveMinimum was free and is 0"),
        (_set("label", enum=["good"]), "/data/label: values are refused now: bad"),
        (_set("voter", pattern="^v"), "/data/voter: pattern was"),
        (_set("criteria", maxItems=8), "/data/criteria: maxItems was 16 and is 8"),
        (_criterion, "/data/criteria/*/score: maximum was 2 and is 1"),
        (_not_null, "/data/reason: the type was null and is string"),
    ],
)
def test_each_narrowing_is_incompatible(change: Callable[[Any], None], said: str) -> None:
    old = json_schema(EVENT_TYPES["assay.VoteCast.v1"])
    new = copy.deepcopy(old)
    change(new)
    assert any(f"incompatible at {said}" in str(breach) for breach in breaches(old, new))
    assert breaches(old, old) == widenings(old, old) == []


def _loosen(weights: Any) -> None:
    weights["maxProperties"] = 1_000_000


def _fewer_keys(weights: Any) -> None:
    weights["patternProperties"] = {"^v": next(iter(weights["patternProperties"].values()))}


def _narrow_values(weights: Any) -> None:
    next(iter(weights["patternProperties"].values()))["maximum"] = 10


@pytest.mark.parametrize(("change", "said"), [(_loosen, ""), (_fewer_keys, "keys were"), (_narrow_values, "/*: maximum was")])
def test_free_keys_are_compared(change: Callable[[Any], None], said: str) -> None:
    old = json_schema(EVENT_TYPES["assay.SkillsEstimated.v1"])
    new = copy.deepcopy(old)
    change(new["$defs"]["SkillsEstimatedV1"]["properties"]["weights_milli_nats"])
    assert [said in str(breach) for breach in breaches(old, new)] == ([True] if said else [])


@pytest.mark.parametrize(
    "change",
    [_new_optional, _set("revision", maximum=20_000), _set("label", enum=["good", "bad", "superb"]), _set("voter", title="x")],
)
def test_a_widening_is_no_narrowing(change: Callable[[Any], None]) -> None:
    old = json_schema(EVENT_TYPES["assay.VoteCast.v1"])
    new = copy.deepcopy(old)
    change(new)
    assert breaches(old, new) == []
    assert len(widenings(old, new)) == (0 if new["$defs"]["VoteCastV1"]["properties"]["voter"]["title"] == "x" else 1)


def test_the_asyncapi_document_names_every_topic_and_type() -> None:
    document = yaml.safe_load(FILES["schemas/asyncapi.yaml"])
    assert {channel["address"] for channel in document["channels"].values()} == {topic.name for topic in FACT_TOPICS}
    named = {message["name"]: message["payload"]["schema"]["$ref"] for message in document["components"]["messages"].values()}
    assert set(named) == set(EVENT_TYPES)
    assert {ref.replace("./", "schemas/") for ref in named.values()} <= set(FILES)
    whole = asyncapi_whole()["components"]["messages"]["VoteCast.v1"]["payload"]["schema"]
    assert whole == orjson.loads(FILES[VOTE])
