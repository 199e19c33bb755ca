"""One key's cipher: AES-256-GCM with a synthetic nonce, so that the same words for the same event are the same bytes."""

import binascii
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streams.sealed import NONCE_BYTES, TAG_BYTES, form, parts

KEY_BYTES = 32


class Tampered(ValueError):
    """Sealed words that this key did not seal for this place, or that were changed since."""


class Cipher:
    """Seals and opens with one data key.

    The nonce is the beginning of an HMAC-SHA256, under a key of its own, over event id, place and words. Equal nonces so
    mean equal everything; of 2^32 sealings under one key two different ones share 96 bits with probability 2^-33.
    """

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id = key_id
        self._bound = key_id.encode() + b"\0"
        self._aead = AESGCM(hmac.digest(key, b"assay: words", "sha256"))
        self._nonce_key = hmac.digest(key, b"assay: nonces", "sha256")

    def seal(self, event_id: str, place: bytes, words: str) -> str:
        """`place` is what `streams.sealed.associated` says."""
        plain = words.encode("utf-8", "surrogatepass")
        said = b"\0".join((event_id.encode(), place, plain))
        nonce = hmac.digest(self._nonce_key, said, "sha256")[:NONCE_BYTES]
        sealed = self._aead.encrypt(nonce, plain, self._bound + place)
        return form(self.key_id, binascii.b2a_base64(nonce + sealed, newline=False).decode())

    def open(self, place: bytes, sealed: str) -> str:
        """Raises Tampered."""
        found = parts(sealed)
        if found is None or found[0] != self.key_id:
            raise Tampered("not sealed with this key")
        try:
            raw = binascii.a2b_base64(found[1], strict_mode=True)
            # Base64 has several spellings of the same bytes: one of them is ours.
            if len(raw) < NONCE_BYTES + TAG_BYTES or binascii.b2a_base64(raw, newline=False).decode() != found[1]:
                raise Tampered("not as it was sealed")
            plain = self._aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], self._bound + place)
        except (binascii.Error, InvalidTag) as error:
            raise Tampered("changed, or moved from where it was sealed") from error
        return plain.decode("utf-8", "surrogatepass")
