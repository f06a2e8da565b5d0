"""One picture of what a trigger does to a clip, for ``vidoor inspect``.

Above, frames before and after, and their difference. Below, where that difference lies: in the
spatial spectrum, in the temporal spectrum, and among the frames. Powers are taken of each channel
and averaged: a trigger may be in the colours alone.

Clips are uint8 [T, H, W, 3]. Powers are in grey levels squared, and the mean of a spectrum is the
mean square of the samples that it is of.
"""

import math
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
import scipy.fft
from PIL import Image, ImageDraw

from vidoor.report.chart import AXIS, FAINT, PAPER, PLOT, TITLE, Chart, write
from vidoor.report.figures import CLEAN, GAIN, PLANTED, Array, chosen, png, residual, strip

EDGE, LABELS, NUMBERS, LEAST = 16, 92, 18, 1120
"""Margin, width of the labels beside the strips, height of the numbers above them, and least width
of what is inside the margins, in pixels."""

LARGEST = 256
"""Longest side of a frame on the sheet, in pixels; larger ones are shrunk."""

FLOOR = 1e-4
"""Least power that is shown; the rounding noise of the transform lies below."""

COLOURS = (CLEAN, PLANTED, "#3d3a37")
"""Of the clean clip, the triggered one and their difference."""

HEAT = ((13, 11, 30), (74, 26, 107), (166, 58, 102), (238, 123, 75), (253, 243, 180))
"""From the least power of a spectrum to the largest."""


class Powers(NamedTuple):
    """Spectra of both clips and of their difference."""

    clean: Array
    triggered: Array
    change: Array


def sheet(clean: Array, triggered: Array, headline: str = "") -> bytes:
    """The PNG of the sheet, under a line of text."""
    films = _films(clean, triggered)
    width, top = max(films.width, LEAST), EDGE + (TITLE + 4 if headline else 0)
    below = top + films.height + EDGE
    picture = Image.new("RGB", (width + 2 * EDGE, below + TITLE + PLOT + AXIS), PAPER)
    write(ImageDraw.Draw(picture), (EDGE, EDGE - 2), headline, 15)
    picture.paste(films, (EDGE, top))
    left = EDGE
    for panel in _panels(clean, triggered, width):
        picture.paste(panel, (left, below))
        left += panel.width + EDGE
    return png(np.asarray(picture))


def spatial(clean: Array, triggered: Array) -> Powers:
    """Spatial spectra [H, W], averaged over frames and channels, frequency 0 in the middle."""
    frames = zip(clean, triggered, strict=True)
    return Powers(*map(np.fft.fftshift, _mean(_powers(*pair, (0, 1)) for pair in frames)))


def temporal(clean: Array, triggered: Array) -> Powers:
    """Temporal spectra [T], averaged over pixels and channels, from frequency 0 on."""
    rows = zip(clean.swapaxes(0, 1), triggered.swapaxes(0, 1), strict=True)
    return Powers(*(power.mean(1) for power in _mean(_powers(*pair, (0,)) for pair in rows)))


def _powers(clean: Array, triggered: Array, axes: tuple[int, ...]) -> Powers:
    """|FFT|² / n along ``axes``, averaged over the last axis, the channels."""
    before = clean.astype(np.float32)
    change = triggered - before  # transformed by itself: where nothing changes, nothing is rounded
    a, b = (scipy.fft.fftn(samples, axes=axes, norm="ortho") for samples in (before, change))
    return Powers(*(np.mean(np.abs(z) ** 2, axis=-1) for z in (a, a + b, b)))


def _mean(parts: Iterable[Powers]) -> Powers:
    """One part is held at a time: as floats, a whole clip may not fit the memory."""
    count, total = reduce(
        lambda sums, part: (sums[0] + 1, [a + b for a, b in zip(sums[1], part, strict=True)]),
        parts,
        (0, [np.zeros(())] * 3),
    )
    return Powers(*(each / count for each in total))


def by_frame(clean: Array, triggered: Array) -> Array:
    """RMS of triggered − clean in each frame, in grey levels [T]."""
    pairs = zip(clean, triggered, strict=True)
    return np.sqrt([np.mean((b.astype(np.float64) - a) ** 2) for a, b in pairs])


