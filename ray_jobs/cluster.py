"""Where jobs run: the Ray that RAY_ADDRESS names, else a small one of our own that ends with the block."""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

OBJECT_STORE_BYTES = 100 << 20
#: A socket's path has 107 bytes at most, of which Ray's own folders and names take up to 70.
LONGEST_TEMP = 107 - 70

#: Read by Ray and by its workers when they start. Threads that wait must sleep: spinning costs four times the
#: processor time where anything else runs on the machine.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class JobLost(Exception):
    """The cluster did not start, or the worker ended before the job did."""


@contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[None]:
    """Jobs can run inside the block. A Ray of our own keeps its files in `folder`, or in a short name for it."""
    with _environment(QUIET | ({} if os.environ.get("RAY_ADDRESS") else _token())):
        import ray

        if ray.is_initialized():
            yield
            return
        try:
            _begin(ray, folder, cpus)
            yield
        finally:
            ray.shutdown()
            if not os.environ.get("RAY_ADDRESS"):
                shutil.rmtree(_temp(folder), ignore_errors=True)


def run(job: Callable[[Any], Iterator[T]], spec: object, cpus: int) -> Iterator[T]:
    """What the job yields, as it comes, from a worker of the cluster. Raises what the job raises."""
    import ray

    remote: Any = ray.remote(num_cpus=cpus, num_returns="streaming", max_retries=0)(job)
    results = remote.remote(spec)
    try:
        for result in results:
            yield ray.get(result)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise JobLost(f"{type(error).__name__}: {error}") from error
    finally:
        ray.cancel(results, force=True)


@cache
def _token() -> dict[str, str]:
    """A secret of this process's clusters: without it Ray would write one into the home folder, and say so. Ray keeps
    the first that it reads, so it is the same for all of them."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _begin(ray: Any, folder: Path, cpus: int) -> None:
    try:
        _connect(ray) if os.environ.get("RAY_ADDRESS") else _start(ray, folder, cpus)
    except Exception as error:
        raise JobLost(f"Ray does not start: {str(error).strip().splitlines()[0]}") from error


def _connect(ray: Any) -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR)


def _start(ray: Any, folder: Path, cpus: int) -> None:
    temp = _temp(folder)
    temp.mkdir(parents=True, exist_ok=True)
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(temp),
    )


def _temp(folder: Path) -> Path:
    if len(os.fsencode(folder)) <= LONGEST_TEMP:
        return folder
    short = sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"assay-ray-{short}"


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """The environment with these defaults inside the block, as it was after it."""
    added = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
