"""Where the peers come from: an environment of their own for the Python ones, a Maven build for Kafka Streams."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.errors import AssayError, Exit
from infra.kafka import jars
from infra.settings import Settings

#: Not in requirements.lock: they ask for other versions of Assay's own packages.
PACKAGES = ("quixstreams==3.28.1", "bytewax==0.21.1")
#: With newer ones of the other three Wawa and ZeroBasedSkill crash.
AGGREGATORS = ("crowd-kit==1.4.2", "scikit-learn<1.6", "pandas<3", "attrs<24")
JAVA = Path(__file__).parents[1] / "kafka_streams"


def python(settings: Settings, packages: Sequence[str] = PACKAGES) -> Path:
    """The Python of an environment with these packages; the first call makes it."""
    home = jars.cache(settings) / f"peers-{_digest(' '.join(packages).encode())}"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)])
        _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        (home / "done").touch()
    return home / "bin" / "python"


def classpath(settings: Settings) -> str:
    """The classpath of the Kafka Streams program; the first call builds it."""
    files = sorted(path for path in JAVA.rglob("*") if path.is_file() and "target" not in path.parts)
    home = jars.cache(settings) / f"kafka-streams-{_digest(b''.join(path.read_bytes() for path in files))}"
    if not home.exists():
        _build(home)
    return f"{home}/classes:{home}/libs/*"


def _build(home: Path) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise AssayError("no Maven, which builds the Kafka Streams peer", where="PATH", hint="install it (Debian: maven)")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{home.name}.", dir=home.parent) as part:
        project = Path(part) / "project"
        shutil.copytree(JAVA, project, ignore=shutil.ignore_patterns("target"))
        goals = ["compile", "dependency:copy-dependencies", f"-DoutputDirectory={project}/target/libs"]
        _run([maven, "-B", "-q", "-f", str(project / "pom.xml"), *goals])
        (project / "target").rename(home)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["nothing said"]
        hint = "it needs PyPI and Maven Central, once"
        raise AssayError("a peer cannot be installed", Path(command[0]).name, said[0][:300], hint, Exit.FAILED)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
