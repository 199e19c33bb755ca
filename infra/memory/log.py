"""One partition's log: offsets, transactions with their markers, the last stable offset, compaction."""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

Headers = tuple[tuple[str, bytes], ...]


class Message(NamedTuple):
    """What a producer sends."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Entry(NamedTuple):
    """A message at its offset. A marker, which ends a transaction and is given to nobody, has none."""

    offset: int
    producer: int
    message: Message | None


class Read(NamedTuple):
    """Entries that a reader is given, and the offset to go on from."""

    entries: list[Entry]
    following: int


class PartitionLog:
    """Entries in the order of their offsets, which have gaps where markers stand and where compaction took some out."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.start = 0
        self.end = 0
        #: First offset of each open transaction, by producer.
        self._open: dict[int, int] = {}
        #: (producer, first offset, offset of the marker) of aborted transactions.
        self._aborted: list[tuple[int, int, int]] = []
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def stable(self) -> int:
        """Before this offset no transaction is open."""
        return min(self._open.values(), default=self.end)

    def append(self, messages: Iterable[Message], producer: int = 0, transactional: bool = False) -> int:
        """Append and wake whoever waits; the offset of the first."""
        first = self.end
        if transactional:
            self._open.setdefault(producer, first)
        for message in messages:
            self._add(producer, message)
        self._wake()
        return first

    def finish(self, producer: int, committed: bool) -> None:
        """End this producer's transaction with a marker."""
        first = self._open.pop(producer)
        if not committed:
            self._aborted.append((producer, first, self.end))
        self._add(producer, None)
        self._wake()

    def read(self, start: int, committed: bool, limit: int) -> Read:
        """At most `limit` messages from this offset on; with `committed`, none of an open or aborted transaction."""
        behind = self.stable if committed else self.end
        found: list[Entry] = []
        for entry in self.entries[bisect_left(self.entries, start, key=_offset) :]:
            if entry.offset >= behind:
                break
            if len(found) == limit:
                return Read(found, entry.offset)
            if entry.message is not None and (not committed or self.is_committed(entry)):
                found.append(entry)
        return Read(found, max(start, behind))

    def compact(self) -> None:
        """Keep of every key the newest committed message, at its offset. What is not stable stays as it is."""
        stable, kept = self.stable, set[bytes | None]()
        entries: list[Entry] = []
        for entry in reversed(self.entries):
            if entry.offset >= stable or self._survives(entry, kept):
                entries.append(entry)
        self.entries = entries[::-1]

    def _survives(self, entry: Entry, kept: set[bytes | None]) -> bool:
        if entry.message is None or not self.is_committed(entry) or entry.message.key in kept:
            return False
        kept.add(entry.message.key)
        return True

    def wait(self, waiter: asyncio.Future[None]) -> None:
        """Have this future resolved at the next change, unless it is done by then."""
        self._waiting = [one for one in self._waiting if not one.done()] + [waiter]

    def is_committed(self, entry: Entry) -> bool:
        """Whether this one is neither of an open nor of an aborted transaction."""
        if entry.offset >= self._open.get(entry.producer, self.end):
            return False
        return not any(entry.producer == who and first <= entry.offset < last for who, first, last in self._aborted)

    def _add(self, producer: int, message: Message | None) -> None:
        self.entries.append(Entry(self.end, producer, message))
        self.end += 1

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


def _offset(entry: Entry) -> int:
    return entry.offset
