"""assay config show."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import RenderableType

from infra.cli.output import Json, emit, table
from infra.settings import Setting, listing
from infra.wiring import settings


def show(
    *, sources: Annotated[bool, Parameter(negative="", help="Say where each value came from.")] = False, json: Json = False
) -> None:
    """Print every setting, with secrets masked."""
    emit(listing(settings()), json, lambda found: _render(found, sources))


def _render(found: tuple[Setting, ...], sources: bool) -> RenderableType:
    if sources:
        rows = [(one.name, one.value, one.source, one.variable) for one in found]
        return table(("setting", "value", "source", "variable"), rows)
    return table(("setting", "value", "help"), [(one.name, one.value, one.help) for one in found])
