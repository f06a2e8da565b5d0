"""Pictures in rows and columns under headings: what triggers look like (the paper's Figs. 1, 4, 5).

Frames are uint8 [H, W, 3]. Each is brought to a tile by whole factors, so that no pixel is mixed
with another one that it did not lie in a block with.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidoor.report.chart import FAINT, INK, PAPER, write
from vidoor.report.figures import Array, png
from vidoor.report.sheet import blocks

EDGE, GAP, TITLE = 16, 6, 30
"""Margin, space between tiles, and height of the title above them, in pixels."""

LARGE, MEDIUM, SMALL = 16, 13, 11
"""Sizes of letters: the title's, a heading's, and of the note below a heading."""

LINE = 16
"""Height of a line of a heading."""


class Heading(NamedTuple):
    """What a row or a column is, and a note below it."""

    text: str
    note: str = ""


def gallery(
    title: str,
    rows: Sequence[Heading],
    columns: Sequence[Heading],
    tiles: Sequence[Sequence[Array]],
) -> bytes:
    """The PNG of ``tiles[row][column]``, uint8 [h, w, 3], each in the middle of its cell.

    The largest tile gives all cells their size. Equal arguments give equal bytes.
    """
    height, width = (max(t.shape[axis] for row in tiles for t in row) for axis in (0, 1))
    lines = max(1 + bool(heading.note) for heading in columns)
    left = EDGE + max(map(_width, rows)) + 2 * GAP
    top = EDGE + (TITLE if title else 0) + LINE * lines + GAP
    size = (
        max(left + len(columns) * (width + GAP) - GAP, EDGE + _length(title, LARGE)) + EDGE,
        top + len(rows) * (height + GAP) - GAP + EDGE,
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    write(draw, (EDGE, EDGE - 2), title, LARGE)
    for place, heading in enumerate(columns):
        _head(draw, heading, left + place * (width + GAP) + width / 2, top - GAP - LINE * lines)
    for place, heading in enumerate(rows):
        middle = top + place * (height + GAP) + height / 2
        _side(draw, heading, left - 2 * GAP, middle)
    for row, column in product(range(len(rows)), range(len(columns))):
        tile = tiles[row][column]
        across = left + column * (width + GAP) + (width - tile.shape[1]) // 2
        down = top + row * (height + GAP) + (height - tile.shape[0]) // 2
        picture.paste(Image.fromarray(tile), (across, down))
    return png(np.asarray(picture))


def _length(text: str, size: int) -> int:
    return math.ceil(ImageFont.load_default(size).getlength(text))


def _width(heading: Heading) -> int:
    return max(_length(heading.text, MEDIUM), _length(heading.note, SMALL))


def _head(draw: ImageDraw.ImageDraw, heading: Heading, middle: float, top: float) -> None:
    write(draw, (middle, top), heading.text, MEDIUM, INK, "ma")
    write(draw, (middle, top + LINE), heading.note, SMALL, FAINT, "ma")


def _side(draw: ImageDraw.ImageDraw, heading: Heading, right: float, middle: float) -> None:
    half = LINE / 2 if heading.note else 0
    write(draw, (right, middle - half), heading.text, MEDIUM, INK, "rm")
    write(draw, (right, middle + half), heading.note, SMALL, FAINT, "rm")


def scaled(frame: Array, side: int) -> Array:
    """The frame as large as fits ``side`` × ``side`` pixels, by a whole factor: the mean of each
    block of pixels, or each pixel as a block."""
    step, factor = _factors(frame, side)
    means = blocks(frame[None], step)[0].mean((1, 3))
    return _enlarged(means.round().astype(np.uint8), factor)


def change(clean: Array, triggered: Array, gain: float, side: int) -> Array:
    """``gain`` × (triggered − clean) around mid-grey 128, of the size that ``scaled`` gives.

    Of a block the pixel that changed most stands for all: a mean would wipe out a fine change, and
    a fixed pixel would hit or miss a grid of dots.
    """
    step, factor = _factors(clean, side)
    parts = blocks((triggered.astype(np.int32) - clean)[None], step)[0].swapaxes(1, 2)
    pixels = parts.reshape(*parts.shape[:2], -1, parts.shape[-1])
    most = np.abs(pixels).sum(-1).argmax(-1)[..., None, None]
    found = np.take_along_axis(pixels, most, 2)[:, :, 0]
    return _enlarged(np.clip(128 + gain * found, 0, 255).round().astype(np.uint8), factor)


def _factors(frame: Array, side: int) -> tuple[int, int]:
    """How many pixels make one, and how many times it is repeated."""
    longest = max(frame.shape[:2])
    return math.ceil(longest / side), max(1, side // longest)


def _enlarged(frame: Array, factor: int) -> Array:
    return frame.repeat(factor, 0).repeat(factor, 1)
