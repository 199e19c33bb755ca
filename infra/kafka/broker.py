"""The one broker that Assay manages: Apache Kafka in KRaft mode as a child process, all of it in the data directory.

Whoever holds `kafka/lock` is the broker: the Java process inherits the lock and so keeps it for exactly as long as it
lives, whatever happens to the process that started it.
"""

import asyncio
import base64
import contextlib
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra import ports
from infra.errors import AssayError, Exit
from infra.kafka import jars, java
from infra.processes import Record, end, held, holder, in_main_thread, spawn, write_whole
from infra.settings import Settings

#: A machine that does much else takes long; a broker that died is seen at once.
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
DYING_SECONDS = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Status:
    state: Literal["running", "starting", "stopped", "external"]
    bootstrap: str | None
    pid: int | None
    data: str
    log: str


class Broker:
    """The broker of one data directory. Its methods block."""

    def __init__(self, settings: Settings, new_id: Callable[[], uuid.UUID] = uuid.uuid4) -> None:
        self.settings = settings
        self._new_id = new_id
        self.home = settings.data_dir / "kafka"
        self.data = self.home / "data"
        self.log = self.home / "broker.log"
        self._console = self.home / "console.log"
        self._lock = self.home / "lock"
        self._record = self.home / "broker.json"
        self._child: subprocess.Popen[bytes] | None = None

    def up(self, *, bound: bool, say: Say = lambda text: None) -> str:
        """Start it unless it runs, wait until it answers, and return its address. A bound one dies with the caller."""
        if bound:
            in_main_thread("the broker")
        for attempts_left in (2, 1, 0):
            try:
                return self._up(bound, say)
            except PortTaken:
                # Somebody took a picked port between our look and Kafka's bind; a named one is not ours to change.
                if self.settings.kafka.port or not attempts_left:
                    raise
        raise AssertionError("the loop returns or raises")

    def _up(self, bound: bool, say: Say) -> str:
        if self.record():
            return self.wait_ready()
        try:
            process = self.launch(bound=bound, say=say)
            say("waiting for the broker")
            return self.wait_ready(process)
        except InUse:
            # Another started it between our look and our launch.
            return self.wait_ready()
        except BaseException:
            # Ctrl-C at any point too: what was begun and is not up must not go on behind our back.
            self.down()
            raise

    def launch(self, *, bound: bool, say: Say = lambda text: None) -> subprocess.Popen[bytes]:
        """Start it without waiting, from a thread that outlives it if it is bound. Raises InUse where a broker holds
        this data directory already."""
        self._is_whole()
        self._await_the_dying()
        with held(self._lock) as lock:
            if lock is None:
                raise self._in_use()
            classpath, program = self._parts(say)
            controller = ports.choose(self.settings.data_dir, "kafka controller")
            port = ports.choose(self.settings.data_dir, "kafka", self.settings.kafka.port)
            self._format(program, classpath, controller, port, say)
            say("starting the broker")
            return self._spawn(self._java(program, classpath), lock, bound)

    def _is_whole(self) -> None:
        mark = self.settings.data_dir / HALF
        if mark.exists():
            hint = "delete this data directory, and run `assay restore` again: workers would take a part of the log for all of it"
            raise AssayError("a restore into this data directory was interrupted", where=mark, hint=hint, exit_code=Exit.FAILED)

    def _await_the_dying(self) -> None:
        """A killed broker is gone for the system before the last of its threads lets go of the lock."""
        deadline = time.monotonic() + DYING_SECONDS
        while time.monotonic() < deadline and self.record() is None:
            with held(self._lock) as lock:
                if lock is not None:
                    return
            time.sleep(0.05)

    def _parts(self, say: Say) -> tuple[Path, java.Java]:
        program = java.find(self.settings)
        return jars.find(self.settings, lambda count: say(f"fetching Apache Kafka by Maven: {count} files")), program

    def _spawn(self, argv: list[str], lock: int, bound: bool) -> subprocess.Popen[bytes]:
        self.log.unlink(missing_ok=True)
        with self._console.open("wb") as console:
            environment = {"LC_ALL": "C.UTF-8"}
            process = spawn(argv, bound=bound, output=console, pass_fds=[lock], env=environment)
        Record.of(process.pid).write(self._record)
        self._child = process
        return process

    def _java(self, program: java.Java, classpath: Path) -> list[str]:
        heap = f"-Xmx{self.settings.kafka.heap_mb}m"
        logging = [f"-Dlog4j2.configurationFile={jars.POM.with_name('log4j2.xml')}", f"-Dassay.log={self.log}"]
        flags = [heap, "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", *logging]
        return [str(program.path), *flags, "-cp", f"{classpath}/*", "kafka.Kafka", str(self._properties)]

    @property
    def _properties(self) -> Path:
        return self.home / "server.properties"

    def _format(self, program: java.Java, classpath: Path, controller: int, port: int, say: Say) -> None:
        if not self.data.exists():
            say("formatting the storage")
            self._format_new(program, classpath, controller, port)
        write_whole(self._properties, properties(self.settings, self.data, controller, port))

    def _format_new(self, program: java.Java, classpath: Path, controller: int, port: int) -> None:
        # Formatted beside its place and then renamed, so that what an interruption leaves is never taken for a log.
        part = self.home / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        write_whole(self._properties, properties(self.settings, part, controller, port))
        cluster = base64.urlsafe_b64encode(self._new_id().bytes).decode().rstrip("=")
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self._properties)]
        fast = ["-XX:TieredStopAtLevel=1", "-Xmx256m"]
        logging = [f"-Dlog4j2.configurationFile={jars.POM.with_name('log4j2.xml')}", f"-Dassay.log={self.log}"]
        command = [str(program.path), *fast, *logging, "-cp", f"{classpath}/*", *tool]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssayError("Kafka could not format its storage", where=part, got=_last(done.stdout + done.stderr))
        part.rename(self.data)

    def wait_ready(self, process: subprocess.Popen[bytes] | None = None, seconds: float = READY_SECONDS) -> str:
        """Wait until the broker answers a metadata request as the node of this data directory; return its address."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if process is not None and process.poll() is not None:
                raise self._died(process.returncode)
            if bootstrap := self.answering():
                return bootstrap
            time.sleep(0.1)
        raise AssayError(
            "the broker does not get ready",
            where=self.home,
            got=f"no answer for {seconds:.0f} s",
            hint=f"see {self.log}",
            exit_code=Exit.FAILED,
        )

    def answering(self) -> str | None:
        """The address of the broker, if it lives and answers as the node of this data directory."""
        bootstrap = self.running()
        return bootstrap if bootstrap and _ask(bootstrap, self.cluster_id()) else None

    def record(self) -> Record | None:
        """The broker's process, if it lives."""
        record = Record.read(self._record)
        if record is not None and record.alive:
            return record
        if not self._lock.exists():
            return None
        # Started by one that died before it could write down the pid: whoever has the lock open is it.
        with held(self._lock) as lock:
            pid = None if lock is not None else holder(self._lock)
        return None if pid is None else Record.of(pid)

    def running(self) -> str | None:
        """The address of the broker, if it lives and listens."""
        port = ports.remembered(self.settings.data_dir, "kafka")
        if port and self.record() and ports.listens(port):
            return f"{ports.HOST}:{port}"
        return None

    def cluster_id(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            found = re.search(r"^cluster\.id=(.+)$", (self.data / "meta.properties").read_text("utf-8"), re.MULTILINE)
            return found[1].replace("\\", "") if found else None
        return None

    def status(self) -> Status:
        if self.settings.kafka.brokers:
            return Status("external", self.settings.kafka.brokers, None, "", "")
        record, bootstrap = self.record(), self.running()
        state: Literal["running", "starting", "stopped"] = "running" if bootstrap else "starting" if record else "stopped"
        return Status(state, bootstrap, record.pid if record else None, str(self.data), str(self.log))

    def down(self, grace_seconds: float = STOP_SECONDS) -> bool:
        """Stop it, whoever started it, and wait until it is gone. Returns whether there was one."""
        record = self.record()
        if record is not None:
            end(record, grace_seconds)
            self._record.unlink(missing_ok=True)
        if self._child is not None:
            self._child.wait()
        return record is not None

    def _in_use(self) -> "InUse":
        record = Record.read(self._record)
        who = f"pid {record.pid}" if record and record.alive else "a broker that is just being started"
        return InUse(
            "a broker runs on this data directory already",
            where=self.home,
            got=who,
            hint="`assay kafka status` shows it, `assay kafka down` stops it; or choose another --data-dir",
        )

    def _died(self, code: int) -> AssayError:
        said = _read(self._console) + _read(self.log)
        for phrase, what, hint in _DEATHS:
            if phrase in said:
                kind = PortTaken if phrase == _BIND else AssayError
                return kind(what, where=self.home, got=_last(said, phrase), hint=hint, exit_code=Exit.FAILED)
        return AssayError(
            "the broker stopped while starting",
            where=self.home,
            got=f"exit {code}: {_last(said)}",
            hint=f"see {self.log}",
            exit_code=Exit.FAILED,
        )


class InUse(AssayError):
    """Another broker holds the data directory."""


#: In the data directory, while `assay restore` fills its log.
HALF = "restore.unfinished"


class PortTaken(AssayError):
    """Kafka could not bind its port."""


@contextlib.contextmanager
def half_a_log(settings: Settings) -> Iterator[None]:
    """While the block runs the log is a part of what it is to be; where it does not end well, no broker starts on it again."""
    mark = settings.data_dir / HALF
    mark.touch()
    yield
    mark.unlink()


@contextlib.contextmanager
def running(settings: Settings, say: Say = lambda text: None) -> Iterator[str]:
    """A broker for as long as the block runs; the one that is up already is used and left."""
    broker = Broker(settings)
    ours = broker.record() is None
    bootstrap = broker.up(bound=True, say=say)
    try:
        yield bootstrap
    finally:
        if ours:
            broker.down()


def properties(settings: Settings, data: Path, controller: int, port: int) -> bytes:
    """server.properties of a single node: every default that matters here, said aloud."""
    if "," in str(data):
        raise AssayError("Kafka takes no comma in a path", where=data, hint="choose another --data-dir")
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{ports.HOST}:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{ports.HOST}:{port},CONTROLLER://{ports.HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{ports.HOST}:{port}",
        "log.dirs": data,
        "num.partitions": settings.kafka.partitions,
        "auto.create.topics.enable": "false",
        # State rows may be large.
        "message.max.bytes": 16 << 20,
        "replica.fetch.max.bytes": 16 << 20,
        "log.retention.ms": -1,
        # After a kill the controller lets the broker in again only when its old session is over (default: 9 s).
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # Its default is a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "group.initial.rebalance.delay.ms": settings.kafka.rebalance_delay_ms,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "offsets.retention.minutes": 365 * 24 * 60,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
    }
    return "".join(f"{key}={_escaped(str(value))}\n" for key, value in values.items()).encode("ascii")


