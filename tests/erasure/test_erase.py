"""After `assay erase` no file under the data directory has the author's words, and everything that was decided still holds."""

import asyncio
import contextlib
import gzip
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.keys import Erasure, KeyStore
from agents.settings import WorkerOptions
from infra import erasure
from infra.clickhouse import migrate
from infra.clickhouse.engine import open_store
from infra.clickhouse.reconcile import reconcile
from infra.clickhouse.sink import Limits, Sink
from infra.history.kafka import KafkaHistory
from infra.importing.publish import publish
from infra.kafka.reading import ends
from infra.scanning import scan
from infra.settings import Settings
from infra.settling import Lag, settled
from schemas import events as e
from schemas.identity import event_id
from schemas.words import Frozen
from tests.agents.workers import FOLDS, worker
from tests.erasure.conftest import PARTITIONS, Assay
from tests.jobs.conversations import START, event, text, votes

Step = tuple[str, Frozen]


def words(who: str, number: int) -> str:
    return f'{who} wrote this, number {number}: "das Wörterbuch"\nliegt auf dem Tisch.'


def conversation(at: str, writer: str) -> list[Step]:
    asked = text(f"{at}:q", words(f"{writer} asking", 1), writer="w-other")
    answered = text(f"{at}:a", words(writer, len(at)), prompt=f"{at}:q", writer=writer)
    return [asked, *votes(f"{at}:q"), answered, *votes(f"{at}:a")]


def edited(subject: str, editor: str, body: str, revision: int = 2) -> Step:
    return subject, e.SubmissionEdited(revision=revision, editor=editor, text=body)


STEPS: list[Step] = [
    *conversation("one", "w-gone"),
    *conversation("three", "w-gone"),
    *conversation("kept", "w-stays"),
    # Others' hands in the author's text, and the author's in another's.
    edited("three:a", "ed", words("ed, with what w-gone said", 2)),
    *votes("three:a", revision=2),
    *conversation("four", "w-stays"),
    edited("four:a", "w-gone", words("w-gone as editor", 9)),
    *votes("four:a", revision=2),
    ("kept:q", e.VoteCast(revision=1, voter="w-gone", label="bad", reason=words("w-gone as voter", 4))),
]
GONE = [
    words("w-gone", 3), words("w-gone", 5), words("ed, with what w-gone said", 2), words("w-gone as editor", 9),
    words("w-gone as voter", 4),
]  # fmt: skip
KEPT = [words("w-stays", 4), words("w-stays", 5), words("w-gone asking", 1)]


def lines(steps: Iterable[Step], start: int = 0) -> bytes:
    return b"".join(event(subject, number, data)[1] + b"\n" for number, (subject, data) in enumerate(steps, start))


def folded(world: Settings) -> None:
    """Let workers fold and analyse the log, to its end."""
    brokers, number = world.kafka.brokers or "", len(list(world.data_dir.glob("folds-*.log")))
    told = {"ASSAY_DATA_DIR": str(world.data_dir), "ASSAY_WORKER__EMBEDDER": "hashing"}
    with (
        worker(brokers, world.data_dir, f"folds-{number}", **told) as folds,
        worker(brokers, world.data_dir, f"analysis-{number}", **told, ASSAY_WORKER__AGENTS="analysis") as analysis,
    ):

        def watch(_: list[Lag]) -> None:
            folds.check()
            analysis.check()

        asyncio.run(settled(brokers, [FOLDS, WorkerOptions(agents="analysis")], watch))
        assert (folds.stop(), analysis.stop()) == (0, 0)


def stored(world: Settings) -> tuple[bool, list[Any]]:
    """Let a sink store the log, to its end: whether ClickHouse equals it, and what v_texts says."""
    with contextlib.closing(open_store(world)) as store:
        migrate.up(store)
        brokers = world.kafka.brokers or ""

        async def store_it() -> bool:
            sink, stop = Sink(store, brokers, Limits(seconds=0.05)), asyncio.Event()
            running = asyncio.create_task(sink.run(stop))
            async with asyncio.timeout(60):
                while not running.done() and (not sink.started.is_set() or sink.lag):  # noqa: ASYNC110  # it is a number
                    await asyncio.sleep(0.05)
            stop.set()
            await running
            return all(one.holds for one in await reconcile(brokers, store.client(store.database), 10))

        equal = asyncio.run(store_it())
        asked = "SELECT submission, text, sealed, erased FROM v_texts WHERE project = 'p' ORDER BY submission"
        return equal, list(store.client(store.database).query(asked).result_rows)


