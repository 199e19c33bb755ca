"""Previews that were kept, in `previews` in the data directory: under their digests, which stand under keys of what was asked."""

from pathlib import Path

import orjson

from infra.errors import AssayError
from infra.processes import write_whole
from streams.projection import Json


def path_of(data_dir: Path, digest: str) -> Path:
    return data_dir / "previews" / f"{digest}.json"


def kept(data_dir: Path, key: str) -> Json | None:
    """The answer to this question, if it was kept."""
    try:
        digest = _key_path(data_dir, key).read_text()
        said: Json = orjson.loads(path_of(data_dir, digest).read_bytes())
        return said
    except (FileNotFoundError, orjson.JSONDecodeError):
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


def predicted(data_dir: Path, digest: str | None) -> Json | None:
    """What the preview with this digest said would be, if it is still there."""
    path = path_of(data_dir, str(digest))
    if digest is None or not path.exists():
        return None
    try:
        said: Json = orjson.loads(path.read_bytes())["predicted"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise AssayError("a preview cannot be read", where=path, got=repr(error), hint="make it again") from None
    return said