def _escaped(value: str) -> str:
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)


def _ask(bootstrap: str, cluster_id: str | None) -> bool:
    # In a thread, since the caller may sit in an event loop of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _answers(bootstrap, cluster_id)).result()


async def _answers(bootstrap: str, cluster_id: str | None) -> bool:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await admin.start()
        said = await admin.describe_cluster()
        return bool(said["brokers"]) and said["cluster_id"] == cluster_id
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")[-100_000:]
    except FileNotFoundError:
        return ""


def _last(said: str, phrase: str = "") -> str:
    """The last line that tells most: one with the phrase, else an error, else the last."""
    lines = [text.strip() for text in said.splitlines() if text.strip()] or ["nothing said"]
    for wanted in (phrase, "FATAL", "ERROR", "Exception"):
        found = [text for text in lines if wanted and wanted in text]
        if found:
            return found[-1][:300]
    return lines[-1][:300]


_BIND = "Address already in use"
_DEATHS = (
    (_BIND, "a port of the broker is in use", "stop what listens there, or set kafka.port = 0 to pick a free one"),
    ("No space left on device", "the disk is full", "free some space and start again: nothing acknowledged is lost"),
    ("UnsupportedClassVersionError", "this Java is too old for Apache Kafka", f"Java {java.NEEDED} or later is needed"),
    ("Could not reserve enough space", "not enough memory for the broker", "set kafka.heap_mb lower"),
    ("OutOfMemoryError", "the broker ran out of memory", "set kafka.heap_mb higher"),
    ("Failed to acquire lock on file", "another Kafka uses this directory", "stop it, or choose another --data-dir"),
    ("Permission denied", "the broker may not write there", "check who owns the directory"),
)
