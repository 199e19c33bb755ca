"""Rows that stay as they are stored until somebody looks at them."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

Packed = bytes


class Stored(Protocol):
    """Where packed rows lie."""

    def __iter__(self) -> Iterator[str]: ...
    def packed(self, key: str) -> Packed | None: ...


class LazyRows(dict[str, Any]):
    """A dict of all rows, of which those that were touched are here and the others still in the store.

    `loaded` is told of each row when it is unpacked. Rows are never deleted from a state, so that nothing is hidden here.
    """

    def __init__(self, store: Stored, unpack: Callable[[Packed], Any], loaded: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._store, self._unpack, self._loaded = store, unpack, loaded

    def __missing__(self, key: str) -> Any:
        packed = self._store.packed(key)
        if packed is None:
            raise KeyError(key)
        row = self[key] = self._unpack(packed)
        self._loaded(key, row)
        return row

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and self._store.packed(key) is not None)

    def __iter__(self) -> Iterator[str]:
        # Those that are here when it begins: whoever looks at every row brings the others in as they come.
        here = dict.fromkeys(super().__iter__())
        yield from (key for key in self._store if key not in here)
        yield from here

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def untouched(self, key: str) -> Packed | None:
        """The stored row, if nobody has looked at it."""
        return None if super().__contains__(key) else self._store.packed(key)
