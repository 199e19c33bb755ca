"""Sealed words: what was sealed opens, in its place and under its key alone, and the same words give the same bytes."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ciphers import Cipher, Tampered
from schemas.words import SEALED_MAX_CHARACTERS, TEXT_MAX_CHARACTERS
from streams.sealed import associated, is_sealed, key_id, looks_sealed

KEY_ID = "k" * 22
CIPHER = Cipher(KEY_ID, bytes(range(32)))
WORDS = st.text(min_size=1, max_size=300)
SUBJECTS = st.text(string.ascii_letters, min_size=1, max_size=20)
PLACES = st.builds(associated, SUBJECTS, st.integers(1, 10_000), st.sampled_from(["text", "reason"]))
IDS = st.uuids(version=4).map(str)


@given(IDS, PLACES, WORDS)
def test_what_is_sealed_opens_again(id_: str, place: bytes, words: str) -> None:
    sealed = CIPHER.seal(id_, place, words)
    assert is_sealed(sealed)
    assert key_id(sealed) == KEY_ID
    assert CIPHER.open(place, sealed) == words


@given(IDS, PLACES, WORDS)
def test_the_same_words_for_the_same_event_are_the_same_bytes(id_: str, place: bytes, words: str) -> None:
    assert CIPHER.seal(id_, place, words) == Cipher(KEY_ID, bytes(range(32))).seal(id_, place, words)


@given(IDS, IDS, PLACES, PLACES, WORDS, WORDS)
def test_other_words_places_or_events_are_other_bytes(
    id_: str, other_id: str, place: bytes, other: bytes, words: str, more: str
) -> None:
    if (id_, place, words) != (other_id, other, more):
        assert _nonce(CIPHER.seal(id_, place, words)) != _nonce(CIPHER.seal(other_id, other, more))


def _nonce(sealed: str) -> str:
    return sealed.rsplit(":", 1)[1][:16]


@given(IDS, PLACES, WORDS, st.data())
def test_no_changed_bit_opens(id_: str, place: bytes, words: str, data: st.DataObject) -> None:
    sealed = CIPHER.seal(id_, place, words).encode()
    at = data.draw(st.integers(0, 8 * len(sealed) - 1), "bit")
    changed = bytes(byte ^ (1 << at % 8 if number == at // 8 else 0) for number, byte in enumerate(sealed))
    with pytest.raises(Tampered):
        CIPHER.open(place, changed.decode("latin-1"))


@given(IDS, PLACES, PLACES, WORDS)
def test_it_opens_nowhere_else(id_: str, place: bytes, other: bytes, words: str) -> None:
    sealed = CIPHER.seal(id_, place, words)
    if place != other:
        with pytest.raises(Tampered):
            CIPHER.open(other, sealed)


@given(IDS, PLACES, WORDS)
def test_no_other_key_opens_it(id_: str, place: bytes, words: str) -> None:
    sealed = CIPHER.seal(id_, place, words)
    for other in (Cipher(KEY_ID, bytes(range(1, 33))), Cipher("K" * 22, bytes(range(32)))):
        with pytest.raises(Tampered):
            other.open(place, sealed)


@pytest.mark.parametrize("character", ["a", "é", "語", "🙂"])
def test_the_longest_text_fits(character: str) -> None:
    sealed = CIPHER.seal("id", b"place", character * TEXT_MAX_CHARACTERS)
    assert len(sealed) <= SEALED_MAX_CHARACTERS


@pytest.mark.parametrize("words", ["sealed:1:", "sealed:2:", "sealed:9:what a later version seals", f"sealed:1:{KEY_ID}:AAAA"])
def test_what_might_be_taken_for_sealed_is_seen(words: str) -> None:
    assert looks_sealed(words)


@pytest.mark.parametrize("words", ["sealed: this is a letter", " sealed:1:x", "Sealed:1:"])
def test_what_merely_speaks_of_seals_is_plain(words: str) -> None:
    assert not is_sealed(words)
    assert not looks_sealed(words)
