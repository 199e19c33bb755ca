"""Every format that `assay import` reads, once: the command line, the docs and the tests iterate over this table."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from infra.importing.crowd_csv import crowd_csv
from infra.importing.facts import Found, Options
from infra.importing.jsonl import jsonl
from infra.importing.lines import Line, Problem
from infra.importing.oasst import oasst
from infra.importing.pandalm import pandalm
from infra.importing.self_instruct import self_instruct
from infra.importing.squality import squality

Adapter = Callable[[Iterable[Line | Problem], Options], Iterator[Found]]


@dataclass(frozen=True)
class Format:
    """One format: its name, its adapter, the project where none is named (none: the file's name), and what it reads."""

    name: str
    adapter: Adapter
    project: str | None
    reads: str


FORMATS = (
    Format("crowd-csv", crowd_csv, None, "votes as seq,task,worker,label[,seconds], with gold.csv beside them"),
    Format("jsonl", jsonl, None, "Assay's own events, one CloudEvents JSON object a line"),
    Format("oasst", oasst, "oasst", "OpenAssistant's message trees, one JSON tree a line"),
    Format("pandalm", pandalm, "pandalm", "PandaLM's test set: two responses side by side and their annotators' choices"),
    Format("self-instruct", self_instruct, "self-instruct", "Self-Instruct's seed tasks, user instructions, predictions"),
    Format("squality", squality, "squality", "SQuALITY's answers and their ranks, one JSON passage a line"),
)
FORMAT_BY_NAME = {format_.name: format_ for format_ in FORMATS}
