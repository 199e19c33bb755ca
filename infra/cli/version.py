"""assay version."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as of

from infra.cli.output import Json, emit, table
from infra.kafka import jars

STANDS_ON = ("faust-streaming", "aiokafka", "chdb-core", "clickhouse-connect", "pydantic", "ray", "torch", "transformers")


def version(*, json: Json = False) -> None:
    """Print the versions of Assay and of what it stands on; an absent extra is left out."""
    found = {"assay": _of("assay"), "python": platform.python_version(), "kafka": jars.version()}
    found |= {name: _of(name) for name in STANDS_ON}
    emit({name: said for name, said in found.items() if said}, json, lambda them: table(("", ""), them.items()))


def _of(name: str) -> str | None:
    try:
        return of(name)
    except PackageNotFoundError:
        return None
