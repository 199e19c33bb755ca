"""The key store: no key is lost, whoever dies; none comes back that was destroyed; the old master key opens nothing."""

import base64
import random
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from agents.ciphers import Cipher
from agents.keys import Erased, Erasure, KeyStore, KeyTrouble, TextReader
from streams.sealed import Owner, associated, author, edits_of

PLACE = associated("s-1", 1, "text")
MAKER = """
import sys
from pathlib import Path
from agents.keys import KeyStore
from streams.sealed import author
store = KeyStore(Path(sys.argv[1]))
print("begun", flush=True)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    cipher = store.for_sealing(author(f"w-{number}"), f"w-{number}")
    store.sync()
    print(number, cipher.seal(f"id-{number}", b"place", f"Words of {number}."), "whole", flush=True)
"""


def opened(folder: Path, master: str | None = None) -> KeyStore:
    return KeyStore(folder, master, look_seconds=0)


def erasure(name: str, *subjects: str) -> Erasure:
    return Erasure(name, "an-event", "2026-03-14T00:00:00+00:00", None, subjects)


def sealed(store: KeyStore, name: str, words: str = "Some words.") -> str:
    return store.for_sealing(author(name), name).seal("an-id", PLACE, words)


def read(store: KeyStore, kept: str, by: str = "w-1") -> str | None:
    return TextReader(store).read("s-1", 1, kept, by)


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return opened(tmp_path / "keys")


def makers(folder: Path, *ranges: tuple[int, int]) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen([sys.executable, "-c", MAKER, str(folder), str(low), str(high)], stdout=subprocess.PIPE, text=True)
        for low, high in ranges
    ]


def test_an_author_has_one_key_in_every_process(store: KeyStore) -> None:
    processes = makers(store.folder, (0, 60), (0, 60), (30, 90))
    said = [line.split()[1] for process in processes for line in process.communicate()[0].splitlines()[1:]]
    assert len(said) == 180
    assert len({line.split(":")[2] for line in said}) == 90
    assert store.status()["authors"] == 90


def test_no_key_is_lost_to_a_kill(store: KeyStore) -> None:
    """Whatever was said to be sealed opens, wherever its maker was when it was killed."""
    chance, said = random.Random(5), dict[int, str]()
    for attempt in range(4):
        (process,) = makers(store.folder, (1_000 * attempt, 1_000 * attempt + 1_000))
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(chance.uniform(0.01, 0.15))
        process.kill()
        for line in process.communicate()[0].splitlines():
            number, *kept = line.split(" ")
            if kept[1:] == ["whole"]:
                said[int(number)] = kept[0]
    found = opened(store.folder)
    for number, kept in said.items():
        assert found.for_opening(kept.split(":")[2]).open(b"place", kept) == f"Words of {number}."
    assert len(said) > 3


@pytest.mark.parametrize("left", [1, 20, 60, 100])
def test_a_torn_line_is_cut_off_by_the_next_writer(store: KeyStore, left: int) -> None:
    kept = sealed(store, "w-1")
    whole = store.path.stat().st_size
    sealed(store, "w-2")
    with store.path.open("r+b") as file:
        file.truncate(whole + left)
    again = opened(store.folder)
    assert read(again, kept) == "Some words."
    assert again.status()["authors"] == 1
    third = sealed(again, "w-3")
    assert read(opened(store.folder), third, "w-3") == "Some words."
    assert opened(store.folder).status()["authors"] == 2


def test_a_destroyed_key_is_gone_from_the_file_and_from_memory(store: KeyStore) -> None:
    kept, other = sealed(store, "w-1"), sealed(store, "w-2")
    beside = opened(store.folder)
    assert read(beside, kept) == "Some words."
    before = next(line for line in store.path.read_bytes().splitlines() if b'"w-1"' in line)
    wrapped = before.split(b'"wrapped":"')[1][:80]
    assert store.destroy(erasure("w-1")) == 1
    assert wrapped not in store.path.read_bytes()
    assert read(store, kept) is None
    assert read(beside, kept) is None
    assert read(beside, other, "w-2") == "Some words."


def test_nothing_is_sealed_for_the_erased(store: KeyStore) -> None:
    sealed(store, "w-1")
    store.destroy(erasure("w-1", "s-9"))
    for owner, by in ((author("w-1"), "w-1"), (edits_of("s-9"), "ed"), (edits_of("s-2"), "w-1")):
        with pytest.raises(Erased):
            opened(store.folder).for_sealing(owner, by)


