"""Previews that were kept, in `previews` in the data directory: under their digests, which stand under keys of what was asked."""

from hashlib import sha256
from pathlib import Path

import orjson

from infra.errors import AssayError
from infra.processes import write_whole
from streams.projection import Json


def path_of(data_dir: Path, digest: str) -> Path:
    return data_dir / "previews" / f"{digest}.json"


def digest_of(said: Json) -> str:
    """SHA-256 as JSON in order of names; a preview's is over all that it says: policy, scope, window, code version and result."""
    return sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _read(data_dir: Path, digest: str) -> Json:
    """Raises ValueError and the like where it is not what was signed."""
    said: Json = orjson.loads(path_of(data_dir, digest).read_bytes())
    signed = {name: value for name, value in said.items() if name != "digest"}
    if not digest == said["digest"] == digest_of(signed):
        raise ValueError("it is not what was signed")
    return said


_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


def kept(data_dir: Path, key: str) -> Json | None:
    """The answer to this question, if it was kept. What was damaged, or written by somebody else, is replayed again."""
    try:
        return _read(data_dir, _key_path(data_dir, key).read_bytes().decode("ascii"))
    except (OSError, *_UNREADABLE):
        return None


def keep(data_dir: Path, key: str, said: Json) -> Path:
    """`said` has its digest."""
    path = path_of(data_dir, said["digest"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, orjson.dumps(said, option=orjson.OPT_INDENT_2))
    write_whole(_key_path(data_dir, key), str(said["digest"]).encode())
    return path


def _key_path(data_dir: Path, key: str) -> Path:
    return data_dir / "previews" / f"{key}.key"


def opened(data_dir: Path, digest: str) -> Json | None:
    """The preview with this digest, if it is still there. Raises AssayError where it is not what was signed."""
    path = path_of(data_dir, digest)
    if not path.exists():
        return None
    try:
        return _read(data_dir, digest)
    except _UNREADABLE as error:
        raise AssayError("a preview cannot be read", where=path, got=repr(error), hint="make it again") from None


def predicted(data_dir: Path, digest: str | None) -> Json | None:
    """What the preview with this digest said would be, if it is still there."""
    said = None if digest is None else opened(data_dir, digest)
    found: Json | None = said and said["predicted"]
    return found
