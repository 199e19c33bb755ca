"""Which code this is."""

from hashlib import sha256
from importlib import metadata
from pathlib import Path

import schemas
import streams


def code_version() -> str:
    """The release, and a hash of the code that decides what is in a snapshot."""
    try:
        release = metadata.version("assay")
    except metadata.PackageNotFoundError:
        release = "0"
    digest = sha256()
    for package in (schemas, streams):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{release}+{digest.hexdigest()[:12]}"
