"""Times: now, and what somebody wrote, both in UTC."""

from datetime import UTC, datetime

from infra.errors import AssayError


def now() -> datetime:
    """In whole milliseconds, as events carry it."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1_000 * 1_000)


def utc(time: datetime) -> datetime:
    """A time as somebody wrote it: of UTC unless it says otherwise. Raises AssayError at the edges of the calendar."""
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise AssayError("no time in UTC", got=time.isoformat(), hint="as in 2026-01-31T08:00:00Z") from None


def read(text: str) -> datetime:
    """As 2026-03-01 or 2026-03-01T12:00Z. Raises ValueError, and AssayError as `utc` does."""
    return utc(datetime.fromisoformat(text))
