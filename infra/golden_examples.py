"""Golden examples: every version of every event type as it was once written, never changed and always read."""

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from schemas.catalogue import EVENT_TYPES, NEWEST, EventType
from schemas.upcasts import UPCASTS
from schemas.wire import Undecodable, decode, encode
from schemas.words import Frozen

EXAMPLES = "schemas/examples"
#: `sha256sum -c golden.sha256` in schemas/ understands it too.
LEDGER = "schemas/golden.sha256"


def ledger(root: Path) -> str:
    """The text that the ledger must have: a line that once stands there stays, and every other example gets one."""
    lines = {path.name: _line(path) for path in _examples(root)} | {name: line for line, _, name in _noted(root)}
    return "".join(f"{lines[name]}\n" for name in sorted(lines))


def broken(root: Path) -> Iterator[tuple[str, str]]:
    """(file, reason) of each golden example that is gone, was changed, or is read no more."""
    for _, digest, name in _noted(root):
        path = root / EXAMPLES / name
        if not path.exists():
            yield f"{EXAMPLES}/{name}", "the golden example is gone"
        elif _digest(path) != digest:
            yield f"{EXAMPLES}/{name}", "the golden example was changed"
    for path in _examples(root):
        if reason := _unread(path.read_bytes()):
            yield f"{EXAMPLES}/{path.name}", f"the golden example is not read any more: {reason}"


def without_upcast(
    types: Mapping[str, EventType] = EVENT_TYPES,
    newest: Mapping[str, int] = NEWEST,
    upcasts: Mapping[type[Frozen], Callable[[Any], Frozen]] = UPCASTS,
) -> list[str]:
    """Older versions that nothing makes a newer one of."""
    return [entry.type for entry in types.values() if entry.version < newest[entry.name] and entry.data not in upcasts]


def _unread(value: bytes) -> str:
    try:
        event = decode(value)
        # Once more: an upcast does not check what it makes.
        return "" if decode(encode(event)) == event else "it comes back as another event"
    except Undecodable as error:
        return str(error)


def _examples(root: Path) -> list[Path]:
    return sorted((root / EXAMPLES).glob("*.json"))


def _noted(root: Path) -> Iterator[tuple[str, str, str]]:
    """Each line of the ledger, with its digest and its example's name."""
    path = root / LEDGER
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        digest, _, file = line.partition("  ")
        yield line, digest, Path(file).name


def _line(path: Path) -> str:
    return f"{_digest(path)}  examples/{path.name}"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