def test_an_erasure_that_died_after_its_tombstone_is_completed(store: KeyStore, tmp_path: Path) -> None:
    kept = sealed(store, "w-1")
    alive = store.path.read_bytes()
    store.destroy(erasure("w-1"))
    tombstone = store.path.read_bytes()[len(alive) :]
    store.path.write_bytes(alive + tombstone)
    again = opened(store.folder)
    assert read(again, kept) is None
    assert again.status()["unfinished_erasures"] == ["w-1"]
    assert again.destroy(erasure("w-1")) == 0  # opening it to write did it
    again.done("w-1")
    assert opened(store.folder).status() | {"path": ""} == again.status() | {"path": ""}
    assert again.status()["destroyed"] == 1
    assert again.status()["unfinished_erasures"] == []


def test_an_edit_goes_with_its_writer_and_with_each_editor(store: KeyStore) -> None:
    place = associated("s-1", 2, "text")
    for person in ("w-1", "ed-1", "ed-2"):
        home = opened(store.folder / person)
        first = home.for_sealing(edits_of("s-1"), "ed-1").seal("id-1", place, "An edit.")
        second = home.for_sealing(edits_of("s-1"), "ed-2").seal("id-2", associated("s-1", 3, "text"), "Another.")
        assert home.keys_of("ed-2") == [Owner("edits", "s-1")]
        assert home.destroy(erasure(person, *(["s-1"] if person == "w-1" else []))) == 1
        assert TextReader(home).read("s-1", 2, first, "ed-1") is None
        assert TextReader(home).read("s-1", 3, second, "ed-2") is None


def test_after_a_rotation_the_old_master_key_opens_nothing(store: KeyStore) -> None:
    kept, gone = sealed(store, "w-1"), sealed(store, "w-2")
    store.destroy(erasure("w-2"))
    old, before = (store.folder / "master.key").read_text(), store.path.read_bytes()
    beside = opened(store.folder)
    assert read(beside, kept) == "Some words."
    assert store.rotate() == 1
    assert (store.folder / "master.key").read_text() != old
    assert read(store, kept) == read(beside, kept) == read(opened(store.folder), kept) == "Some words."
    assert read(opened(store.folder), gone, "w-2") is None
    with pytest.raises(KeyTrouble, match="this master key does not open the key store"):
        read(opened(store.folder, old), kept)
    wrapped = [line.split(b'"wrapped":"')[1][:80] for line in before.splitlines() if b'"w-1"' in line]
    assert wrapped[0] not in store.path.read_bytes()
    assert sealed(beside, "w-1") == kept


@pytest.mark.parametrize("died", ["before the store", "before the master key"])
def test_a_rotation_that_died_is_harmless(store: KeyStore, tmp_path: Path, died: str) -> None:
    kept = sealed(store, "w-1")
    old_master, old_store = (store.folder / "master.key").read_bytes(), store.path.read_bytes()
    store.rotate()
    (store.folder / "master.key").rename(store.folder / "master.key.next")
    (store.folder / "master.key").write_bytes(old_master)
    if died == "before the store":
        store.path.write_bytes(old_store)
    assert read(opened(store.folder), kept) == "Some words."
    assert opened(store.folder).rotate() == 1
    assert read(opened(store.folder), kept) == "Some words."


