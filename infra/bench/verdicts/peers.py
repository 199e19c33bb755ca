"""What crowd-kit's aggregators say of the same votes, with a limit of time for each."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.bench.verdicts.crowds import Crowd

ROOT = Path(__file__).parents[3]
QUICK = ("MajorityVote", "Wawa", "ZeroBasedSkill", "DawidSkene", "OneCoinDawidSkene")
#: Each in a process of its own, since these may need minutes where the others need seconds.
SLOW = ("GLAD", "MACE")
PEERS = (*QUICK, *SLOW)


class Answer(NamedTuple):
    """One peer on one set: labels by task and its seconds, or why there are none."""

    name: str
    said: dict[int, int] | None
    seconds: float | None
    reason: str | None


def answers(program: Path, crowd: Crowd, seconds: float, say: Callable[[str], None]) -> dict[str, Answer]:
    """Every peer's answer, run by the Python of their environment; one that takes longer than `seconds` has none. Takes as long
    as all of them together."""
    found: dict[str, Answer] = {}
    for names in (QUICK, *((name,) for name in SLOW)):
        for answer in _run(program, crowd, names, seconds):
            say(f"{crowd.name}: {answer.name} {answer.reason or f'{answer.seconds} s'}")
            found[answer.name] = answer
    return found


def _run(program: Path, crowd: Crowd, names: Sequence[str], seconds: float) -> Iterator[Answer]:
    command = [str(program), "-m", "infra.bench.peers.with_crowdkit", ",".join(names)]
    votes = json.dumps([list(vote) for vote in crowd.votes]).encode()
    try:
        done = subprocess.run(command, input=votes, capture_output=True, cwd=ROOT, timeout=seconds * len(names), check=False)
        lines, reason = done.stdout, done.stderr.decode(errors="replace").strip()[-200:] or f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        lines, reason = late.stdout or b"", f"not done within {seconds:g} s"
    told: dict[str, Any] = {one["name"]: one for one in map(json.loads, lines.splitlines())}
    for name in names:
        yield _answer(name, told.get(name, {"error": reason}))


def _answer(name: str, told: dict[str, Any]) -> Answer:
    if "said" not in told:
        return Answer(name, None, None, told["error"])
    return Answer(name, {int(task): label for task, label in told["said"].items()}, told["seconds"], None)
