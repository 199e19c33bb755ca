"""The supervisor with real processes: order, restart, back-off, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from infra.errors import AssayError
from infra.processes import Record, gone
from infra.supervisor import Backoff, Part, Supervisor, program

CHILD = """
import os, sys, time, signal
sys.path.insert(0, {root!r})
from agents.readiness import ready
name, log, mode = sys.argv[1:]
def note(text):
    with open(log, "a") as file:
        file.write(f"{{name}} {{text}} {{os.getpid()}}\\n")
def stop(*_):
    note("stops")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else stop)
note("starts")
if mode == "usage":
    print("port in use", flush=True)
    sys.exit(2)
if mode == "crash":
    sys.exit(7)
ready()
print("working", flush=True)
while True:
    time.sleep(0.05)
"""
QUICK = Backoff(first_seconds=0.05, most_seconds=0.2, healthy_seconds=60.0, hopeless_after=3)
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "child.py"
    path.write_text(CHILD.format(root=ROOT))
    return str(path)


@pytest.fixture
def part(script: str, log: Path) -> Callable[..., Part]:
    def make(name: str, rank: int = 0, mode: str = "works") -> Part:
        return program(name, rank, [sys.executable, script, name, str(log), mode])

    return make


def events(log: Path) -> list[str]:
    return [text.rsplit(" ", 1)[0] for text in log.read_text().splitlines()]


def pids(log: Path) -> list[int]:
    return [int(text.rsplit(" ", 1)[1]) for text in log.read_text().splitlines()]


def refused(words: str) -> AbstractContextManager[object]:
    return pytest.raises(AssayError, match=words)


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lower_ranks_start_first_and_stop_last(part: Callable[..., Part], log: Path) -> None:
    with Supervisor([part("worker", 1), part("broker", 0)]) as system:
        system.wait_ready(10)
    assert events(log) == ["broker starts", "worker starts", "worker stops", "broker stops"]


def test_what_dies_starts_again_and_says_so(part: Callable[..., Part], log: Path) -> None:
    said: list[str] = []
    with Supervisor([part("worker")], lambda name, text: said.append(f"{name} {text}"), QUICK) as system:
        system.wait_ready(10)
        first = system.pid("worker")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: system.pid("worker") not in (None, first) and len(pids(log)) == 2)
    assert any(text.startswith("worker died (SIGKILL) after") and "starts again in" in text for text in said)
    assert "worker working" in said
    assert said[-1] == "worker stopped"


def test_what_is_stopped_from_outside_starts_again_and_is_not_called_dead(part: Callable[..., Part], log: Path) -> None:
    said: list[str] = []
    with Supervisor([part("worker")], lambda _, text: said.append(text), QUICK) as system:
        system.wait_ready(10)
        first = system.pid("worker")
        assert first is not None
        os.kill(first, signal.SIGTERM)
        until(lambda: system.pid("worker") not in (None, first) and len(pids(log)) == 2)
    assert any(text.startswith("was stopped from outside after") and "starts again in" in text for text in said)
    assert not any("died" in text for text in said)


def test_what_lacks_something_is_not_tried_again(part: Callable[..., Part], log: Path) -> None:
    said: list[str] = []
    with (
        Supervisor([part("serve", mode="usage")], lambda _, text: said.append(text), QUICK) as system,
        refused("serve cannot start"),
    ):
        system.wait_ready(10)
    assert events(log) == ["serve starts"]
    assert said == ["port in use"]


def test_what_never_gets_ready_is_given_up(part: Callable[..., Part], log: Path) -> None:
    with Supervisor([part("worker", mode="crash")], backoff=QUICK) as system, refused(r"got: died \(exit 7\) .* 3 times"):
        system.wait_ready(10)
    assert events(log) == ["worker starts"] * 3


def test_not_ready_in_time_names_who() -> None:
    silent = program("mute", 0, [sys.executable, "-c", "import time; time.sleep(60)"])
    with Supervisor([silent]) as system, refused("where: mute"):
        system.wait_ready(0.5)


def test_the_wait_doubles_up_to_a_bound() -> None:
    assert [Backoff().seconds(failures) for failures in (1, 2, 3, 7, 1000)] == [0.5, 1.0, 2.0, 30.0, 30.0]


MAIN = """
import sys
sys.path.insert(0, {root!r})
from infra.supervisor import Supervisor, program
parts = [program(name, 0, [sys.executable, {script!r}, name, {log!r}, mode]) for name, mode in {parts!r}]
print("begun", flush=True)
Supervisor(parts, lambda name, text: print(name, text, flush=True)).run()
print("ended", flush=True)
"""


@pytest.fixture
def main(script: str, log: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(*parts: tuple[str, str]) -> subprocess.Popen[str]:
        text = MAIN.format(root=ROOT, script=script, log=str(log), parts=parts)
        return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)

    return start


def started(log: Path, count: int) -> list[Record]:
    until(lambda: log.exists() and len(pids(log)) == count)
    return [Record.of(pid) for pid in pids(log)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_in_order(main: Callable[..., subprocess.Popen[str]], log: Path, number: signal.Signals) -> None:
    with main(("one", "works"), ("two", "works")) as supervisor:
        children = started(log, 2)
        supervisor.send_signal(number)
        out, _ = supervisor.communicate(timeout=10)
    assert supervisor.returncode == 0
    assert out.endswith("ended\n")
    assert not any(child.alive for child in children)


def test_the_second_signal_hurries(main: Callable[..., subprocess.Popen[str]], log: Path) -> None:
    with main(("deaf", "deaf")) as supervisor:
        started(log, 1)
        supervisor.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            supervisor.wait(0.5)
        supervisor.send_signal(signal.SIGINT)
        out, _ = supervisor.communicate(timeout=5)
    assert "deaf killed" in out


def test_nothing_outlives_a_killed_supervisor(main: Callable[..., subprocess.Popen[str]], log: Path) -> None:
    with main(("one", "works"), ("deaf", "deaf")) as supervisor:
        children = started(log, 2)
        supervisor.kill()
    assert all(gone(child, 5) for child in children)