def characters(world: Settings) -> dict[str, int]:
    """What the analysis saw of each submission's first revision."""
    with contextlib.closing(open_store(world)) as store:
        asked = """SELECT subject, JSONExtractUInt(data, 'characters') FROM events
            WHERE type = 'SubmissionAnalysed' AND JSONExtractUInt(data, 'revision') = 1"""
        return dict(store.client(store.database).query(asked).result_rows)


def found(world: Settings, texts: list[str]) -> dict[str, list[int]]:
    looked = scan(world, texts)
    assert looked.not_looked_at == {}
    return looked.found


def ended() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_author_is_erased_everywhere(assay: Assay, world: Settings, here: Path) -> None:
    (here / "events.jsonl").write_bytes(lines(STEPS))
    assert assay("ingest", here / "events.jsonl").code == 0
    folded(world)
    assert stored(world)[0]
    assert assay("verify", "--json").json["holds"] is True
    sealed = assay("snapshot", "create", "before", "--json").json["manifest"]
    assert sealed["rows"] == 4
    assert assay("archive").code == 0
    assert list((world.data_dir / "archive").rglob("*.parquet"))

    # Until then texts stand in the snapshot and nowhere else.
    assert {place.split("/")[1] for place in found(world, GONE + KEPT)} == {"before"}
    (here / "texts.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in GONE))
    would = assay("erase", "w-gone", "--dry-run", "--check", "--json")
    assert would.json["state"] == "would_be_erased"
    assert (would.json["submissions"], would.json["edited_submissions"], would.json["keys_destroyed"]) == (2, 1, 3)
    assert list(would.json["check"]["found"]) == [place for place in would.json["check"]["found"] if "before" in place]
    assert would.json["check"]["found"]

    # Somebody was killed while a snapshot was being written.
    left = world.data_dir / "snapshots" / f".{ended()}.part"
    left.mkdir()
    (left / "train.parquet").write_text(GONE[0])

    done = assay("erase", "w-gone", "--reason", "asked for it", "--check", "--json")
    assert done.code == 0
    assert done.json["check"]["holds"] is True
    assert done.json["check"]["texts"] == 4
    assert [one["snapshot"] for one in done.json["snapshots"]] == ["before"]
    folded(world)
    equal, texts = stored(world)
    assert equal
    assert {name: (said == "", sealed, gone) for name, said, sealed, gone in texts if name.endswith(":a")} == {
        "one:a": (True, True, True),
        "three:a": (True, True, True),
        "four:a": (True, True, True),
        "kept:a": (False, True, False),
    }
    assert characters(world)["one:a"] == len(GONE[0])
    assert assay("archive").code == 0
    assert found(world, GONE) == {}
    assert assay("erase", "w-gone", "--check", "--texts", here / "texts.jsonl", "--json").code == 0

    # What was decided still holds, and what rests on the texts says what it lacks.
    assert assay("verify", "--json").json["holds"] is True
    after = assay("snapshot", "create", "after", "--json").json["manifest"]
    assert (after["rows"], after["left_out"]) == (1, {"erased": 3})
    assert {place.split("/")[1] for place in found(world, KEPT)} == {"after"}
    rebuilt = assay("snapshot", "rebuild", "before", "--json")
    assert (rebuilt.code, rebuilt.json["manifest"]["content_digest"]) == (0, after["content_digest"])
    again = assay("erase", "w-gone", "--json").json
    assert (again["state"], again["keys_destroyed"], [one["snapshot"] for one in again["snapshots"]]) == (
        "erased_before",
        0,
        ["before"],
    )


def test_nothing_more_is_taken_from_an_erased_author(assay: Assay, here: Path) -> None:
    steps = [text("late:q", words("w-late", 1), writer="w-late"), text("late:r", words("w-late", 2), writer="w-late")]
    (here / "events.jsonl").write_bytes(lines(steps[:1], 500))
    assert assay("ingest", here / "events.jsonl").code == 0
    assert assay("erase", "w-late").code == 0
    (here / "events.jsonl").write_bytes(lines(steps, 500) + lines([edited("late:q", "ed", words("ed", 3))], 510))
    said = assay("import", here / "events.jsonl", "--format", "jsonl", "--json")
    assert said.code == 1
    assert said.json["problems_by_code"] == {"author_erased": 3}
    assert assay("erase", "w-late", "--json").json["state"] == "erased_before"


def test_what_was_never_sealed_is_said_loudly(assay: Assay, world: Settings) -> None:
    from infra.importing.publish import message
    from schemas.wire import decode

    steps = [text("plain:q", words("w-plain", 1), writer="w-plain"), edited("plain:q", "ed", words("ed", 7))]
    events = [decode(event(subject, 600 + number, data)[1]) for number, (subject, data) in enumerate(steps)]
    asyncio.run(publish(world.kafka.brokers or "", PARTITIONS, map(message, events)))
    said = assay("erase", "w-plain", "--check", "--json")
    assert said.code == 1
    assert (said.json["plain_left"], len(said.json["plain_places"]), said.json["check"]["holds"]) == (2, 2, False)
    assert [place for place in said.json["check"]["found"] if "assay.events.v1" in place]
    assert "2 texts or reasons were never sealed, and stay readable" in " ".join(assay("erase", "w-plain").out.split())


@pytest.mark.parametrize("died", ["after the keys", "after the event"])
def test_an_erasure_that_died_is_completed(assay: Assay, world: Settings, here: Path, died: str) -> None:
    name = "w-" + died.rpartition(" ")[2]
    (here / "events.jsonl").write_bytes(lines([text(f"{name}:q", words(name, 1), writer=name)], 900 + len(name)))
    assert assay("ingest", here / "events.jsonl").code == 0
    keys, survey = KeyStore(world.data_dir / "keys"), erasure.look(world, name)
    if died == "after the event":
        erasure.erase(world, survey, None)
    else:
        keys.destroy(Erasure(name, event_id(START, name), START.isoformat(), None, tuple(survey.written)))
    assert assay("keys", "status", "--json").json["unfinished_erasures"] == [name]
    states = [assay("erase", name, "--json").json["state"] for _ in range(2)]
    assert states == ["completed", "erased_before"]
    assert assay("keys", "status", "--json").json["unfinished_erasures"] == []
    assert asyncio.run(told_of(world, name)) == dict.fromkeys(range(PARTITIONS), 1)


async def told_of(world: Settings, name: str) -> Counter[int]:
    """How often each partition says that this author was erased."""
    found = Counter[int]()
    for (topic, partition), end in (await ends(world.kafka.brokers or "", "assay.events.v1")).items():
        async for record in KafkaHistory(world.kafka.brokers or "").records(topic, partition, end):
            found[partition] += isinstance(record.event.data, e.AuthorErased) and record.event.subject == name
    return found


def test_a_restored_key_store_is_destroyed_again(assay: Assay, world: Settings, here: Path) -> None:
    (here / "events.jsonl").write_bytes(lines([text("back:q", words("w-back", 1), writer="w-back")], 700))
    assert assay("ingest", here / "events.jsonl").code == 0
    keys = world.data_dir / "keys" / "keys.jsonl"
    copy = keys.read_bytes()
    assert assay("erase", "w-back").code == 0
    keys.write_bytes(copy)
    assert not KeyStore(keys.parent).is_erased("w-back")
    assert assay("keys", "status", "--json").json["revived"] == ["w-back"]
    assert assay("erase", "w-back", "--json").json["keys_destroyed"] == 1
    assert KeyStore(keys.parent).is_erased("w-back")


def test_nobody_of_this_name(assay: Assay) -> None:
    said = assay("erase", "w-never")
    assert said.code == 2
    assert "nobody of this name said anything; got: w-never" in said.err


def test_the_keys_are_rotated(assay: Assay, here: Path) -> None:
    (here / "events.jsonl").write_bytes(lines([text("turn:q", words("w-turn", 1), writer="w-turn")], 800))
    assert assay("ingest", here / "events.jsonl").code == 0
    before = assay("keys", "status", "--json").json
    assert assay("keys", "rotate", "--dry-run", "--json").json["rewrapped"] == before["authors"] + before["edited_submissions"]
    assert assay("keys", "rotate", "--json").json["old"] == before["master_fingerprint"]
    after = assay("keys", "status", "--json").json
    assert after["master_fingerprint"] != before["master_fingerprint"]
    assert after["authors"] == before["authors"]


@pytest.mark.parametrize("form", ["plain", "json", "gzip", "parquet", "cut"])
def test_a_planted_text_is_found(form: str, tmp_path: Path) -> None:
    said = words("somebody", 1)
    raw = said.encode()
    if form == "parquet":
        pq.write_table(pa.table({"messages": [[{"role": "user", "content": said}]] * 3}), tmp_path / "a.parquet")
    else:
        content = {
            "plain": b"before" + raw,
            "json": orjson.dumps({"text": said}),
            "gzip": gzip.compress(raw),
            "cut": raw[: len(raw) // 2 + 33],
        }[form]
        (tmp_path / ("a.gz" if form == "gzip" else "a.bin")).write_bytes(content)
    assert list(found(Settings(data_dir=tmp_path), [said, words("nobody", 2)]).values()) == [[0]]
