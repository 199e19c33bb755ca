"""Deterministic event ids: UUIDv7 whose random bits are a hash, so that the same cause has the same id everywhere."""

from datetime import datetime
from hashlib import blake2b

_LAST_MILLISECOND = (1 << 48) - 1


def _uuid7(milliseconds: int, name: bytes) -> str:
    if not 0 <= milliseconds <= _LAST_MILLISECOND:
        raise ValueError(f"no UUIDv7 holds the time {milliseconds} ms: it counts 48 bits from 1970")
    time, hashed = f"{milliseconds:012x}", blake2b(name, digest_size=10).hexdigest()
    variant = "89ab"[int(hashed[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{hashed[:3]}-{variant}{hashed[4:7]}-{hashed[7:19]}"


def derived_id(time_ms: int, projection: str, partition: int, offset: int, index: int) -> str:
    """The id of the `index`-th effect of one record of a projection's source. Raises ValueError before 1970."""
    return _uuid7(time_ms, b"%b/%d/%d/%d" % (projection.encode(), partition, offset, index))


def event_id(time: datetime, *parts: str | int) -> str:
    """The id of an imported event: the same time and parts give the same id. Raises ValueError before 1970."""
    milliseconds = int(time.timestamp() * 1000)
    return _uuid7(milliseconds, b"\0".join(str(part).encode() for part in parts))
