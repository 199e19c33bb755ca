"""The newest text of every submission as the log has it, in a file without a name that goes with the process: memory holds
places only. What is sealed stays sealed until it is asked for."""

import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from agents.keys import KeyStore, TextReader
from streams.sealed import key_id


class _Place(NamedTuple):
    start: int
    length: int
    revision: int
    key: str | None
    by: str


class Texts:
    """Text by submission. Reading one takes some ten microseconds, since the system keeps the file's pages in memory."""

    def __init__(self, keys: KeyStore) -> None:
        self._reader = TextReader(keys)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it is open as long as this is
        self._end = 0
        self._places: dict[str, _Place] = {}

    def put(self, name: str, revision: int, text: str, by: str) -> None:
        """`by`: who wrote it."""
        data = text.encode("utf-8", "surrogatepass")
        os.pwrite(self._file.fileno(), data, self._end)
        self._places[name] = _Place(self._end, len(data), revision, key_id(text), by)
        self._end += len(data)

    def get(self, name: str) -> str | None:
        """The text as it was written; "" for a submission that never came, None for one that was erased. Raises
        agents.keys.KeyTrouble."""
        place = self._places.get(name)
        if place is None:
            return ""
        kept = os.pread(self._file.fileno(), place.length, place.start).decode("utf-8", "surrogatepass")
        return self._reader.read(name, place.revision, kept, place.by)

    def is_erased(self, name: str) -> bool:
        place = self._places[name]
        return self._reader.is_erased(place.key, place.by)

    def look(self) -> None:
        """See now which keys were destroyed."""
        self._reader.keys.look()

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def close(self) -> None:
        self._file.close()
