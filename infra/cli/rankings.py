"""assay ranking."""

from typing import Annotated

from cyclopts import Parameter
from rich.console import Group, RenderableType

from infra import rankings
from infra.cli.output import Json, emit, table, watched
from infra.rankings import By, Found, Request
from infra.wiring import settings
from streams.rankings import Model, Ranked


def ranking(
    *,
    project: Annotated[str | None, Parameter(help="Only this project's comparisons; default: all.")] = None,
    by: Annotated[By, Parameter(help="What is ranked: who wrote, or each completion.")] = "writer",
    prompt: Annotated[str | None, Parameter(help="Only comparisons of this prompt's completions.")] = None,
    model: Annotated[
        Model, Parameter(help="bradley-terry: a tie is half a win each; davidson: ties have a likelihood.")
    ] = "bradley-terry",
    votes: Annotated[bool, Parameter(negative="", help="Count every choice, not what each comparison was decided to.")] = False,
    criterion: Annotated[str | None, Parameter(help="What annotators said of this criterion, such as harmless.")] = None,
    json: Json = False,
) -> None:
    """Rank writers (models, too) or completions by the comparisons in the log, with 95 % intervals.

    A strength is in nats: of two items, one that stands d higher is preferred with probability 1 / (1 + exp(-d)), ties
    aside. Items that no chain of comparisons links are ranked in groups of their own. Where a group has no finite best
    fit, since somebody won or lost throughout, a weak prior holds it together, and `regularised` says so.

    Examples:
        assay ranking --project pandalm
        assay ranking --project poems --criterion harmless
        assay ranking --by completion --prompt pandalm-0a1b2c3d4e5f6071 --votes --json
    """
    with watched("read the log", json) as watch:
        found = rankings.ranking(settings(), Request(by, project, prompt, model, votes, criterion), watch)
    about = {
        "by": by,
        "project": project,
        "prompt": prompt,
        "model": model,
        "of": criterion or ("votes" if votes else "decisions"),
    }
    items = [{**one._asdict(), "n": one.n} for one in found.items]
    position = [one._asdict() for one in found.position]
    told = {**about, "comparisons": found.comparisons, "left_out": found.left_out, "items": items, "position": position}
    emit(told, json, lambda _: _render(found))


_NOTHING = "nothing to rank: no such project, prompt or criterion has choices; --votes counts those on undecided comparisons, too"


def _render(found: Found) -> RenderableType:
    counts = ", ".join(f"{count:,} {choice}" for choice, count in found.comparisons.items()) or "none"
    columns = ("group", "item", "#strength", "#low", "#high", "#won", "#lost", "#tied", "#n", "")
    ranked = table(columns, [_line(one) for one in found.items]) if found.items else _NOTHING
    parts: list[RenderableType] = [f"comparisons: {counts}", ranked]
    if found.left_out:
        parts.append(f"{found.left_out:,} comparisons left out: a completion is not in the log, so that its writer is not known")
    sided = [(one.annotator, one.left, one.right, one.ties, f"{one.left_share:.1%}", f"{one.z:+.1f}") for one in found.position]
    if sided:
        parts += ["", table(("annotator", "#left", "#right", "#ties", "#left share", "#z"), sided, title="sides chosen")]
    return Group(*parts)


def _line(one: Ranked) -> tuple[object, ...]:
    note = "regularised" if one.regularised else ""
    figures = (f"{value:+.3f}" for value in (one.strength, one.low, one.high))
    return (one.group, one.item, *figures, one.wins, one.losses, one.ties, one.n, note)
