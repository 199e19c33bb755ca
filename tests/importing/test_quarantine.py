"""What could not be handled: it is listed until it is settled, shown without harm, and sent again byte by byte."""

import asyncio
from typing import Any, NamedTuple

import pytest

from agents.log_reading import read_range
from agents.quarantine import Quarantine
from agents.settings import WorkerOptions
from infra.cli.quarantine import as_text
from infra.importing.facts import Options
from infra.importing.publish import publishing
from infra.kafka.reading import ends
from infra.quarantine import held
from schemas.topics import EVENTS
from schemas.wire import Undecodable, encode
from tests.importing.conftest import Assay
from tests.importing.feeding import adapted

EVIL = b'{"a": "\x1b]0;owned\x07\x1b[31m [red]\xe2\x80\xae'


class Consumed(NamedTuple):
    """What a worker's consumer gives, as far as the quarantine looks at it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    timestamp: int
    headers: tuple[tuple[str, bytes], ...] = ()


async def quarantined(kafka: str, project: str, *values: bytes) -> list[str]:
    """Put these aside as a worker does, and return their refs."""
    async with publishing(kafka) as publisher:
        quarantine = Quarantine(publisher, project, WorkerOptions())
        for offset, value in enumerate(values):
            record = Consumed(EVENTS.name, 1, offset, project.encode(), value, 1_700_000_000_000)
            quarantine.put(record, Undecodable("invalid", "\x1b[2J [bold]why"))
    return [str(record.ref) for record in await held(kafka) if record.projection == project]


async def events_of(kafka: str, project: str) -> list[tuple[int, bytes, dict[str, bytes]]]:
    found: list[Any] = []
    for place, end in (await ends(kafka, EVENTS.name)).items():
        async for batch in read_range(kafka, place, 0, end):
            found += [(one.partition, one.value, dict(one.headers)) for one in batch if one.key == project.encode()]
    return found


def listed(assay: Assay, project: str, *more: str) -> list[Any]:
    return [one for one in assay("quarantine", "list", "--json", *more).json if one["projection"] == project]


def test_replay_and_discard_settle(assay: Assay, topics: str, project: str) -> None:
    event = adapted("crowd-csv", "seq,task,worker,label\n1,t,w,1\n", Options(project))[0][0]
    good, evil, empty = asyncio.run(quarantined(topics, project, encode(event), EVIL, b""))
    assert [(one["code"], one["offset"], one["settled"]) for one in listed(assay, project)] == [
        ("invalid", 0, None),
        ("invalid", 1, None),
        ("invalid", 2, None),
    ]
    assert assay("quarantine", "replay", good, "--dry-run", "--json").json == {"replayed": [good], "dry_run": True}
    assert assay("quarantine", "replay", good, evil).code == 0
    assert assay("quarantine", "discard", empty, "--reason", "nothing in it", "--json").json["discarded"] == [empty]
    assert listed(assay, project) == []
    assert [one["settled"] for one in listed(assay, project, "--all")] == ["replayed", "replayed", "discarded"]
    again = asyncio.run(events_of(topics, project))
    assert [(partition, value) for partition, value, _ in again] == [(1, encode(event)), (1, EVIL)]
    assert [headers.get("ce_id") for *_, headers in again] == [event.id.encode(), None]
    for arguments in (("replay", good), ("discard", evil, "--reason", "x")):
        said = assay("quarantine", *arguments)
        assert (said.code, said.err) == (
            2,
            f"assay: this record was replayed already; got: {arguments[1]}; hint: `assay quarantine list` has what waits\n",
        )


def test_copies_are_listed_once_and_settled_together(assay: Assay, topics: str, project: str) -> None:
    """A worker that ended before its commit sets the same record aside again."""
    (ref,) = asyncio.run(quarantined(topics, project, EVIL))
    assert asyncio.run(quarantined(topics, project, EVIL)) == [ref]
    (one,) = listed(assay, project)
    assert (one["ref"], one["error"], one["code"], one["attempt"]) == (ref, "Undecodable", "invalid", 1)
    assert assay("quarantine", "discard", ref, "--reason", "a test").code == 0
    asyncio.run(quarantined(topics, project, EVIL))
    assert listed(assay, project) == []


def test_it_is_shown_without_harm(assay: Assay, topics: str, project: str) -> None:
    (ref,) = asyncio.run(quarantined(topics, project, EVIL + b"\xff\x00" + b"x" * 100_000))
    for said in (assay("quarantine", "list"), assay("quarantine", "show", ref)):
        assert all(each.isprintable() or each == "\n" for each in said.out)
        assert "[bold]why" in said.out
    assert "\\x1b]0;owned\\x07\\x1b[31m[red]" in said.out.replace(" ", "").replace("\n", "")
    assert "00000000  7b 22 61 22 3a 20 22 1b" in said.out
    assert "bytes more; --json has all of them" in said.out
    assert bytes.fromhex(assay("quarantine", "show", ref, "--json").json["value_hex"]).startswith(EVIL)


def test_bytes_as_text() -> None:
    assert as_text(b"a\x1b\xff\n\xc3\xa9\x00") == "a\\x1b\\xff\\n\u00e9\\x00"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "1"), "names no quarantined record; got: 1"),
        (("show", "-1/2"), ""),
        (("show", "0/99999999"), "no such quarantined record"),
        (("replay",), "name records, or all of them"),
        (("replay", "0/1", "--all"), "name records, or all of them, and not both"),
        (("discard", "0/99999999", "--reason", "x"), "no such quarantined record"),
        (("discard", "--all"), "reason"),
    ],
)
def test_mistakes_are_one_line(assay: Assay, arguments: tuple[str, ...], said: str) -> None:
    found = assay("quarantine", *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert said in found.err
