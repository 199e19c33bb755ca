"""The key store: a data key for each author and for each submission's edits, wrapped by the master key, in one file.

`keys/keys.jsonl` only grows, a line at a time, under a lock; a line counts once its end is there, so a process that is killed
leaves at most a tail that the next writer cuts off. The one thing ever overwritten is a key that is destroyed: a tombstone is
written and durable first, so that whoever finds it finishes the work. Readers look whether the file changed before they use a
key, at most some fifty times a second.
"""

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agents.ciphers import KEY_BYTES, Cipher, Tampered
from agents.durable import sync
from streams.sealed import Owner, associated, author, edits_of, key_id

MASTER_VARIABLE = "ASSAY_KEYS__MASTER"
_FIELD = b'"wrapped":"'
_NONCE_BYTES = 12
#: What reading a line may raise that is not as it was written.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError)


class KeyTrouble(Exception):
    """The keys cannot be had, and waiting will not help: what, where and what to do."""

    def __init__(self, what: str, where: object, hint: str) -> None:
        super().__init__(f"{what}; where: {where}; hint: {hint}")
        self.what, self.where, self.hint = what, where, hint


class Unreadable(KeyTrouble):
    """Words that no key of this store opens, though it has others: they were sealed elsewhere, or somebody wrote them to the log
    who has no key. The texts beside them can be read."""


class Erased(Exception):
    """The key was destroyed on its author's wish: nobody reads or writes with it again."""


@dataclass
class Erasure:
    """One tombstone: whose words were made unreadable, by which event, and whether all of it is done."""

    author: str
    event: str
    time: str
    reason: str | None
    subjects: tuple[str, ...]
    done: bool = False

    @property
    def owners(self) -> Iterator[Owner]:
        yield author(self.author)
        yield from map(edits_of, self.subjects)


@dataclass
class _Line:
    """A key as the file has it; `place` is where its wrapped bytes stand."""

    key_id: str
    owner: Owner
    wrapped: str
    place: int
    people: set[str] = field(default_factory=set)

    @property
    def destroyed(self) -> bool:
        return bool(self.wrapped) and not self.wrapped.strip("0")


