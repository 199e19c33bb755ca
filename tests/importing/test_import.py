"""assay import and assay ingest against a real broker: what goes in, once, and what is said about the rest."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson

from agents.log_reading import read_range
from agents.publishing import partition_of
from infra.importing.facts import Options
from infra.importing.publish import Message, known_events, message, publish
from infra.kafka.reading import ends
from schemas.topics import EVENTS
from schemas.wire import encode, told
from tests.importing.conftest import PARTITIONS, Assay, Call
from tests.importing.feeding import adapted, lines

ROOT = Path(__file__).parents[2]
HEADER = "seq,task,worker,label\n"


def votes(count: int) -> str:
    return HEADER + "".join(f"{n},t{n % 7},w{n % 5},{n % 2}\n" for n in range(count))


def votes_file(folder: Path, content: str) -> Path:
    path = folder / "votes.csv"
    path.write_text(content)
    return path


async def in_log(kafka: str, project: str) -> list[tuple[int, bytes, bytes, dict[str, bytes]]]:
    """(partition, key, value, headers) of the project's events."""
    found = []
    for place, end in (await ends(kafka, EVENTS.name)).items():
        async for batch in read_range(kafka, place, 0, end):
            found += [
                (r.partition, r.key, r.value, dict(r.headers)) for r in batch if r.key and r.key.startswith(project.encode())
            ]
    return found


async def test_a_file_of_before_a_new_version_adds_nothing(
    assay_in_thread: Call, topics: str, tmp_path: Path, project: str
) -> None:
    """It was imported when all was at version 1: the same ids, and other bytes."""
    path, gold = votes_file(tmp_path, votes(100)), "task,gold\nt1,1\nt2,0\n"
    (tmp_path / "gold.csv").write_text(gold)
    options = Options(project, gold=lines(gold))
    before = [_as_v1(message(one)) for one in adapted("crowd-csv", path.read_text(), options)[0]]
    assert {one.type for one in before} == {f"assay.{each}.v1" for each in ("SubmissionReceived", "GoldenAnswerSet", "VoteCast")}
    await publish(topics, PARTITIONS, before)
    said = await assay_in_thread("import", path, "--format", "crowd-csv", "--project", project, "--json")
    assert (said.json["new"], said.json["already_there"], said.json["problems_total"]) == (0, len(before), 0)


def _as_v1(one: Message) -> Message:
    event = orjson.loads(one.value)
    event["type"] = type_ = f"{one.type.rpartition('.')[0]}.v1"
    event["data"].pop("provenance", None)
    if "GoldenAnswerSet" in type_:
        verdict = {"good": "approved", "bad": "rejected"}[event["data"].pop("label")]
        event["data"] = {"revision": 1, "verdict": verdict, "set_by": event["data"]["set_by"]}
    assert told(orjson.dumps(event)).type == type_
    return one._replace(type=type_, value=orjson.dumps(event))


async def test_a_second_run_adds_nothing(assay_in_thread: Call, topics: str, tmp_path: Path, project: str) -> None:
    path = votes_file(tmp_path, votes(100))
    (tmp_path / "gold.csv").write_text("task,gold\nt1,1\n")
    command = ("import", path, "--format", "crowd-csv", "--project", project, "--json")
    first, second = await assay_in_thread(*command), await assay_in_thread(*command)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (first.json["events"], first.json["new"], first.json["already_there"]) == (108, 108, 0)
    assert (second.json["events"], second.json["new"], second.json["already_there"]) == (108, 0, 108)
    assert first.json["gold"] == str(tmp_path / "gold.csv")
    log = await in_log(topics, project)
    assert len(log) == 108
    for partition, key, value, headers in log:
        event = orjson.loads(value)
        assert event["subject"].encode() == key
        assert partition == partition_of(event["subject"], PARTITIONS)
        assert headers == {"ce_id": event["id"].encode(), "ce_type": event["type"].encode()}


async def test_an_interrupted_run_is_completed(assay_in_thread: Call, topics: str, tmp_path: Path, project: str) -> None:
    half = votes_file(tmp_path, votes(50))
    await assay_in_thread("import", half, "--format", "crowd-csv", "--project", project)
    whole = votes_file(tmp_path, votes(100))
    said = (await assay_in_thread("import", whole, "--format", "crowd-csv", "--project", project, "--json")).json
    assert (said["new"], said["already_there"]) == (50, 57)


async def test_another_body_under_the_same_id_is_refused(assay_in_thread: Call, tmp_path: Path, project: str) -> None:
    command = ("import", votes_file(tmp_path, votes(10)), "--format", "crowd-csv", "--project", project, "--json")
    await assay_in_thread(*command)
    votes_file(tmp_path, votes(10).replace("3,t3,w3,1", "3,t3,w3,0"))
    said = await assay_in_thread(*command)
    assert (said.code, said.json["problems_by_code"], said.json["new"]) == (1, {"id_reused": 1}, 0)
    assert said.json["problems"][0]["line"] == 5


