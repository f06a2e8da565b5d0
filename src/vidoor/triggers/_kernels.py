# mypy: allow-untyped-defs, allow-untyped-decorators
"""The loops of `vidoor.triggers.embedding`, compiled; each is plain Python without annotations.

Shapes: clip and out (t c h w), contiguous uint8; sheet (t h) and columns (w), complex: the pattern
is ``sheet[t, h] * columns[w]``. ``floor`` is what v + Re z may not go below before its magnitude is
taken: minus infinity for a complex pattern, 0 for a real one.

A table says what a pattern does to each of the 256 values at each position (t, h·w), in bytes: add
an offset, and one more for each of a few steps that the value is below. It is exact because the
level minus the value never rises with the value: |v + z| - v falls from |z| towards Re z.
"""

import numpy as np
from numba import njit

MOST_STEPS = 4
"""Most steps that a table holds for a position: with more, computing is faster."""

UNFIT = MOST_STEPS + 1
"""In place of a number of steps: no table gives this position's bytes."""

MARGIN = 0.5 - 1e-9
"""What lies closer than this to a whole number rounds to it, whatever float64 made of it."""


@njit(cache=True, error_model="numpy", inline="always")
def _level(value, real, square, floor):
    """The reference: the level, neither clipped to 255 nor rounded; ``square`` is (Im z)²."""
    x = max(value + real, floor)
    return np.sqrt(x * x + square)


@njit(cache=True, error_model="numpy")
def _compute(clip, t, sheet, columns, floor, out):
    """One frame of ``clip``, every byte by the reference."""
    _, channels, height, width = clip.shape
    real, square = np.empty(width), np.empty(width)
    for h in range(height):
        for w in range(width):
            z = sheet[t, h] * columns[w]
            real[w], square[w] = z.real, z.imag * z.imag
        for c in range(channels):
            for w in range(width):
                level = np.rint(_level(clip[t, c, h, w], real[w], square[w], floor))
                out[t, c, h, w] = np.uint8(min(level, 255.0))


@njit(cache=True, error_model="numpy")
def stretch(clip, sheet, columns, floor, out):
    """Every frame of every channel by the reference, stretched to 0..255 and truncated."""
    frames, channels, height, width = clip.shape
    levels = np.empty((height, width))
    for t in range(frames):
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    z = sheet[t, h] * columns[w]
                    levels[h, w] = _level(clip[t, c, h, w], z.real, z.imag * z.imag, floor)
            low = levels.min()
            contrast = levels.max() - low
            for h in range(height):
                for w in range(width):
                    # A frame of one level has nothing to stretch: it comes out black.
                    lifted = 255 * (levels[h, w] - low)
                    out[t, c, h, w] = np.uint8(lifted / contrast if contrast > 0 else 0.0)


@njit(cache=True, error_model="numpy")
def survey(sheet, columns, floor):
    """Offset and number of steps of every position, both (t h·w)."""
    frames, height = sheet.shape
    width = len(columns)
    offsets = np.zeros((frames, height, width), np.int8)
    counts = np.zeros((frames, height, width), np.uint8)
    for t in range(frames):
        for h in range(height):
            for w in range(width):
                z = sheet[t, h] * columns[w]
                square = z.imag * z.imag
                top, bottom = _level(255, z.real, square, floor), _level(0, z.real, square, floor)
                offset = np.rint(top) - 255
                # A real pattern's values stop at 0; a complex one's bounce back, step by step.
                count = min(np.rint(bottom), 255.0) - (offset if floor < 0 else max(offset, 0.0))
                settled = abs(top - 255 - offset) < MARGIN
                if floor < 0 and count == 0:
                    settled &= abs(bottom - offset) < MARGIN
                if settled and -128 <= offset <= 127 and 0 <= count <= MOST_STEPS:
                    offsets[t, h, w], counts[t, h, w] = np.int8(offset), np.uint8(count)
                else:
                    counts[t, h, w] = UNFIT
    return offsets.reshape(frames, -1), counts.reshape(frames, -1)


@njit(cache=True, error_model="numpy")
def _walk(z, floor, offset, steps):
    """Write the steps of one position from the first on; False if they are not as surveyed."""
    highest = 255 - max(offset, 0)
    written, before = 0, len(steps)
    for value in range(256):
        level = _level(value, z.real, z.imag * z.imag, floor)
        excess = int(min(np.rint(level), 255.0)) - min(value, highest) - offset
        if not 0 <= excess <= before:
            return False
        steps[written : written + before - excess] = value
        written += before - excess
        # The rest of the way to 255, where it was surveyed, the excess stays where it is.
        if excess == 0 and abs(level - value - offset) < MARGIN:
            return True
        before = excess
    return False


@njit(cache=True, error_model="numpy")
def fill(sheet, columns, floor, offsets, counts, first):
    """The steps, one plane (h·w) after the other; frame t has those from first[t] to first[t + 1].

    A position whose steps are not as surveyed becomes UNFIT in ``counts``.
    """
    frames, positions = counts.shape
    width = len(columns)
    planes = np.zeros((first[-1], positions), np.uint8)
    steps = np.empty(MOST_STEPS, np.uint8)
    for t in range(frames):
        for p in range(positions):
            count = counts[t, p]
            if 0 < count <= first[t + 1] - first[t]:
                z = sheet[t, p // width] * columns[p % width]
                if _walk(z, floor, offsets[t, p], steps[:count]):
                    for k in range(count):
                        planes[first[t] + k, p] = steps[k]
                else:
                    counts[t, p] = UNFIT
    return planes


@njit(cache=True, error_model="numpy")
def apply(clip, sheet, columns, floor, computed, offsets, planes, first, odd, first_odd, out):
    """Every byte from the table, except in the frames ``computed`` and at the positions ``odd``."""
    frames, channels, height, width = clip.shape
    positions = height * width
    flat = clip.reshape(frames, channels, positions)
    flat_out = out.reshape(frames, channels, positions)
    folds = np.uint8(255 if floor == 0 else 0)
    for t in range(frames):
        if computed[t]:
            _compute(clip, t, sheet, columns, floor, out)
            continue
        for c in range(channels):
            for p in range(positions):
                # In this order of narrow types the loop compiles to byte-wide instructions.
                offset = offsets[t, p]
                up = np.uint8(max(offset, 0))
                down = np.uint8(np.uint8(up - offset) & folds)
                value = max(min(flat[t, c, p], np.uint8(255 - up)), down)
                flat_out[t, c, p] = np.uint8(value + offset)
            for k in range(first[t], first[t + 1]):
                for p in range(positions):
                    below = flat[t, c, p] < planes[k, p]
                    flat_out[t, c, p] = np.uint8(flat_out[t, c, p] + below)
        for i in range(first_odd[t], first_odd[t + 1]):
            p = odd[i]
            z = sheet[t, p // width] * columns[p % width]
            for c in range(channels):
                level = np.rint(_level(flat[t, c, p], z.real, z.imag * z.imag, floor))
                flat_out[t, c, p] = np.uint8(min(level, 255.0))
