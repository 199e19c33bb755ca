"""What went wrong, in one line: what, where, got, hint; and the exit code that says so to scripts."""

import errno
from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    DIFFERS = 3
    FENCED = 71
    INTERRUPTED = 130


EXIT_CODES = {
    Exit.OK: "done, and every equality that the command promises holds",
    Exit.FAILED: "it failed, or what it checks does not hold",
    Exit.USAGE: "wrong usage, or the environment lacks something; nothing was begun",
    Exit.DIFFERS: "a preview differs from what is in force",
    Exit.FENCED: "another process took over its work",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}


class AssayError(Exception):
    """An error with a remedy. Commands raise it; only the command line prints it."""

    def __init__(
        self,
        what: str,
        where: object = None,
        got: object = None,
        hint: object = None,
        exit_code: Exit = Exit.USAGE,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.got = got
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return line(self)


def line(error: AssayError) -> str:
    """The error on one line, whatever its parts contain."""
    parts = [("where", error.where), ("got", error.got), ("hint", error.hint)]
    said = [error.what, *(f"{name}: {value}" for name, value in parts if value is not None)]
    return "; ".join(" ".join(part.split()) for part in said)


def explain(error: BaseException) -> AssayError:
    """Any exception as an AssayError; what is not foreseen names its type and points to --debug."""
    if isinstance(error, AssayError):
        return error
    if isinstance(error, OSError):
        return _from_os(error)
    if type(error).__module__ == "agents.keys":
        said = vars(error)
        return AssayError(said["what"], where=said["where"], hint=said["hint"], exit_code=Exit.FAILED)
    if type(error).__module__.startswith("aiokafka"):
        return _from_kafka(error)
    return AssayError(
        "unexpected error",
        got=f"{type(error).__name__}: {error}",
        hint="run it again with --debug for the traceback",
        exit_code=Exit.FAILED,
    )


def _from_os(error: OSError) -> AssayError:
    what, hint = _OS_ERRORS.get(error.errno or 0, ("the system refused", "run it again with --debug for the traceback"))
    return AssayError(what, where=error.filename, got=error.strerror or error, hint=hint, exit_code=Exit.FAILED)


def _from_kafka(error: BaseException) -> AssayError:
    return AssayError(
        "Kafka does not answer as it should",
        got=f"{type(error).__name__}: {error}",
        hint="`assay kafka status` tells whether the broker runs; ASSAY_KAFKA__BROKERS names another one",
        exit_code=Exit.FAILED,
    )


_OS_ERRORS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again: nothing acknowledged is lost"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EACCES: ("no permission", "check who owns the file, or choose another --data-dir"),
    errno.EROFS: ("the file system is read-only", "choose another --data-dir"),
    errno.ENOENT: ("no such file or directory", "check the path"),
    errno.EADDRINUSE: ("the port is in use", "choose another port in assay.toml, or stop what listens there"),
    errno.ECONNREFUSED: ("nothing answers at that address", "`assay up` starts the system"),
}