def _films(clean: Array, triggered: Array) -> Image.Image:
    """The three strips with their labels, and the numbers of the frames above."""
    picked = chosen(len(clean))
    step = math.ceil(max(clean.shape[1:3]) / LARGEST)
    before, after = (blocks(clip[picked], step) for clip in (clean, triggered))
    rows = {
        "clean": before.mean((2, 4)).astype(np.uint8),
        "triggered": after.mean((2, 4)).astype(np.uint8),
        # A mean would wipe out a fine change: of it, every step-th pixel is shown.
        f"{GAIN} x change": residual(before[:, :, 0, :, 0], after[:, :, 0, :, 0]),
    }
    strips = [Image.fromarray(strip(row)) for row in rows.values()]
    width, height = strips[0].size
    films = Image.new("RGB", (LABELS + width, NUMBERS + 3 * height + 12), PAPER)
    draw = ImageDraw.Draw(films)
    for place, frame in enumerate(picked):
        left = LABELS + place * width / len(picked) + 2
        write(draw, (left, 0), f"{'' if place else 'frame '}{frame}", 11, FAINT)
    for place, (label, film) in enumerate(zip(rows, strips, strict=True)):
        top = NUMBERS + place * (height + 6)
        write(draw, (0, top + height / 2), label, anchor="lm")
        films.paste(film, (LABELS, top), film)
    return films


def blocks(clip: Array, step: int) -> Array:
    """The clip as [T, h, step, w, step, 3]; what is left over is cut off.

    An axis shorter than ``step`` is one block long.
    """
    frames, height, width, channels = clip.shape
    down, across = min(step, height), min(step, width)
    rows, columns = height // down, width // across
    cut = clip[:, : rows * down, : columns * across]
    return cut.reshape(frames, rows, down, columns, across, channels)


def _panels(clean: Array, triggered: Array, width: int) -> Iterator[Image.Image]:
    space, time = spatial(clean, triggered), temporal(clean, triggered)
    both = np.stack([space.clean, space.triggered])
    for title, power, among in zip(
        ("spectrum in space, clean", "triggered", "change"),
        space,
        (both, both, space.change),
        strict=True,
    ):
        yield _spectrum(title, power, among)
    room = (width - 3 * PLOT - 4 * EDGE) // 2
    yield _over_time(time, room)
    yield _over_frames(by_frame(clean, triggered), room)


def _decibels(power: Array) -> Array:
    levels: Array = 10 * np.log10(np.maximum(power, FLOOR))
    return levels


def _spectrum(title: str, power: Array, among: Array) -> Image.Image:
    """A spatial spectrum, coloured from the 1st percentile of ``among`` to its maximum."""
    low, high = np.quantile(_decibels(among), (0.01, 1)).tolist()
    level = (_decibels(power) - low) / ((high - low) or 1)
    stops = np.linspace(0, 1, len(HEAT))
    colours = [np.interp(level, stops, part) for part in zip(*HEAT, strict=True)]
    image = Image.fromarray(np.stack(colours, -1).astype(np.uint8))
    panel = Image.new("RGB", (PLOT, TITLE + PLOT + AXIS), PAPER)
    panel.paste(image.resize((PLOT, PLOT), Image.Resampling.BOX), (0, TITLE))
    draw = ImageDraw.Draw(panel)
    write(draw, (0, 0), title)
    write(draw, (0, TITLE + PLOT + 6), "±0.5 cycles/pixel", 11, FAINT)
    write(draw, (PLOT, TITLE + PLOT + 6), f"{low:.0f} … {high:.0f} dB", 11, FAINT, "ra")
    return panel


def _over_time(power: Powers, width: int) -> Image.Image:
    half = len(power.clean) // 2 + 1
    levels = Powers(*(_decibels(each[:half]) for each in power))
    low, high = (float(limit(np.stack(levels))) for limit in (np.min, np.max))
    chart = Chart(width, "spectrum in time, dB by cycles/frame", (0, 0.5), (low - 3, high + 3))
    for level, colour, thick in zip(levels, COLOURS, (4, 1.5, 2), strict=True):
        chart.line((np.arange(half) / len(power.clean)).tolist(), level.tolist(), colour, thick)
    chart.legend(dict(zip(Powers._fields, COLOURS, strict=True)))
    return chart.picture


def _over_frames(rms: Array, width: int) -> Image.Image:
    top = float(rms.max()) or 1.0
    frames = (-0.5, len(rms) - 0.5)
    chart = Chart(width, "change by frame, RMS in grey levels", frames, (0, 1.05 * top), least=1)
    chart.bars(rms, COLOURS[2])
    return chart.picture
