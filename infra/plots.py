"""Line charts as SVG, one panel under the other: the same data gives the same bytes, so that they can be committed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from infra.processes import write_whole

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 80, 170, 34, 46
#: Told apart by those who see no red and green, too (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class Panel(NamedTuple):
    """One chart. Both axes begin at 0."""

    title: str
    x: str
    y: str
    series: Mapping[str, Points]


def write(path: Path, panels: Sequence[Panel]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, svg(panels).encode())


def svg(panels: Sequence[Panel]) -> str:
    height = HEIGHT * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
    body = [f'<g transform="translate(0 {HEIGHT * number})">{_panel(panel)}</g>' for number, panel in enumerate(panels)]
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *body, "</svg>\n"])


def _panel(panel: Panel) -> str:
    points = [point for some in panel.series.values() for point in some]
    most_x, most_y = _round_up(max((x for x, _ in points), default=1)), _round_up(max((y for _, y in points), default=1))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x: float, y: float) -> str:
        return f"{LEFT + x / most_x * (right - LEFT):.1f},{bottom - y / most_y * (bottom - TOP):.1f}"

    parts = [f'<text x="{LEFT}" y="{TOP - 14}" font-weight="bold">{escape(panel.title)}</text>']
    parts += _axes(panel, most_x, most_y)
    for number, (name, some) in enumerate(panel.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(at(x, y) for x, y in some)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{p[0]}" cy="{p[1]}" r="2.5" fill="{colour}"/>' for p in _pairs(path) if len(some) < 20]
        parts.append(f'<text x="{right + 12}" y="{TOP + 10 + 16 * number}" fill="{colour}">{escape(name)}</text>')
    return "\n".join(parts)


def _pairs(path: str) -> Iterator[list[str]]:
    return (pair.split(",") for pair in path.split())


def _axes(panel: Panel, most_x: float, most_y: float) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts: list[str] = []
    for tick in range(5):
        x, y = LEFT + tick / 4 * (right - LEFT), bottom - tick / 4 * (bottom - TOP)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(most_y * tick / 4)}</text>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(most_x * tick / 4)}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">{escape(panel.x)}</text>')
    parts.append(f'<text x="{WIDTH - 10}" y="{TOP - 14}" text-anchor="end" fill="#555">{escape(panel.y)}</text>')
    return parts


def _round_up(most: float) -> float:
    """The next of 1, 2, 4, 5, 8 times a power of ten: a quarter of it has few digits."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= most * 0.9999)


def _short(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.4g} {unit}"
    return f"{value:.4g}"
