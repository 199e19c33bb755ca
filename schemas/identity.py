"""Deterministic event ids: UUIDv7 whose random bits are a hash, so that the same cause has the same id everywhere."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b

_LAST_MILLISECOND = (1 << 48) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _stem(milliseconds: int, name: bytes) -> tuple[str, int]:
    """All of a UUIDv7 but its last 12 hex digits, and these as a number."""
    if not 0 <= milliseconds <= _LAST_MILLISECOND:
        raise ValueError(f"no UUIDv7 holds the time {milliseconds} ms: it counts 48 bits from 1970")
    time, hashed = f"{milliseconds:012x}", blake2b(name, digest_size=10).hexdigest()
    variant = "89ab"[int(hashed[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{hashed[:3]}-{variant}{hashed[4:7]}-", int(hashed[7:19], 16)


Stem = tuple[str, int]


def derived_stem(time_ms: int, projection: str, partition: int, offset: int) -> Stem:
    """What the ids of all effects of one record of a projection's source share. ValueError before 1970."""
    return _stem(time_ms, b"%b/%d/%d" % (projection.encode(), partition, offset))


def derived_id(stem: Stem, index: int) -> str:
    """The id of the `index`-th effect of the record that the stem was made of."""
    return f"{stem[0]}{(stem[1] + index) & 0xFFFFFFFFFFFF:012x}"


def event_id(time: datetime, *parts: str | int) -> str:
    """The id of an imported event: the same time and parts give the same id. Raises ValueError before 1970."""
    return derived_id(_stem((time - _EPOCH) // _MILLISECOND, b"\0".join(str(part).encode() for part in parts)), 0)