def _killed(store: KeyStore, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """A rotation that gets as far as this and no further."""

    def died(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(KeyStore, at, died)
        with pytest.raises(KeyboardInterrupt):
            opened(store.folder).rotate()


def test_two_rotations_that_died_lose_no_key(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first leaves its master key beside the old one; the second must not write over the only one that opens the store."""
    kept = sealed(store, "w-1")
    _killed(store, monkeypatch, "_take_next")
    _killed(store, monkeypatch, "_rewrap")
    assert read(opened(store.folder), kept) == "Some words."
    assert opened(store.folder).rotate() == 1
    assert read(opened(store.folder), kept) == "Some words."


def test_what_a_rotation_left_opens_nothing_that_is_erased_later(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(store, "w-1")
    _killed(store, monkeypatch, "_take_next")
    (store.folder / "keys.jsonl.part").write_bytes(store.path.read_bytes())
    opened(store.folder).destroy(erasure("w-1"))
    assert sorted(path.name for path in store.folder.iterdir()) == ["keys.jsonl", "lock", "master.key"]
    assert opened(store.folder).status()["destroyed"] == 1


LIMITED = """
import resource, sys
from pathlib import Path
from agents.keys import Erasure, KeyStore
store = KeyStore(Path(sys.argv[1]))
size = store.path.stat().st_size + 10
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
store.destroy(Erasure("w-1", "an-event", "2026-03-14T00:00:00+00:00", None, ()))
print("destroyed")
"""


def test_half_a_tombstone_on_a_full_disk_is_said_and_completed_later(store: KeyStore) -> None:
    kept = sealed(store, "w-1")
    said = subprocess.run([sys.executable, "-c", LIMITED, str(store.folder)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (1, ""), said
    assert "OSError" in said.stderr
    assert read(opened(store.folder), kept) == "Some words."
    assert opened(store.folder).destroy(erasure("w-1")) == 1
    assert read(opened(store.folder), kept) is None


@pytest.mark.parametrize("bad", [b"1", b'{"by":"ed","key":"nobody"}', b'{"wrapped":1}', b'{"erased":"nobody"}', b"\xff"])
def test_a_damaged_line_is_said_and_nothing_is_written_over_it(store: KeyStore, bad: bytes) -> None:
    sealed(store, "w-1")
    with store.path.open("ab") as file:
        file.write(bad + b"\n")
    before = store.path.read_bytes()
    with pytest.raises(KeyTrouble, match="the key store is damaged"):
        sealed(opened(store.folder), "w-2")
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("wrapped", ["", "=", "QUJD", "not base64"])
def test_a_wrapped_key_that_was_cut_is_trouble(store: KeyStore, wrapped: str) -> None:
    kept = sealed(store, "w-1")
    lines = [orjson.loads(line) for line in store.path.read_bytes().splitlines()]
    cut = [line | ({"wrapped": wrapped} if "wrapped" in line else {}) for line in lines]
    store.path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in cut))
    with pytest.raises(KeyTrouble, match="does not open"):
        read(opened(store.folder), kept)


def test_the_master_key_may_come_from_elsewhere(tmp_path: Path) -> None:
    one, two = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    kept = sealed(opened(tmp_path / "keys", one), "w-1")
    assert not (tmp_path / "keys" / "master.key").exists()
    with pytest.raises(KeyTrouble, match=r"the master key is not there; where: .*master\.key"):
        read(opened(tmp_path / "keys"), kept)
    assert opened(tmp_path / "keys", one).rotate(two) == 1
    assert read(opened(tmp_path / "keys", two), kept) == "Some words."
    with pytest.raises(KeyTrouble, match="does not open the key store"):
        read(opened(tmp_path / "keys", one), kept)


@pytest.mark.parametrize("bad", ["", "short", "A" * 44, base64.b64encode(bytes(31)).decode()])
def test_a_bad_master_key_is_refused(tmp_path: Path, bad: str) -> None:
    if bad:
        with pytest.raises(KeyTrouble, match="this is no master key"):
            sealed(opened(tmp_path / "keys", bad), "w-1")
    else:
        assert sealed(opened(tmp_path / "keys", bad), "w-1")


def test_a_strange_key_is_trouble_and_no_erasure(store: KeyStore) -> None:
    kept = Cipher("K" * 22, bytes(32)).seal("an-id", PLACE, "Some words.")
    with pytest.raises(KeyTrouble, match="no key KKKKKKKKKKKKKKKKKKKKKK is in the key store"):
        read(store, kept)


def test_what_was_moved_is_trouble_and_no_text(store: KeyStore) -> None:
    kept = sealed(store, "w-1")
    with pytest.raises(KeyTrouble, match=r"a sealed text does not open: .*; where: s-1, revision 2"):
        TextReader(store).read("s-1", 2, kept, "w-1")


def test_plain_texts_are_read_until_their_author_is_erased(store: KeyStore) -> None:
    assert read(store, "Plain.", "w-1") == "Plain."
    store.destroy(erasure("w-1"))
    assert read(store, "Plain.", "w-1") is None
    assert read(store, "Plain.", "w-2") == "Plain."


def test_only_its_owner_reads_the_files(store: KeyStore) -> None:
    sealed(store, "w-1")
    store.rotate()
    assert {path.name: path.stat().st_mode & 0o077 for path in store.folder.iterdir()} == {
        "keys.jsonl": 0,
        "lock": 0,
        "master.key": 0,
    }
