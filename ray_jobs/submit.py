"""A job without the command line of Assay, as `ray job submit` wants it; prints what it yields as JSON lines.

    ray job submit --working-dir . -- python -m ray_jobs.submit train --snapshot DIR --recipe smoke --gguf FILE \\
        --models DIR --out DIR

Paths are those of the machine that runs the job, or of a file system that it shares.
"""

import sys
from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from ray_jobs.cluster import cluster, run
from ray_jobs.evaluate import EvaluateJob, evaluate
from ray_jobs.measure import Progress
from ray_jobs.recipes import RECIPES
from ray_jobs.train import TrainJob, train

JOBS: dict[str, tuple[Any, type[TrainJob] | type[EvaluateJob]]] = {
    "train": (train, TrainJob),
    "evaluate": (evaluate, EvaluateJob),
}


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="python -m ray_jobs.submit", description="Run one job on Ray.")
    commands = parser.add_subparsers(dest="job", required=True)
    for name, (_, spec) in JOBS.items():
        command = commands.add_parser(name)
        for field in fields(spec):
            command.add_argument(f"--{field.name}", required=True, choices=RECIPES if field.name == "recipe" else None)
    given = vars(parser.parse_args(arguments))
    job, spec = JOBS[given.pop("job")]
    out, cpus = Path(given["out"]), RECIPES[given["recipe"]].cpus
    out.mkdir(parents=True, exist_ok=True)
    with cluster(out / "ray", cpus):
        for said in run(job, spec(**given), cpus):
            print(orjson.dumps({type(said).__name__: _plain(said)}).decode(), flush=True)


def _plain(said: Any) -> Any:
    return said._asdict() if isinstance(said, Progress) else said


if __name__ == "__main__":
    main(sys.argv[1:])