class KeyStore:
    """The keys of one data directory. Any number of processes may have it open; threads may share one."""

    def __init__(self, folder: Path, master: str | None = None, look_seconds: float = 0.02) -> None:
        """`master`: 32 bytes in base64; None: the file `master.key` in the folder, which the first key that is made makes.
        `look_seconds`: how old may be what is known of the file, such as that a key was destroyed."""
        self.folder = folder
        self.path = folder / "keys.jsonl"
        self._given = master
        self._look_seconds = look_seconds
        self._guard = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._seen = (0, 0, 0)
        self._looked = 0.0
        self._read = 0
        self._header = b""
        self._unsynced = False
        self._fingerprint = ""
        self._lines: dict[str, _Line] = {}
        self._of: dict[Owner, str] = {}
        self._erasures: dict[str, Erasure] = {}
        self._gone: set[Owner] = set()
        self._ciphers: dict[str, Cipher] = {}

    # --- using keys ----------------------------------------------------------------------------

    def for_sealing(self, owner: Owner, by: str) -> Cipher:
        """The cipher of this owner's key, which is made if there is none. `by`: who speaks; the key goes with them too.
        Raises Erased, and KeyTrouble. A key that was made is durable after the next `sync`: send nothing before that."""
        with self._guard:
            self._refresh()
            found = self._known(owner, by)
            return found if found is not None else self._made(owner, by)

    def _known(self, owner: Owner, by: str) -> Cipher | None:
        if owner in self._gone or author(by) in self._gone:
            raise Erased
        key_id = self._of.get(owner)
        if key_id is None or (owner.kind == "edits" and by not in self._lines[key_id].people):
            return None
        return self._cipher(key_id)

    def _made(self, owner: Owner, by: str) -> Cipher:
        with self._writing():
            found = self._known(owner, by)
            if found is not None:
                return found
            if owner not in self._of:
                self._append(self._new_line(owner))
            if owner.kind == "edits":
                self._append({"key": self._of[owner], "by": by})
            return self._cipher(self._of[owner])

    def _new_line(self, owner: Owner) -> dict[str, Any]:
        key_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        wrapped = _wrap(self._master(), key_id, owner, secrets.token_bytes(KEY_BYTES))
        return {"key": key_id, "kind": owner.kind, "owner": owner.name, "wrapped": wrapped}

    def for_opening(self, key_id: str) -> Cipher:
        """The cipher of this key. Raises Erased, and KeyTrouble where it is not here: Unreadable where others are."""
        with self._guard:
            self._refresh()
            if key_id not in self._lines:
                self._look()
            line = self._lines.get(key_id)
            if line is None:
                hint = "the worker, the desk and the command line need the key store of the data directory that sealed this log"
                # A store without any key is none that sealed a log.
                trouble = Unreadable if self._lines else KeyTrouble
                raise trouble(f"no key {key_id} is in the key store", self.path, hint)
            if line.destroyed or line.owner in self._gone:
                raise Erased
            return self._cipher(key_id)

    def is_erased(self, name: str) -> bool:
        """Whether this author's words were erased."""
        with self._guard:
            self._refresh()
            return author(name) in self._gone

    def is_destroyed(self, key_id: str) -> bool:
        with self._guard:
            self._refresh()
            line = self._lines.get(key_id)
            return line is not None and (line.destroyed or line.owner in self._gone)

    def look(self) -> None:
        """See now what others did to the file."""
        with self._guard:
            self._look()

    def sync(self) -> None:
        """Make every key that was seen durable: what is sealed with it may then be sent."""
        with self._guard:
            if self._unsynced:
                sync(self.path)
                self._unsynced = False

    def _cipher(self, key_id: str) -> Cipher:
        found = self._ciphers.get(key_id)
        if found is None:
            line = self._lines[key_id]
            found = self._ciphers[key_id] = Cipher(key_id, _unwrap(self._master(), line.key_id, line.owner, line.wrapped))
        return found

    # --- erasing -------------------------------------------------------------------------------

    def erasure(self, name: str) -> Erasure | None:
        with self._guard:
            self._refresh()
            return self._erasures.get(name)

    def keys_of(self, name: str, subjects: Iterable[str] = ()) -> list[Owner]:
        """Whose keys an erasure of this author destroys: their own, those for edits of their submissions, and those for edits
        that they had a hand in."""
        with self._guard:
            self._refresh()
            wanted = {author(name), *map(edits_of, subjects)}
            lines = self._lines.values()
            return sorted({line.owner for line in lines if line.owner in wanted or name in line.people})

    def destroy(self, erasure: Erasure) -> int:
        """Write the tombstone, and destroy every key that it names; how many. Durable when this returns. Doing it again
        completes what was interrupted."""
        with self._guard, self._writing():
            hand_in = {line.owner.name for line in self._lines.values() if erasure.author in line.people}
            subjects = sorted({*erasure.subjects, *hand_in})
            before = self._erasures.get(erasure.author)
            if before is None or not set(subjects) <= set(before.subjects):
                about = {"event": erasure.event, "time": erasure.time, "reason": erasure.reason}
                self._append({"erasing": erasure.author, **about, "subjects": subjects})
                sync(self.path)
            return self._overwrite()

    def done(self, name: str) -> None:
        """Note that everything that follows from an erasure was done."""
        with self._guard, self._writing():
            self._append({"erased": name})
            sync(self.path)

    def _overwrite(self) -> int:
        """Put zeros in the place of every key that a tombstone names, on the disk; how many."""
        keys = (self._lines[self._of[owner]] for owner in self._gone if owner in self._of)
        doomed = [line for line in keys if not line.destroyed]
        if doomed:
            with self.path.open("r+b") as file:
                for line in doomed:
                    line.wrapped = "0" * len(line.wrapped)
                    os.pwrite(file.fileno(), line.wrapped.encode(), line.place)
                os.fsync(file.fileno())
        return len(doomed)

    # --- looking after it ----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Counts, where the master key is, and erasures that were interrupted. Opens every key: raises KeyTrouble where one
        does not open."""
        with self._guard:
            self._refresh()
            living = [line for line in self._lines.values() if not line.destroyed and line.owner not in self._gone]
            for line in living:
                self._cipher(line.key_id)
            kinds = [line.owner.kind for line in living]
            return {
                "path": str(self.path),
                "master_key": MASTER_VARIABLE if self._given else str(self.folder / "master.key"),
                "master_fingerprint": self._fingerprint or None,
                "authors": kinds.count("author"),
                "edited_submissions": kinds.count("edits"),
                "destroyed": sum(line.destroyed for line in self._lines.values()),
                "erased_authors": len(self._erasures),
                "unfinished_erasures": sorted(one.author for one in self._erasures.values() if not self._finished(one)),
            }

    def _finished(self, erasure: Erasure) -> bool:
        lines = (self._lines[self._of[owner]] for owner in erasure.owners if owner in self._of)
        return erasure.done and all(line.destroyed for line in lines)

    def rotate(self, new_master: str | None = None) -> int:
        """Wrap every key anew; how many. Without a new master key, one is made and put in place of the file. The old
        file is overwritten before it goes. Interrupted, either the old or the new master key opens everything."""
        with self._guard, self._writing():
            old = self._master()
            new = _decoded(new_master, "the new master key") if new_master else secrets.token_bytes(KEY_BYTES)
            if not self._given:
                _write_private(self.folder / "master.key.next", base64.b64encode(new))
            count = self._rewrap(old, new)
            if not self._given:
                self._take_next()
            self._given = base64.b64encode(new).decode() if self._given else None
            self._forget()
            self._look()
            return count

    def _rewrap(self, old: bytes, new: bytes) -> int:
        part, count = self.folder / "keys.jsonl.part", 0
        with part.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            for raw in self.path.read_bytes().splitlines():
                said = orjson.loads(raw)
                if "store" in said:
                    said["master"] = fingerprint(new)
                if "wrapped" in said and said["wrapped"].strip("0"):
                    owner = Owner(said["kind"], said["owner"])
                    said["wrapped"] = _wrap(new, said["key"], owner, _unwrap(old, said["key"], owner, said["wrapped"]))
                    count += 1
                file.write(orjson.dumps(said) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with self.path.open("r+b") as before:
            part.replace(self.path)
            sync(self.folder)
            _blank(before.fileno())
        return count

    def _take_next(self) -> None:
        path = self.folder / "master.key"
        with contextlib.ExitStack() as open_:
            before = open_.enter_context(path.open("r+b")) if path.exists() else None
            (self.folder / "master.key.next").replace(path)
            sync(self.folder)
            if before is not None:
                _blank(before.fileno())

    # --- the file ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone with the file, all of it read, and what others left half done finished."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not self.path.exists():
                self._begin()
            self._look()
            if self.path.stat().st_size > self._read:
                # Somebody was killed while writing a line, and nothing was sealed with what it said.
                os.truncate(self.path, self._read)
            self._overwrite()
            self._tidy()
            yield
        finally:
            os.close(descriptor)

    def _tidy(self) -> None:
        """End a rotation that was interrupted: left lying, its files open keys that are destroyed later, and a second rotation
        would write over the only master key that opens this store."""
        _remove(self.folder / "keys.jsonl.part")
        following = self.folder / "master.key.next"
        if self._given or not following.exists():
            return
        if fingerprint(_decoded(following.read_text(), following)) == self._fingerprint:
            self._take_next()
        else:
            _remove(following)

    def _begin(self) -> None:
        path = self.folder / "master.key"
        if not self._given and not path.exists():
            _write_private(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)))
        header = orjson.dumps({"store": 1, "master": fingerprint(self._from_place())}) + b"\n"
        _write_private(self.path, header)

    def _append(self, said: dict[str, Any]) -> None:
        raw = orjson.dumps(said) + b"\n"
        with self.path.open("ab", buffering=0) as file:
            _write_all(file.fileno(), raw)
        self._look()

    def _refresh(self) -> None:
        """Read what was appended since, if it is time to look."""
        if time.monotonic() - self._looked >= self._look_seconds:
            self._look()

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        now = (found.st_ino, found.st_size, found.st_mtime_ns)
        if now == self._seen:
            return
        try:
            self._read_on()
        except _DAMAGE:
            # Opened just before a rotation blanked it: the next one has its name by now.
            self._forget()
            self._read_all()
        self._seen = now

    def _read_all(self) -> None:
        try:
            self._read_on()
        except _DAMAGE:
            raise KeyTrouble("the key store is damaged", self.path, "bring it back from a copy") from None

    def _read_on(self) -> None:
        with self.path.open("rb") as file:
            header = file.readline()
            if header != self._header:
                self._forget()
                self._header = header
            file.seek(self._read)
            content = file.read()
        self._unsynced = True
        for raw in content.splitlines(keepends=True):
            if raw.endswith(b"\n"):
                self._take(orjson.loads(raw), raw)
                self._read += len(raw)

    def _take(self, said: dict[str, Any], raw: bytes) -> None:
        if "wrapped" in said:
            owner = Owner(said["kind"], said["owner"])
            place = self._read + raw.index(_FIELD) + len(_FIELD)
            self._lines[said["key"]] = _Line(said["key"], owner, said["wrapped"], place)
            self._of[owner] = said["key"]
        elif "by" in said:
            self._lines[said["key"]].people.add(said["by"])
        elif "erasing" in said:
            self._take_erasure(said)
        elif "erased" in said:
            self._erasures[said["erased"]].done = True
        elif "store" in said:
            self._fingerprint = said["master"]

    def _take_erasure(self, said: dict[str, Any]) -> None:
        before = self._erasures.get(said["erasing"])
        subjects = {*said["subjects"], *(before.subjects if before else ())}
        found = Erasure(said["erasing"], said["event"], said["time"], said["reason"], tuple(sorted(subjects)))
        self._erasures[found.author] = found
        self._gone.update(found.owners)
        for owner in found.owners:
            if owner in self._of:
                self._ciphers.pop(self._of[owner], None)

    # --- the master key ------------------------------------------------------------------------

    def _master(self) -> bytes:
        """The key that wraps. Raises KeyTrouble where it is not the one of this file."""
        found = self._from_place()
        if not self._fingerprint or fingerprint(found) == self._fingerprint:
            return found
        # A rotation was interrupted between its two files.
        following = self.folder / "master.key.next"
        if not self._given and following.exists():
            found = _decoded(following.read_text(), following)
            if fingerprint(found) == self._fingerprint:
                return found
        hint = f"give the one with fingerprint {self._fingerprint} in {MASTER_VARIABLE}; `assay keys rotate` changes it"
        raise KeyTrouble("this master key does not open the key store", self.path, hint)

    def _from_place(self) -> bytes:
        if self._given:
            return _decoded(self._given, MASTER_VARIABLE)
        path = self.folder / "master.key"
        try:
            return _decoded(path.read_text(), path)
        except FileNotFoundError:
            hint = f"set {MASTER_VARIABLE}, or bring the file back: without it nobody reads these texts again"
            raise KeyTrouble("the master key is not there", path, hint) from None


def fingerprint(master: bytes) -> str:
    return blake2b(b"assay: master key", key=master, digest_size=8).hexdigest()


def _decoded(text: str, where: object) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        found = base64.b64decode(text.strip(), validate=True)
        if len(found) == KEY_BYTES:
            return found
    raise KeyTrouble("this is no master key", where, "32 random bytes in base64: openssl rand -base64 32")


def _bound(key_id: str, owner: Owner) -> bytes:
    return "\0".join((key_id, *owner)).encode()


def _wrap(master: bytes, key_id: str, owner: Owner, key: bytes) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(master).encrypt(nonce, key, _bound(key_id, owner))).decode()


def _unwrap(master: bytes, key_id: str, owner: Owner, wrapped: str) -> bytes:
    try:
        raw = base64.b64decode(wrapped)
        return AESGCM(master).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(key_id, owner))
    except (InvalidTag, ValueError):
        hint = "the line was changed; bring the file back from a copy"
        raise KeyTrouble(f"key {key_id} does not open", "keys.jsonl", hint) from None


def _write_private(path: Path, content: bytes) -> None:
    """A new file that only its owner reads, durable and whole."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
    sync(path.parent)


