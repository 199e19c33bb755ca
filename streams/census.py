"""What a state comes to in numbers: every row adds to some cells, so that numbers are carried forward by the rows that change."""

from functools import lru_cache
from typing import Any

from streams.annotators import Row as Annotator
from streams.annotators import subject_of
from streams.diversity import Row as Slice
from streams.people import state_of
from streams.preferences import KEY as COMPARISON
from streams.projection import SHARED, AnyState, Json
from streams.submissions import Row as Submission

#: What is counted, its project, its slice or task, and its state.
Cell = tuple[str, str, str, str]
#: What one row adds.
Cells = tuple[tuple[Cell, int], ...]


def cells_at(state: AnyState, key: str) -> Cells:
    """What the row of this key adds."""
    return cells_of(key, state.shared[key] if key.startswith(SHARED) else state.rows[key])


def cells_of(key: str, row: Any) -> Cells:
    """The same of a row that is at hand: of a submission, a comparison, a person or a slice."""
    if isinstance(row, Submission):
        return _one("submissions", row.project, row.slice, _state_of(row))
    if isinstance(row, Annotator):
        people = ((*subject_of(name), state_of(tally)) for name, tally in row.projects.items())
        return tuple((("people", project, task, state), 1) for project, task, state in people)
    if isinstance(row, Slice):
        return ((("slices", "", key, "texts"), row.texts), (("slices", "", key, "words"), row.words))
    return _of_comparison(row) if key.startswith(COMPARISON) else ()


def _of_comparison(row: Json) -> Cells:
    decision = row["decision"]
    return _one("comparisons", row["project"], row["slice"], decision[0] if decision else "waiting")


def _state_of(row: Submission) -> str:
    if not row.revision:
        return "unreceived"
    return "withdrawn" if row.withdrawn else row.verdict or "waiting"


@lru_cache(maxsize=1 << 16)
def _one(what: str, project: str, about: str, state: str) -> Cells:
    # The same object for all rows in one state: there are millions of them.
    return (((what, project, about, state), 1),)


def census(state: AnyState) -> dict[Cell, int]:
    """The numbers of a whole state, without cells of zero."""
    found: dict[Cell, int] = {}
    for key in (*state.rows, *state.shared):
        add(found, cells_at(state, key), 1)
    return found


def add(counts: dict[Cell, int], cells: Cells, sign: int) -> None:
    for cell, count in cells:
        total = counts.get(cell, 0) + sign * count
        if total:
            counts[cell] = total
        else:
            counts.pop(cell, None)
