"""assay worker."""

from typing import Annotated

from cyclopts import Parameter

from agents.settings import WorkerOptions, WorkerSettings
from agents.topology import AGENT_BY_NAME, AGENTS
from infra.cli.output import note
from infra.errors import AssayError
from infra.wiring import bootstrap, settings


def worker(
    *,
    agents: Annotated[str | None, Parameter(help="Which agents run, comma-separated; see `agents/topology.py`.")] = None,
    loglevel: str = "warn",
) -> None:
    """Run agents in this process until SIGTERM or Ctrl-C: it finishes, flushes, commits and leaves its group.

    Start it again to go on where it stopped; start it twice to share the partitions. Exit code 70: it could not go on
    without a risk to what it had promised, and is to be started again; its last line says why.
    Example: assay worker --agents analysis
    """
    chosen = agents or settings().worker.agents
    unknown = [name for name in chosen.split(",") if name.strip() not in AGENT_BY_NAME]
    if unknown:
        names = ", ".join(agent.name for agent in AGENTS)
        raise AssayError("no such agent", where="--agents", got=unknown[0], hint=f"there are {names}")
    brokers = bootstrap(settings())
    note(f"worker: {chosen} on {brokers}")
    from agents.app import run

    options = settings().worker.model_dump(include=set(WorkerOptions.model_fields)) | {"agents": chosen}
    about = {"brokers": brokers, "data_dir": settings().data_dir, "master": settings().keys.master}
    run(WorkerSettings(**about, **options), loglevel)
