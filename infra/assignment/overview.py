"""What waits, in numbers: by project, kind and slice, with the people it still wants and how long it has waited."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from infra.assignment.desk import Desk
from infra.policies.tuning import Live
from streams.assignable import COMPARISON
from streams.assignment import Assignment, suits
from streams.candidates import Candidates


def overview(state: Assignment, now_ms: int) -> list[dict[str, Any]]:
    """A row for each project, kind and slice where subjects wait for votes or editors. Nothing here counts control tasks."""
    return sorted(_rows(state, now_ms), key=lambda row: (row["project"], row["role"], row["kind"], row["slice"]))


def known_to(desk: Desk, project: str, slice_: str | None) -> Live:
    """Who has voted or may vote in a scope, and what votes there say, as the desk knows it; nothing where nobody is known."""
    state = desk.state
    labels, voters = Counter[str](), set[str]()
    for row in state.subjects.values():
        if row.project == project and slice_ in (None, row.slice) and row.kind != COMPARISON:
            voters.update(row.votes)
            labels.update(vote.label for who, vote in row.votes.items() if vote.revision == row.revision and who != row.writer)
    enrolled = ((name, one.enrolments.get(project)) for name, one in state.people.items())
    voters.update(name for name, one in enrolled if one is not None and (slice_ is None or suits(one, slice_)))
    return Live(len(voters) or None, labels or None)


def _rows(state: Assignment, now_ms: int) -> Iterator[dict[str, Any]]:
    for (project, pool), slots in state.waiting.items():
        for (kind, slice_), candidates in slots.items():
            if pool != "control" and candidates:
                role = "editor" if pool == "edit" else "voter"
                about = {"project": project, "role": role, "kind": kind, "slice": slice_}
                yield {**about, **_numbers(candidates, now_ms), "approved": state.stock.get((project, slice_), 0)}


def _numbers(candidates: Candidates, now_ms: int) -> dict[str, Any]:
    ages = (now_ms - np.fromiter((rank[2] for rank in candidates.ranks), np.int64, len(candidates))) / 1_000
    one, two, more = candidates.wanted
    p50, p95 = (round(float(seconds), 1) for seconds in np.percentile(ages, (50, 95)))
    return {"waiting": len(candidates), "want_1": one, "want_2": two, "want_3_or_more": more, "age_p50_s": p50, "age_p95_s": p95}
