"""The command line as its users meet it: exit codes, one line for an error, results on stdout, all else on stderr."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from infra.cli import COMMANDS, GROUPS
from infra.errors import EXIT_CODES, AssayError, Exit, explain, line

ROOT = Path(__file__).parents[2]


def assay(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_command_and_exit_code() -> None:
    said = " ".join(assay("--help", COLUMNS="200").stdout.split())
    assert [path for path, _, _ in COMMANDS if f" {path.split()[0]} " not in said] == []
    assert [int(code) for code in EXIT_CODES if f"{int(code)} {EXIT_CODES[code]}" not in said] == []


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_names_its_commands(group: str) -> None:
    said = assay(group, "--help").stdout
    names = [path.split()[1] for path, _, _ in COMMANDS if path.startswith(f"{group} ")]
    assert names
    assert [name for name in names if name not in said] == []


@pytest.mark.parametrize("path", ["torture kill", "bench live"])
def test_help_of_a_command_is_all_that_its_docstring_says(path: str) -> None:
    """Not only its line in the list: examples as well, behind a global option, too."""
    said = assay("--data-dir", "nowhere", *path.split(), "--help", COLUMNS="200").stdout
    assert re.search(rf"xample:\s+assay {path} --", said) or re.search(rf"xample:\s+assay {path}\s+assay {path} --", said)


def test_what_is_no_lease_is_asked_for_all_the_same() -> None:
    """It goes into an address, where neither a space nor an accent may stand."""
    done = assay("queue", "release", "é b", ASSAY_HTTP__PORT="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no desk answers" in done.stderr


def test_every_exit_code_has_its_meaning() -> None:
    assert set(EXIT_CODES) == set(Exit)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kafka", "upp"), 'Unknown command "upp"'),
        (("kafka", "status", "--nonsense"), "Unknown option: --nonsense"),
        (("config", "show", "--data-dir"), "--data-dir"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], said: str) -> None:
    done = assay(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("assay: ")
    assert said in done.stderr


def test_a_traceback_only_with_debug() -> None:
    quiet, loud = assay("version", ASSAY_KAFKA__PORT="x"), assay("config", "show", ASSAY_KAFKA__PORT="x")
    assert quiet.returncode == 0, "version needs no settings"
    assert (loud.returncode, len(loud.stderr.splitlines())) == (2, 1)
    assert "Traceback" in assay("config", "show", "--debug", ASSAY_KAFKA__PORT="x").stderr


def test_json_is_one_object_and_data_dir_reaches_the_settings(tmp_path: Path) -> None:
    done = assay("config", "show", "--json", "--data-dir", str(tmp_path), ASSAY_CLICKHOUSE__TOKEN="hunter2")
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert found["data_dir"]["value"] == str(tmp_path)
    assert found["kafka.port"]["source"] == "default"
    assert "hunter2" not in done.stdout


def test_reading_creates_nothing(tmp_path: Path) -> None:
    done = assay("kafka", "status", "--json", "--data-dir", str(tmp_path / "absent"))
    assert (done.returncode, json.loads(done.stdout)["state"]) == (1, "stopped")
    assert assay("down", "--data-dir", str(tmp_path / "absent")).stdout == "nothing runs here\n"
    assert not (tmp_path / "absent").exists()


def test_no_colour_in_a_pipe() -> None:
    assert "\x1b" not in assay("doctor", FORCE_COLOR="", NO_COLOR="1").stdout


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m infra.cli config show --sources | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_ctrl_c_is_one_line_and_130_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.cli", "kafka", "up", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        assert up.stderr is not None
        while "starting the broker" not in up.stderr.readline():
            pass
        up.send_signal(signal.SIGINT)
        last = up.stderr.read().splitlines()[-1]
    assert (up.returncode, last) == (130, "assay: interrupted; hint: run it again: what was done stays done")
    assert json.loads(assay("kafka", "status", "--json", "--data-dir", str(tmp_path)).stdout)["state"] == "stopped"


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    said = line(AssayError("it\nbroke", where="here", got="a\n  b", hint="mend it"))
    assert said == "it broke; where: here; got: a b; hint: mend it"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "log"), "the disk is full; where: log"),
        (PermissionError(errno.EACCES, "Permission denied", "log"), "no permission; where: log"),
        (KafkaConnectionError("no broker"), "Kafka does not answer"),
        (ZeroDivisionError("by zero"), "unexpected error; got: ZeroDivisionError: by zero; hint: run it again with --debug"),
    ],
)
def test_foreign_errors_are_explained(error: Exception, said: str) -> None:
    assert said in line(explain(error))
    assert explain(error).exit_code == Exit.FAILED


def test_up_stops_by_one_signal_and_leaves_nothing(tmp_path: Path) -> None:
    # With a part that cannot start: the broker must be stopped all the same.
    command = [sys.executable, "-m", "infra.cli", "up", "--data-dir", str(tmp_path)]
    env = {**os.environ, "ASSAY_CLICKHOUSE__PORT": "0", "ASSAY_KAFKA__HEAP_MB": "256"}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
        assert up.stdout is not None
        said = []
        for text in up.stdout:
            said.append(text)
            if "broker | ready" in text:
                up.send_signal(signal.SIGINT)
    assert up.returncode == 0
    assert "broker | stopped" in said[-2]
    assert "assay | all stopped" in said[-1]
    assert json.loads(assay("kafka", "status", "--json", "--data-dir", str(tmp_path)).stdout)["state"] == "stopped"
