"""Long commands of tests, which mostly wait: they run beside the other tests, one after the other, from the beginning."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.processes import Record, end, spawn

#: The tests that run meanwhile come first.
NICE = ("nice", "-n", "5")
#: Whatever it writes to stderr goes to the file that is named first.
APART = ("sh", "-c", 'exec "$@" 2>"$0"')


@dataclass(frozen=True)
class Done:
    """A command that has ended, and the data directory that it had to itself."""

    home: Path
    returncode: int
    stdout: str
    stderr: str


class Beside:
    """Runs commands of Assay, and ends what still runs when it is left."""

    def __init__(self) -> None:
        # Children are bound to the thread that starts them: this one lives as long as the tests.
        self._thread = ThreadPoolExecutor(1)
        self._begun: dict[str, Future[Done]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._process is not None:
            end(Record.of(self._process.pid), 20.0)
        self._thread.shutdown()

    def begin(self, name: str, arguments: Sequence[str], home: Path) -> None:
        self._begun[name] = self._thread.submit(self._run, arguments, home)

    def done(self, name: str) -> Done:
        """Waits for it."""
        return self._begun[name].result()

    def _run(self, arguments: Sequence[str], home: Path) -> Done:
        said, errors = home.with_suffix(".out"), home.with_suffix(".err")
        command = [*NICE, *APART, str(errors), sys.executable, "-m", "infra.cli", *arguments]
        with said.open("wb") as output:
            self._process = spawn(command, bound=True, output=output, env={"ASSAY_DATA_DIR": str(home)})
        code = self._process.wait()
        return Done(home, code, said.read_text(), errors.read_text())
