"""A line chart as SVG and as PNG, the same strokes in both.

Points are marked in the shape and the colour of their line, with a bar of one sd up and down; what
the paper prints is the same shape, hollow.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from vidoor.report.chart import FAINT, INK, PALE, PAPER, ticks, write
from vidoor.report.figures import png as encoded

Pair: TypeAlias = tuple[float, float]
Scale: TypeAlias = Callable[[float], float]
Anchor: TypeAlias = Literal["l", "m", "r"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#444444")
"""Told apart by most colour-blind people; Okabe and Ito's, the yellow darker."""

SHAPES = (((-1, -1), (1, -1), (1, 1), (-1, 1)), ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
          ((0, -1.3), (1.3, 1), (-1.3, 1)), ((-1.3, -1), (1.3, -1), (0, 1.3)))  # fmt: skip
"""Square, diamond and two triangles, around their middle."""

WIDTH, PLOT, LEFT, TOP, LEGEND, BOTTOM = 480, 260, 52, 60, 170, 46
"""Of what is plotted: width and height; beside it: left, above, right and below."""

ROW, SMALL, USUAL = 16, 12, 13
"""Height of a line of text, and sizes of letters."""

MARK = 4.0
"""Half the side of a mark."""

SMOOTH = 4
"""A PNG's strokes are drawn so many times as large and scaled down."""

MOST_TICKS = 12
"""Up to so many values of x are named, each where it is; of more, round numbers."""


@dataclass(frozen=True, slots=True)
class Line:
    """``points`` are x, y and the sd of y (or None), by rising x."""

    name: str
    points: Sequence[tuple[float, float, float | None]]
    published: Sequence[Pair] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn: ``x`` and ``y`` are what the axes are called."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    span: Pair
    """Least and largest y of the axis."""

    log: bool = False
    """Is the x axis logarithmic?"""

    note: str = ""
    """What stands below."""


@dataclass(frozen=True, slots=True)
class _Path:
    """A line through ``points``, or a shape whose outline they are."""

    points: Sequence[Pair]
    colour: str
    width: float = 1
    closed: bool = False
    filled: bool = False


@dataclass(frozen=True, slots=True)
class _Text:
    """Text, whose middle is as high as ``at``, to the right of it (l), around it or to its left."""

    at: Pair
    text: str
    anchor: Anchor = "l"
    size: int = SMALL
    colour: str = INK


def svg(plot: Plot) -> bytes:
    """The chart as an SVG document, in UTF-8."""
    width, height = _size(plot)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">'
    )
    back = f'<rect width="{width}" height="{height}" fill="{PAPER}"/>'
    elements = [head, back, *map(_element, _strokes(plot)), "</svg>", ""]
    return "\n".join(elements).encode()


def png(plot: Plot) -> bytes:
    """The chart as a PNG. Equal charts give equal bytes."""
    width, height = _size(plot)
    picture = Image.new("RGB", (SMOOTH * width, SMOOTH * height), PAPER)
    draw = ImageDraw.Draw(picture)
    strokes = list(_strokes(plot))
    for stroke in strokes:
        if isinstance(stroke, _Path):
            _paint(draw, stroke)
    picture = picture.resize((width, height), Image.Resampling.BOX)
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        if isinstance(stroke, _Text):
            write(draw, stroke.at, stroke.text, stroke.size, stroke.colour, f"{stroke.anchor}m")
    return encoded(np.asarray(picture))


def _notes(plot: Plot) -> list[str]:
    return wrap(plot.note, 115)


def _size(plot: Plot) -> tuple[int, int]:
    legend = TOP + ROW * (len(plot.lines) + 2)
    return LEFT + WIDTH + LEGEND, max(TOP + PLOT + BOTTOM, legend) + ROW * len(_notes(plot)) + 8


