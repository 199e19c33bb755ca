"""Sealed words: what a text or a reason looks like in the log once only the holder of a key can read it.

`sealed:1:<key id>:<base64 of nonce, ciphertext and tag>`. Folds never look inside; keys and ciphers are agents/keys.py's.
"""

import re
from typing import NamedTuple

from schemas import events as e
from schemas.words import Frozen

PREFIX = "sealed:"
#: AES-GCM: 12 bytes of nonce, which are 16 characters of base64, and 16 of tag.
NONCE_BYTES, TAG_BYTES = 12, 16
_ANY_VERSION = re.compile(r"sealed:[0-9]+:")
_FORM = re.compile(r"sealed:1:([A-Za-z0-9_-]{22}):([A-Za-z0-9+/]+={0,2})")


class Owner(NamedTuple):
    """Whose key it is: an author's for their own words, or a submission's for its edits, which may hold several people's."""

    kind: str
    name: str


class Words(NamedTuple):
    """One field of an event that holds a person's words, and whose they are."""

    field: str
    owner: Owner
    #: The person who said them.
    by: str


def author(name: str) -> Owner:
    return Owner("author", name)


def edits_of(subject: str) -> Owner:
    return Owner("edits", subject)


#: Who speaks in each event: the field that names them.
_SPEAKER: dict[type[Frozen], str] = {
    e.SubmissionReceived: "writer",
    e.SubmissionEdited: "editor",
    e.SubmissionWithdrawn: "withdrawn_by",
    e.VoteCast: "voter",
    e.VoteRetracted: "voter",
    e.PreferenceCast: "annotator",
    e.SubmissionRuled: "ruled_by",
    e.SubmissionReopened: "reopened_by",
}


def speaker(data: Frozen) -> str | None:
    """The person whose words an event holds, if it may hold any."""
    field = _SPEAKER.get(type(data))
    return None if field is None else str(getattr(data, field))


def words_in(subject: str, data: Frozen) -> list[Words]:
    """The fields of an event (in its newest version) that hold somebody's words."""
    by = speaker(data)
    if by is None:
        return []
    found = [Words("reason", author(by), by)] if getattr(data, "reason", None) is not None else []
    if isinstance(data, e.SubmissionEdited):
        return [Words("text", edits_of(subject), by), *found]
    return [Words("text", author(by), by)] if isinstance(data, e.SubmissionReceived) else found


def associated(subject: str, revision: int, field: str) -> bytes:
    """What a sealing is bound to beside its key: moved to another place it does not open."""
    return f"{field}\0{revision}\0{subject}".encode()


def revision_of(data: Frozen) -> int:
    """The revision that an event's words are about; 0 where it says none."""
    return 1 if isinstance(data, e.SubmissionReceived) else int(getattr(data, "revision", 0))


def is_sealed(text: str) -> bool:
    return text.startswith(PREFIX) and _FORM.fullmatch(text) is not None


def looks_sealed(text: str) -> bool:
    """Whether a reader might take these words for sealed ones, now or in a later version."""
    return text.startswith(PREFIX) and _ANY_VERSION.match(text) is not None


def key_id(text: str) -> str | None:
    """The key that these words are sealed with; None where they are plain."""
    found = parts(text)
    return None if found is None else found[0]


def parts(text: str) -> tuple[str, str] | None:
    """Key id and base64; None where the words are plain."""
    if not text.startswith(PREFIX):
        return None
    found = _FORM.fullmatch(text)
    return None if found is None else (found[1], found[2])


def form(key: str, base64: str) -> str:
    return f"sealed:1:{key}:{base64}"
