"""What everything that reads history asks of it; Kafka, an archive, and both as one are equal under it."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from infra.errors import AssayError, Exit
from schemas.wire import TooNew, Undecodable
from streams.projection import Record, record_of

#: Topic and partition.
Place = tuple[str, int]
Headers = Sequence[tuple[str, bytes | None]]
#: Told how much is done, of how much.
Watch = Callable[[int, int], None]


class Raw(Protocol):
    """A record as it stands in the log; aiokafka's ConsumerRecord is one. `timestamp` in milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class Stretch(NamedTuple):
    """Consecutive records as columns: what a fold looks at, and nothing else."""

    offsets: Sequence[int]
    values: Sequence[bytes | None]


class History(Protocol):
    """The log, wherever it is kept. Reads only, joins no group, and commits nothing."""

    async def ends(self, *topics: str) -> dict[Place, int]:
        """The next offset of every partition of these topics; nothing for a topic that does not exist."""
        ...

    def records(self, topic: str, partition: int, end: int, start: int = 0, too_new: str = "quarantine") -> AsyncIterator[Record]:
        """The events at start <= offset < end, in order; what is no event is left out, as every fold does.

        `too_new="stop"`: raises AssayError at a later version of an event, where the live fold waits for an upgrade as well.
        """
        ...

    def stretches(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Stretch]:
        """The same as columns of bytes, whatever is in them: for whoever folds millions."""
        ...

    def raw(self, topic: str, partition: int, end: int, start: int = 0) -> AsyncIterator[Sequence[Raw]]:
        """The same with keys, times and headers."""
        ...

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first offset whose record is of this time or later, else the end: as Kafka's offsetsForTimes has it."""
        ...


def decoded(place: Place, stretch: Stretch, too_new: str = "quarantine") -> Iterator[Record]:
    """The events among these records. Raises AssayError at one that is too new, where `too_new` is "stop"."""
    partition = place[1]
    for offset, value in zip(*stretch, strict=True):
        try:
            yield record_of(partition, offset, value)  # type: ignore[arg-type]  # a tombstone is no event either
        except TooNew as error:
            if too_new == "stop":
                raise ahead(place, offset, error) from None
        except Undecodable:
            continue


def ahead(place: Place, offset: int, error: TooNew) -> AssayError:
    where, hint = f"{place[0]}/{place[1]}@{offset}", "upgrade Assay: without this event the result would be another"
    return AssayError("a later version of Assay wrote this", where, error, hint, Exit.FAILED)


async def decoded_all(place: Place, stretches: AsyncIterator[Stretch], too_new: str) -> AsyncIterator[Record]:
    async for stretch in stretches:
        for record in decoded(place, stretch, too_new):
            yield record


def columns(batch: Iterable[Raw]) -> Stretch:
    rows = list(batch)
    return Stretch([row.offset for row in rows], [row.value for row in rows])