def _write_all(descriptor: int, content: bytes) -> None:
    """Where the disk is full the system writes a part and says so only when asked for more: half a tombstone destroys nothing."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _remove(path: Path) -> None:
    """With what stands in it, which may be keys."""
    if path.exists():
        with path.open("r+b") as file:
            _blank(file.fileno())
        path.unlink()


def _blank(descriptor: int) -> None:
    """Zeros over a file that is open and has no name any more."""
    os.pwrite(descriptor, b"\0" * os.fstat(descriptor).st_size, 0)
    os.fsync(descriptor)


# --- reading texts -----------------------------------------------------------------------------


class TextReader:
    """Texts as the log has them -> texts as people wrote them."""

    def __init__(self, keys: KeyStore) -> None:
        self.keys = keys

    def is_erased(self, key: str | None, by: str) -> bool:
        """Whether nobody can read a text any more that was sealed with this key, or with none and written by this person."""
        return self.keys.is_erased(by) if key is None else self.keys.is_destroyed(key)

    def read(self, subject: str, revision: int, kept: str, by: str) -> str | None:
        """The text; None where it was erased. What was never sealed is as it stands, unless `by` (who wrote it) was erased.
        Raises Unreadable where its key is not here or does not open it, and KeyTrouble where no text can be read."""
        key = key_id(kept)
        if key is None:
            return None if self.keys.is_erased(by) else kept
        try:
            return self.keys.for_opening(key).open(associated(subject, revision, "text"), kept)
        except Erased:
            return None
        except Tampered as error:
            hint = "somebody wrote to the log what Assay did not seal: see its source with `assay explain`"
            raise Unreadable(f"a sealed text does not open: {error}", f"{subject}, revision {revision}", hint) from error
