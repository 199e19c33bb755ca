"""What is written stays written, whatever happens to the machine."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Returns once a file, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