async def test_without_the_look_at_the_log_it_is_sent_again(
    assay_in_thread: Call, topics: str, tmp_path: Path, project: str
) -> None:
    command = ("import", votes_file(tmp_path, votes(3)), "--format", "crowd-csv", "--project", project, "--no-skip")
    for _ in range(2):
        assert (await assay_in_thread(*command)).code == 0
    assert len(await in_log(topics, project)) == 12


async def test_a_dry_run_sends_nothing(assay_in_thread: Call, topics: str, tmp_path: Path, project: str) -> None:
    path = votes_file(tmp_path, votes(3) + "bad\n")
    said = await assay_in_thread("import", path, "--format", "crowd-csv", "--project", project, "--dry-run", "--json")
    assert (said.code, said.json["new"], said.json["problems_total"]) == (1, 6, 1)
    assert await in_log(topics, project) == []


def test_bad_lines_are_said_and_good_ones_go_in(assay: Assay, tmp_path: Path, project: str) -> None:
    path = votes_file(tmp_path, HEADER + "1,t,w,1\n" + "x,[red]t,w,[bold]\n" * 30 + "2,t,v,0\n")
    said = assay("import", path, "--format", "crowd-csv", "--project", project)
    assert said.code == 1
    assert "3 events: 3 sent" in said.out
    assert "30 not taken (30 bad_seq); the first 20:" in said.out
    assert "3     bad_seq" in said.out
    assert "23    bad_seq" not in said.out


def test_mistakes_are_one_line(assay: Assay, tmp_path: Path) -> None:
    path = votes_file(tmp_path, votes(1))
    for arguments, expected in (
        ((tmp_path / "none.csv", "--format", "crowd-csv"), "no such file"),
        ((tmp_path, "--format", "crowd-csv"), "this is a folder"),
        ((path, "--format", "xlsx"), "no such format; got: xlsx; hint: there are crowd-csv"),
        ((path, "--format", "crowd-csv", "--project", "a b"), "this cannot be a project's name; got: a b"),
        ((path, "--format", "crowd-csv", "--labels", "so so=1"), "this cannot be a label; got: so so; hint: letters"),
        ((path, "--format", "crowd-csv", "--labels", "good="), "--labels is not understood; got: good="),
        ((path, "--format", "crowd-csv", "--labels", "good=1,bad=1"), "--labels is not understood; got: bad=1"),
        ((path, "--format", "crowd-csv", "--gold", tmp_path / "g.csv"), "no such file"),
        ((path, "--format", "crowd-csv", "--start", "1969-01-01"), "--start is out of range"),
        ((path,), "--format"),
    ):
        said = assay("import", *arguments)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said.err
        assert expected in said.err


async def test_what_is_known_is_what_was_sent(topics: str, project: str) -> None:
    from infra.importing.publish import event_key, message

    events, _ = adapted("crowd-csv", votes(20), Options(project))
    assert await publish(topics, PARTITIONS, map(message, events)) == len(events)
    known = await known_events(topics)
    assert {event_key(event.id) for event in events} <= known.keys()


# --- ingest ------------------------------------------------------------------------------------


def ingest(kafka: str, folder: Path) -> "subprocess.Popen[bytes]":
    settings = {"ASSAY_KAFKA__BROKERS": kafka, "ASSAY_KAFKA__PARTITIONS": str(PARTITIONS), "ASSAY_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "infra.cli", "ingest", "-", "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=os.environ | settings)


async def test_ingest_sends_what_comes_while_more_is_to_come(topics: str, tmp_path: Path, project: str) -> None:
    events, _ = adapted("crowd-csv", votes(20), Options(project))
    with ingest(topics, tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for event in events[:5]:
            process.stdin.write(encode(event) + b"\n")
        process.stdin.write(b"nonsense\n")
        process.stdin.flush()
        while len(await in_log(topics, project)) < 5:
            assert process.poll() is None
        process.stdin.write(b"\n".join(encode(event) for event in events[5:]))
        process.stdin.close()
        said = orjson.loads(process.stdout.read())
    assert (process.returncode, said["new"], said["problems_by_code"]) == (1, len(events), {"not_json": 1})
    assert said["problems"][0]["line"] == 6
    assert len(await in_log(topics, project)) == len(events)


async def test_ingest_stops_at_ctrl_c(topics: str, tmp_path: Path, project: str) -> None:
    events, _ = adapted("crowd-csv", votes(2), Options(project))
    with ingest(topics, tmp_path) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(encode(events[0]) + b"\n")
        process.stdin.flush()
        while not await in_log(topics, project):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read().decode().startswith("assay: interrupted")
