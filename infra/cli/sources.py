"""`--source`: which history a command reads."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from infra.wiring import settings

if TYPE_CHECKING:
    from infra.history.source import History

Origin = Annotated[
    str, Parameter(name="--source", help="kafka, archive (its folder in the data directory), both, or the folder of an archive.")
]


def history(said: str) -> "History":
    from infra.history.choosing import source

    return source(settings(), said).open()
