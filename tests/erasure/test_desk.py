"""The desk hands out nothing that was erased, and takes back what it had handed out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.keys import Erasure, KeyStore
from schemas import events as e
from schemas.words import Frozen
from streams.sealed import associated, author
from tests.assignment.worlds import World, applied, reached, received, world


@pytest.fixture
def log(tmp_path: Path) -> Iterator[World]:
    with world() as made:
        made.keys = KeyStore(tmp_path / "keys", look_seconds=0)
        yield made


def sealed(keys: KeyStore, subject: str, words: str, writer: str, prompt: str | None = None) -> tuple[str, Frozen]:
    kept = keys.for_sealing(author(writer), writer).seal("id", associated(subject, 1, "text"), words)
    return subject, received(writer, prompt=prompt, text=kept)


def erase(keys: KeyStore, name: str) -> tuple[str, Frozen]:
    keys.destroy(Erasure(name, "an-event", "2026-03-14T00:00:00+00:00", None, ()))
    return name, e.AuthorErased(author=name)


async def test_sealed_texts_are_shown_as_they_were_written(log: World) -> None:
    await log.tell(sealed(log.keys, "s-1", "What they wrote.", "wendy"))
    async with log.desk() as desk:
        said = (await desk.next("anna"))["leases"][0]
    assert (said["text"], said["erased"]) == ("What they wrote.", False)


async def test_what_was_erased_is_taken_back_and_handed_to_nobody(log: World) -> None:
    await log.tell(
        ("p", applied(overlap_min=3)),
        sealed(log.keys, "s-1", "Hers.", "wendy"),
        sealed(log.keys, "s-2", "His.", "will"),
        sealed(log.keys, "s-3", "His answer to her.", "will", prompt="s-1"),
        ("s-1", reached("approved")),
        sealed(log.keys, "s-4", "Hers too.", "wendy"),
        ("s-5", received(writer="wendy", text="Hers, and plain.")),
    )
    async with log.desk() as desk:
        given = await desk.next("anna", count=5)
        assert {lease["subject"] for lease in given["leases"]} == {"s-2", "s-3", "s-4", "s-5"}
        await log.tell(erase(log.keys, "wendy"))
        await desk.until(lambda state: len(state.leases) == 2)
        left = await desk.next("anna", count=5)
        assert {lease["subject"]: lease["text"] for lease in left["leases"]} == {"s-2": "His.", "s-3": "His answer to her."}
        assert next(lease["conversation"] for lease in left["leases"] if lease["subject"] == "s-3") == [
            {"subject": "s-1", "kind": "prompt", "text": "", "erased": True}
        ]
        others = await desk.next("ben", count=5)
        assert [lease["subject"] for lease in others["leases"]] == ["s-2"]


async def test_an_old_key_store_brings_nothing_back(log: World) -> None:
    """The log says that it was erased."""
    await log.tell(sealed(log.keys, "s-1", "Hers.", "wendy"), sealed(log.keys, "s-2", "His.", "will"))
    await log.tell(("wendy", e.AuthorErased(author="wendy")))
    async with log.desk() as desk:
        await desk.until(lambda state: state.subjects["s-1"].erased)
        assert await desk.one("anna", count=5) == "s-2"
        assert (desk.desk.text("s-1"), desk.desk.text("s-2"), desk.desk.text("s-3")) == (None, "His.", "")


async def test_a_desk_that_starts_later_knows_as_much(log: World) -> None:
    await log.tell(sealed(log.keys, "s-1", "Hers.", "wendy"), sealed(log.keys, "s-2", "His.", "will"))
    await log.tell(erase(log.keys, "wendy"))
    async with log.desk() as desk:
        assert [await desk.one(name) for name in ("anna", "anna", "ben")] == ["s-2", "s-2", "s-2"]


async def test_a_text_that_nobody_sealed_here_keeps_nobody_from_work(log: World) -> None:
    his, foreign = sealed(log.keys, "s-2", "His.", "will"), f"sealed:1:{'A' * 22}:QQ=="
    assert isinstance(his[1], e.SubmissionReceived)
    await log.tell(his, ("s-1", received("mallory", text=foreign)), ("s-3", received("mallory", text=his[1].text)))
    async with log.desk() as desk:
        given = await desk.next("anna", count=5)
        assert {lease["subject"]: lease["text"] for lease in given["leases"]}["s-2"] == "His."
        assert [lease["subject"] for lease in given["leases"] if not lease["erased"]] == ["s-2"]
        await desk.until(lambda state: len(state.leases) == 1)
        others = await desk.next("ben", count=5)
        assert [lease["subject"] for lease in others["leases"]] == ["s-2"]
