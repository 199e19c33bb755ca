"""Request bodies as ClickHouse's HTTP port takes them: compressed or not, plain or as a form; bounded either way."""

import sys
import zlib
from collections.abc import Callable
from email import policy
from email.parser import BytesParser
from typing import Any, Protocol, cast


class TooLarge(Exception):
    """The body is larger than allowed, packed or unpacked."""


class Unreadable(Exception):
    """The body is not what its headers say."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _zstd() -> _Decompressor:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast(_Decompressor, zstd.ZstdDecompressor())


def _lz4() -> _Decompressor:
    from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

    return cast(_Decompressor, LZ4FrameDecompressor())


_CODINGS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
    "lz4": _lz4,
    "zstd": _zstd,
}


def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """The body without its content coding. Never makes more than `most` bytes, however well it was packed."""
    if coding in ("", "identity"):
        return body
    try:
        decompressor = _CODINGS[coding]()
    except (KeyError, ImportError) as error:
        raise Unreadable(f"content coding {coding!r} is not served here; send {', '.join(_CODINGS)} or none") from error
    try:
        whole: bytes = decompressor.decompress(body, most + 1)
    except Exception as error:  # each library has its own
        raise Unreadable(f"the body is not {coding}: {error}") from error
    if len(whole) > most:
        raise TooLarge
    if not decompressor.eof:
        raise Unreadable(f"the {coding} body is cut off")
    return whole


def form(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a multipart form. Files (external data) are refused."""
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None or not isinstance(name, str):
            raise Unreadable("external data is not served here")
        payload = part.get_payload(decode=True)
        fields[name] = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    return fields