def _strokes(plot: Plot) -> Iterator[_Path | _Text]:
    """Everything that is drawn, from back to front."""
    across, up = _scales(plot)
    yield _Text((12, 18), plot.title, size=15)
    yield _Text((12, 38), plot.y, colour=FAINT)
    for tick in ticks(*plot.span):
        yield _Path([(LEFT, up(tick)), (LEFT + WIDTH, up(tick))], PALE)
        yield _Text((LEFT - 6, up(tick)), f"{tick:g}", "r", colour=FAINT)
    for tick in _named(plot):
        yield _Path([(across(tick), TOP + PLOT), (across(tick), TOP + PLOT + 4)], FAINT)
        yield _Text((across(tick), TOP + PLOT + 13), f"{tick:.3g}", "m", colour=FAINT)
    yield _Text((LEFT + WIDTH / 2, TOP + PLOT + 31), plot.x, "m", USUAL)
    for place, line in enumerate(plot.lines):
        colour, shape = COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]
        yield _Path([(across(x), up(y)) for x, y, _ in line.points], colour, 2)
        for x, y, sd in line.points:
            if sd:
                low, high = max(plot.span[0], y - sd), min(plot.span[1], y + sd)
                yield _Path([(across(x), up(low)), (across(x), up(high))], colour)
            yield _mark((across(x), up(y)), shape, colour, filled=True)
        for x, y in line.published:
            yield _mark((across(x), up(y)), shape, colour, filled=False)
        level = TOP + ROW * place + 6
        yield _mark((LEFT + WIDTH + 22, level), shape, colour, filled=True)
        yield _Text((LEFT + WIDTH + 32, level), line.name, size=USUAL)
    if any(line.published for line in plot.lines):
        level = TOP + ROW * (len(plot.lines) + 1)
        yield _mark((LEFT + WIDTH + 22, level), SHAPES[0], FAINT, filled=False)
        yield _Text((LEFT + WIDTH + 32, level), "the paper's", size=USUAL, colour=FAINT)
    below = _size(plot)[1] - 8 - ROW * len(_notes(plot))
    for place, row in enumerate(_notes(plot)):
        yield _Text((12, below + ROW * (place + 0.5)), row, colour=FAINT)


def _scales(plot: Plot) -> tuple[Scale, Scale]:
    """Pixels from the left of an x, and from the top of a y."""
    values = [x for line in plot.lines for x, _, _ in line.points]
    values += [x for line in plot.lines for x, _ in line.published]
    place = math.log10 if plot.log else float
    first, last = place(min(values)), place(max(values))
    low, high = plot.span

    def across(x: float) -> float:
        share = (place(x) - first) / (last - first) if last > first else 0.5
        return LEFT + 12 + share * (WIDTH - 24)

    def up(y: float) -> float:
        return TOP + PLOT * (high - y) / (high - low)

    return across, up


def _named(plot: Plot) -> list[float]:
    """Values of x that are written on the axis."""
    values = sorted({x for line in plot.lines for x, *_ in line.points})
    if len(values) <= MOST_TICKS or plot.log:
        return values
    return ticks(values[0], values[-1])


def _mark(at: Pair, shape: Sequence[Pair], colour: str, *, filled: bool) -> _Path:
    outline = [(at[0] + MARK * x, at[1] + MARK * y) for x, y in shape]
    return _Path(outline, colour, 1.5, closed=True, filled=filled)


def _element(stroke: _Path | _Text) -> str:
    """A stroke as an element of SVG."""
    if isinstance(stroke, _Text):
        anchor = {"l": "start", "m": "middle", "r": "end"}[stroke.anchor]
        x, y = stroke.at
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" dominant-baseline="central" text-anchor="{anchor}" '
            f'font-size="{stroke.size}" fill="{stroke.colour}">{_inert(stroke.text)}</text>'
        )
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in stroke.points)
    kind = "polygon" if stroke.closed else "polyline"
    fill = stroke.colour if stroke.filled else PAPER if stroke.closed else "none"
    return (
        f'<{kind} points="{points}" fill="{fill}" stroke="{stroke.colour}" '
        f'stroke-width="{stroke.width:g}"/>'
    )


def _inert(text: str) -> str:
    """Text of a recipe as XML may hold it."""
    return escape(re.sub(r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text))


def _paint(draw: ImageDraw.ImageDraw, path: _Path) -> None:
    points = [(SMOOTH * x, SMOOTH * y) for x, y in path.points]
    width = round(SMOOTH * path.width)
    if path.closed:
        fill = path.colour if path.filled else PAPER
        draw.polygon(points, fill)
        draw.line([*points, points[0], points[1]], path.colour, width, "curve")
    else:
        draw.line(points, path.colour, width, "curve")
