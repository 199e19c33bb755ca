"""Times: now, and what somebody wrote, both in UTC."""

from datetime import UTC, datetime


def now() -> datetime:
    """In whole milliseconds, as events carry it."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1_000 * 1_000)


def utc(time: datetime) -> datetime:
    """A time as somebody wrote it: of UTC unless it says otherwise."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def read(text: str) -> datetime:
    """As 2026-03-01 or 2026-03-01T12:00Z. Raises ValueError, and OverflowError at the edges of the calendar."""
    return utc(datetime.fromisoformat(text))
