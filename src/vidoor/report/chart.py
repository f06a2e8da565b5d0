"""Small charts as pixels, for a picture that is to be looked at without a browser."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageDraw import ImageDraw as Draw

INK, FAINT, PALE, PAPER = "#2a2826", "#78716a", "#e3dfd9", "#ffffff"

PLOT, TITLE, AXIS, SCALE = 200, 24, 42, 46
"""Height of what is plotted, of the title above and of the labels below; width of those beside."""

SMOOTH = 4
"""Lines are drawn so many times as large and scaled down."""

FEW = 40
"""Up to so many points of a line are marked."""

Span: TypeAlias = tuple[float, float]


def write(
    draw: Draw,
    at: Span,
    text: str,
    size: int = 13,
    colour: str = INK,
    anchor: str = "la",
) -> None:
    """Text at a point in pixels; ``anchor`` is Pillow's, "la" the left end and the top."""
    draw.text(at, text, colour, ImageFont.load_default(size), anchor)


def ticks(low: float, high: float, least: float = 0) -> list[float]:
    """Up to six round numbers from ``low`` to ``high``, which is the larger; ``least`` apart."""
    rough = max((high - low) / 5, least)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * k for k in range(first, last + 1)]


class Chart:
    """Axes of ``width`` pixels in all, with a title; what is drawn is in ``picture``.

    ``least`` is how far apart the numbers on the x axis are at least.
    """

    def __init__(self, width: int, title: str, x: Span, y: Span, least: float = 0) -> None:
        self.picture = Image.new("RGB", (width, TITLE + PLOT + AXIS), PAPER)
        self.draw, self.x, self.y = ImageDraw.Draw(self.picture), x, y
        self.size = (width - SCALE - 10, PLOT)
        write(self.draw, (0, 0), title)
        for tick in ticks(*y):
            level = TITLE + self.place(x[0], tick)[1]
            self.draw.line((SCALE, level, SCALE + self.size[0], level), PALE)
            write(self.draw, (SCALE - 6, level), f"{tick:g}", 11, FAINT, "rm")
        for tick in ticks(*x, least):
            across = SCALE + self.place(tick, y[0])[0]
            write(self.draw, (across, TITLE + PLOT + 6), f"{tick:g}", 11, FAINT, "ma")

    def place(self, x: float, y: float) -> Span:
        """Pixels from the left and from the top of what is plotted."""
        (left, right), (low, high) = self.x, self.y
        across, down = (x - left) / (right - left), (high - y) / (high - low)
        return across * self.size[0], down * self.size[1]

    def line(self, x: Sequence[float], y: Sequence[float], colour: str, thick: float = 2) -> None:
        """A line through the points; a few are marked, so that one is seen too."""
        points = [self.place(*point) for point in zip(x, y, strict=True)]
        large = [(SMOOTH * (SCALE + across), SMOOTH * (TITLE + down)) for across, down in points]
        width, height = self.picture.size
        mask = Image.new("L", (SMOOTH * width, SMOOTH * height))
        draw = ImageDraw.Draw(mask)
        draw.line(large, 255, round(SMOOTH * thick), "curve")
        for point in large if len(large) <= FEW else ():
            draw.circle(point, SMOOTH * (thick + 1), 255)
        self.picture.paste(colour, mask=mask.resize((width, height), Image.Resampling.BOX))

    def bars(self, heights: np.ndarray, colour: str) -> None:
        """A bar from 0 for each of the numbers, whose x are 0, 1, …; at most one for two pixels.

        Where there are more numbers, a bar shows the largest of its own.
        """
        edges = np.linspace(0, len(heights), min(len(heights), self.size[0] // 2) + 1).astype(int)
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            left, top = self.place(first - 0.5, float(heights[first:last].max()))
            right, bottom = self.place(last - 0.5, 0)
            box = (left, top, max(left, right - 1 - (right - left > 6)), bottom)
            across = (SCALE, TITLE, SCALE, TITLE)
            self.draw.rectangle([round(a + b) for a, b in zip(box, across, strict=True)], colour)

    def legend(self, names: Mapping[str, str]) -> None:
        """Names in their colours, below."""
        left = float(SCALE)
        for name, colour in names.items():
            write(self.draw, (left, TITLE + PLOT + 25), name, 12, colour)
            left += self.draw.textlength(name, ImageFont.load_default(12)) + 12
