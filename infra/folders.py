"""Folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.processes import born


def sweep(home: Path) -> None:
    """Remove what processes left that were killed before their folder was whole."""
    for left in home.glob(".*.part"):
        pid = left.name.split(".")[1]
        if pid.isdecimal() and born(int(pid)) is None:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def unfinished(home: Path) -> Iterator[Path]:
    """A new folder in `home` to be renamed when it is whole; else it is removed, by the next caller at the latest."""
    home.mkdir(parents=True, exist_ok=True)
    sweep(home)
    part = home / f".{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
