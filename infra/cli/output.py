"""How every command speaks: results on stdout, as a table or as JSON; progress on stderr only."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from infra.errors import Exit

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead.")]
Positive = Annotated[int, Parameter(validator=Number(gte=1))]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Say what would be done, and do nothing.")]


def emit(obj: T, json: bool, render: Callable[[T], RenderableType] = str) -> None:
    """Print the result of a command: `obj` as JSON, or what `render` makes of it."""
    if json:
        sys.stdout.write(orjson.dumps(obj, default=_plain, option=orjson.OPT_INDENT_2).decode() + "\n")
        sys.stdout.flush()
    else:
        _stdout().print(render(obj))


def _stdout() -> Console:
    # A pipe has no width: wide rows stay on one line, as grep wants them.
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=400)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) or not isinstance(value, Iterable):
        return str(value)
    return list(value)


class _Plain(Table):
    """Its columns move together before any cell is folded, and its title is not folded into a narrow table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wanted = self.__rich_measure__(console, options.update(max_width=_UNBOUND)).maximum
        if wanted > options.max_width:
            self.padding = (0, 0, 0, 1)
        if self.title is not None and len(str(self.title)) > wanted:
            yield Text(str(self.title), style="table.title")
            self.title = None
        yield from super().__rich_console__(console, options)


_UNBOUND = 10_000


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A plain table; a column whose name starts with `#` is of numbers and stands to the right."""
    made = _Plain(title=title, title_justify="left", box=None, show_header=any(columns), header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def plain(text: str) -> str:
    """Text from outside for a cell: its brackets are no markup, and its control characters cannot steer the terminal."""
    return escape(printable(text))


def printable(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def progress(json: bool = False) -> "Progress":
    """A progress display on stderr; silent with --json and where nobody watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=json or not console.is_terminal, transient=True)


@contextmanager
def watched(what: str, json: bool = False) -> Iterator[Callable[[int, int], None]]:
    """The progress of one piece of work, which tells how much is done of how much."""
    with progress(json) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def note(text: str, json: bool = False) -> None:
    """One line about what goes on, on stderr."""
    if not json:
        Console(stderr=True, highlight=False).print(text, style="dim")


def holds(value: bool) -> Exit:
    """The exit code of a check."""
    return Exit.OK if value else Exit.FAILED
