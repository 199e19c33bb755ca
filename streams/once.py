"""Each event of a subject counts once: the same id twice is one event, and the same id with another body is refused."""

from streams.projection import Record, Refusal

#: Events that one subject may have. Beyond it they are refused, so that a row stays within a Kafka message.
MAX_EVENTS = 5_000

TOO_MANY = Refusal("too_many_events", f"more than {MAX_EVENTS} events on one subject")


def mark(record: Record) -> str:
    """What a row keeps of an event that was folded: `id:checksum `, all in one string, where a list of ids would be half
    of the memory of all rows."""
    return f"{record.event.id}:{record.digest:x} "


def same_id(seen: str, record: Record) -> Refusal | None:
    """Why this record, whose id is in `seen`, is refused; None where it is the very same event."""
    return None if mark(record) in seen else Refusal("id_reused", "the same id with another body")
