"""The broker's jars: fetched once by Maven from a pinned pom, or those of an Apache Kafka on disk."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.errors import AssayError, Exit
from infra.settings import Settings

POM = Path(__file__).with_name("pom.xml")
Progress = Callable[[int], None]


def find(settings: Settings, progress: Progress = lambda count: None) -> Path:
    """The folder of the jars; the first call may fetch them (some 60 MB), telling how many files have come so far."""
    there = present(settings)
    if there is None:
        there = _fetched(settings)
        _fetch(there, progress)
    return there


def present(settings: Settings) -> Path | None:
    """The folder of the jars, if they are here already."""
    if home := settings.kafka.home or _from_environment():
        return _of_home(home)
    fetched = _fetched(settings)
    return fetched if fetched.is_dir() else None


def _fetched(settings: Settings) -> Path:
    return cache(settings) / f"kafka-{version()}-{_digest()}"


def version() -> str:
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)<", POM.read_text("utf-8"))
    if not found:
        raise AssayError("the pom names no Kafka", where=POM)
    return found[1]


def _digest() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()[:8]


def _from_environment() -> Path | None:
    return Path(home) if (home := os.environ.get("KAFKA_HOME")) else None


def _of_home(home: Path) -> Path:
    libs = home / "libs"
    if not any(libs.glob("kafka_2*.jar")):
        raise AssayError("no Apache Kafka there", where=libs, hint="KAFKA_HOME or kafka.home is the folder with bin and libs")
    return libs


def cache(settings: Settings) -> Path:
    """Where things fetched once are kept: in the environment if it is one that we may write, else with the data."""
    in_environment = Path(sys.prefix) / "share" / "assay"
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        return in_environment
    return settings.data_dir / "share"


def _fetch(target: Path, progress: Progress) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise AssayError(
            "no Maven, which fetches Apache Kafka",
            where="PATH",
            hint="install it (Debian: maven), or set KAFKA_HOME to an unpacked Apache Kafka 4.x",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as part:
        jars = Path(part) / "jars"
        _copy_dependencies(maven, jars, progress)
        _move(jars, target)


def _copy_dependencies(maven: str, jars: Path, progress: Progress) -> None:
    command = [maven, "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    said: list[str] = []
    fetched = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        for text in run.stdout or ():
            said = [*said[-200:], text]
            if " Downloaded from " in text:
                fetched += 1
                progress(fetched)
    if run.returncode:
        raise _failed(said)


def _failed(said: list[str]) -> AssayError:
    # Without its addresses: what a mirror is called is nobody's business in a bug report.
    errors = [re.sub(r"https?://\S+", "(address)", text) for text in said if text.startswith("[ERROR]")]
    return AssayError(
        "Maven could not fetch Apache Kafka",
        where=POM.name,
        got=(errors or said or ["nothing"])[0][:300],
        hint="check the network and run it again: what came already is kept by Maven; or set KAFKA_HOME",
        exit_code=Exit.FAILED,
    )


def _move(jars: Path, target: Path) -> None:
    try:
        jars.rename(target)
    except OSError:
        # Another process was quicker; the jars are the same.
        if not target.is_dir():
            raise


def main() -> None:
    """Fetch ahead of need, as `make setup` does."""
    from infra.errors import explain, line
    from infra.settings import load

    try:
        find(load(), lambda count: print(f"\r{count} files", end="", file=sys.stderr, flush=True))
        print(file=sys.stderr)
    except (AssayError, OSError) as error:
        sys.exit(f"assay: {line(explain(error))}")


if __name__ == "__main__":
    main()
