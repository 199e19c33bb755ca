"""Deterministic event ids: UUIDv7 whose random bits are a hash, so that the same cause has the same id everywhere."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from hashlib import blake2b
from typing import NamedTuple

_LAST_MILLISECOND = (1 << 48) - 1
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LOW = (1 << 62) - 1


def unix_milliseconds(time: datetime) -> int:
    """Whole milliseconds since 1970 of a time in UTC, rounded down; negative before it."""
    # By its fields: a difference of times asks both time zones, and takes twice as long.
    seconds = time.hour * 3_600 + time.minute * 60 + time.second
    return (time.toordinal() - _EPOCH_DAY) * 86_400_000 + seconds * 1_000 + time.microsecond // 1_000


def _time_part(milliseconds: int) -> str:
    if not 0 <= milliseconds <= _LAST_MILLISECOND:
        raise ValueError(f"no UUIDv7 holds the time {milliseconds} ms: it counts 48 bits from 1970")
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


def _assembled(time_part: str, hashed: int) -> str:
    """A UUIDv7 of the time and the lower 74 bits of a hash."""
    low = f"{1 << 63 | hashed & _LOW:016x}"
    return f"{time_part}{hashed >> 62 & 0xFFF:03x}-{low[:4]}-{low[4:]}"


def _hash(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=10).digest(), "big")


@lru_cache(maxsize=1024)
def _home(projection: str, partition: int) -> int:
    return _hash(b"%b/%d" % (projection.encode(), partition))


class Stem(NamedTuple):
    """What the ids of all effects of one record share: all but the last digits, which count up from `last`."""

    time_part: str
    hashed: int
    front: str
    last: int


#: Calling the class makes one in Python, at four times the cost.
_stem: Callable[[tuple[str, int, str, int]], Stem] = partial(getattr(tuple, "__new__"), Stem)  # noqa: B009  # it has no type

#: The lower 62 bits of a hash are 38 to which the offset is added, and 24 to which the index is.
_MIDDLE, _LAST_DIGITS = (1 << 38) - 1, (1 << 24) - 1


def derived_stem(time_ms: int, projection: str, partition: int, offset: int) -> Stem:
    """What the ids of all effects of one record of a projection's source share. ValueError before 1970.

    Offset and index are added to a hash of the projection and partition, so that within a partition no two effects
    have one id (up to 2^38 offsets of 2^24 effects), and it costs no hash a record.
    """
    time_part, hashed = _time_part(time_ms), _home(projection, partition) + (offset << 24)
    low = 1 << 39 | hashed >> 24 & _MIDDLE
    front = f"{time_part}{hashed >> 62 & 0xFFF:03x}-{low >> 24:04x}-{low & _LAST_DIGITS:06x}"
    return _stem((time_part, hashed, front, hashed & _LAST_DIGITS))


def derived_id(stem: Stem, index: int) -> str:
    """The id of the `index`-th effect of the record that the stem was made of."""
    time_part, hashed, front, last = stem
    if last + index <= _LAST_DIGITS:
        return f"{front}{last + index:06x}"
    return _assembled(time_part, hashed + index)


def event_id(time: datetime, *parts: str | int) -> str:
    """The id of an imported event: the same time and parts give the same id. Raises ValueError before 1970."""
    name = b"\0".join(str(part).encode() for part in parts)
    return _assembled(_time_part(unix_milliseconds(time.astimezone(UTC))), _hash(name))
