"""The way in for words: an event as somebody tells it becomes the event that the log may hold."""

from typing import Protocol

from agents.ciphers import KEY_BYTES, Cipher
from agents.keys import Erased
from schemas.upcasts import OLD_EVENTS, ToldEvent, remade
from schemas.wire import upcast
from schemas.words import TEXT_MAX_CHARACTERS
from streams.sealed import Owner, associated, looks_sealed, revision_of, words_in

#: A sealed reason has to fit where the plain one stood.
REASON_MAX_CHARACTERS = 2_000
_OLD = frozenset(OLD_EVENTS)


class Keys(Protocol):
    """Where keys come from: agents.keys.KeyStore."""

    def for_sealing(self, owner: Owner, by: str) -> Cipher: ...


class Sample:
    """One key for everybody, for a run that sends nothing and so must make none."""

    def __init__(self) -> None:
        self._cipher = Cipher("A" * 22, bytes(KEY_BYTES))

    def for_sealing(self, owner: Owner, by: str) -> Cipher:
        return self._cipher


class Unsealable(ValueError):
    """Words that may not go into the log: why, as a code and in words, and what to do."""

    def __init__(self, code: str, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.code, self.reason, self.hint = code, reason, hint


def sealed(event: ToldEvent, keys: Keys) -> ToldEvent:
    """The event with everybody's words under their keys, in its newest version; what holds no words stays as it was told.
    The same event gives the same bytes. Raises Unsealable, and KeyTrouble where the keys cannot be had."""
    newest = upcast(event) if type(event) in _OLD else event
    words = words_in(newest.subject, newest.data)
    if not words:
        return event
    changes = {one.field: _sealed(newest, one.field, one.owner, one.by, keys) for one in words}
    return remade(newest, type(newest), data=remade(newest.data, type(newest.data), **changes))


def _sealed(event: ToldEvent, field: str, owner: Owner, by: str, keys: Keys) -> str:
    plain: str = getattr(event.data, field)
    if looks_sealed(plain):
        hint = "send the words themselves; a log is copied with `assay archive`, and not by events"
        raise Unsealable("looks_sealed", f"/data/{field} begins as sealed words do", hint)
    if field == "text" and len(plain) > TEXT_MAX_CHARACTERS:
        raise Unsealable("too_long", f"/data/text has over {TEXT_MAX_CHARACTERS:,} characters", "split it")
    try:
        cipher = keys.for_sealing(owner, by)
    except Erased:
        whose = f"the words of {by}" if owner.kind == "author" else f"the texts of {owner.name}"
        hint = "an erased author's words are taken no more; docs/erasure.md"
        raise Unsealable("author_erased", f"{whose} were erased", hint) from None
    found = cipher.seal(event.id, associated(event.subject, revision_of(event.data), field), plain)
    if field == "reason" and len(found) > REASON_MAX_CHARACTERS:
        raise Unsealable("too_long", "/data/reason is too long to be sealed", "some 1,430 bytes of UTF-8 fit")
    return found
