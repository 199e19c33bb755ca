"""Line charts as SVG, one panel under the other: the same data gives the same bytes, so that they can be committed."""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from infra.errors import AssayError
from infra.processes import write_whole

Points = Sequence[tuple[float, float]]

WIDTH_INCHES, PANEL_INCHES = 7.5, 2.8
#: Told apart by those who see no red and green, too (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
#: Text stays text, and ids follow from the content and not from the clock.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "assay", "font.family": "sans-serif", "font.size": 9}


class Panel(NamedTuple):
    """One chart. Both axes begin at 0."""

    title: str
    x: str
    y: str
    series: Mapping[str, Points]


def need_them() -> None:
    """Call before hours of measuring. Raises AssayError where plots cannot be made."""
    if importlib.util.find_spec("matplotlib") is None:
        raise AssayError("the extra `plots` is not installed", got="no matplotlib", hint="pip install '.[plots]'")


def write(path: Path, panels: Sequence[Panel]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, svg(panels).encode())


def svg(panels: Sequence[Panel]) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH_INCHES, PANEL_INCHES * len(panels)), layout="constrained")
        for panel, axes in zip(panels, figure.subplots(len(panels), squeeze=False).flat, strict=True):
            _draw(panel, axes)
        out, canvas = io.StringIO(), cast(Any, FigureCanvasSVG)(figure)
        canvas.print_svg(out, metadata={"Date": None})
        return out.getvalue()


def _draw(panel: Panel, axes: Any) -> None:
    for number, (name, points) in enumerate(panel.series.items()):
        marker = "o" if len(points) < 20 else None
        xs, ys = [x for x, _ in points], [y for _, y in points]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(xs, ys, label=name, gid=f"series-{name}", color=colour, marker=marker, markersize=3)
    axes.set_title(panel.title, loc="left", fontweight="bold")
    axes.set(xlabel=panel.x, ylabel=panel.y, xlim=(0, None), ylim=(0, None))
    axes.grid(axis="y", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
