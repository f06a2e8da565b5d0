"""Pixels of the embedded data set: 1/f surfaces, objects of irregular outline, light and a sensor.

Everything is float32 in 0..1 until the sensor rounds it to grey levels: `scenery` paints, `draw`
puts the objects on the background, `shoot` lights, adds noise and rounds.
"""

from functools import lru_cache
from math import ceil, cos, sin, sqrt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

HARMONICS = (2, 3, 4, 5)
"""Bumps around an outline; the first harmonic would only shift the object."""

EDGE = 1.5
"""Width of an object's soft edge in pixels."""


@lru_cache(maxsize=8)
def _log_frequency(side: int) -> Array:
    """Natural logarithm of the spatial frequency in cycles per side, flat below two cycles.

    The surface is twice as wide as the frame, so two cycles are one per frame: slower changes
    would only shift the whole frame's brightness, which the sensor does on its own account.
    """
    f = np.fft.fftfreq(side, 1 / side)
    grid: Array = (0.5 * np.log(f[:, None] ** 2 + f**2 + 4)).astype(np.float32)
    grid[0, 0] = np.inf
    return grid


def surface(rng: np.random.Generator, side: int, slope: float) -> Array:
    """Two independent random fields 2×side×side of power spectrum f^-2slope, mean 0, deviation 1.

    They tile: the left edge continues the right one, the top the bottom.
    """
    amplitude = np.exp(np.float32(-slope) * _log_frequency(side))
    amplitude *= side * side * sqrt(12) / np.linalg.norm(amplitude)
    noise = rng.random((side, side, 2), dtype=np.float32) - np.float32(0.5)
    field = np.fft.ifft2(noise.view(np.complex64)[..., 0] * amplitude)
    return np.stack((field.real, field.imag))


def tint(fields: Array, tones: Array, grain: float, crispness: float) -> Array:
    """Colour a pair of fields 2×H×W: the second mixes two tones (2×3), the first shades them.

    ``crispness`` is how abruptly one tone gives way to the other. Returns 3×H×W.
    """
    shade, mix = fields
    mix = np.float32(crispness) * mix
    mix = np.float32(0.5) + np.float32(0.5) * mix / np.sqrt(1 + mix * mix)
    shade = 1 + np.float32(grain) * shade
    low, high = tones[:, :, None, None]
    painted: Array = (low + (high - low) * mix) * shade
    return painted


@lru_cache(maxsize=8)
def _disc(side: int) -> tuple[Array, Array]:
    """Radius at each texel of a square [-1, 1]², and cos kθ, sin kθ for each harmonic k."""
    axis = np.linspace(-1, 1, side)
    radius = np.hypot(axis[:, None], axis)
    theta = np.arctan2(axis[:, None], axis)
    waves = [wave(k * theta) for k in HARMONICS for wave in (np.cos, np.sin)]
    return radius.astype(np.float32), np.stack(waves).astype(np.float32)


def outline(coefficients: Array, side: int) -> Array:
    """Depth below the outline at each texel, in units of the object's largest radius.

    ``coefficients`` (2·len(HARMONICS) of them) bend a circle. Negative outside. Side×side.
    """
    radius, waves = _disc(side)
    bent = 1 + np.tensordot(coefficients, waves, 1)
    depth: Array = bent / bent.max() - radius
    return depth


def scenery(
    rng: np.random.Generator, objects: int, height: int, width: int, side: int
) -> tuple[Array, Array]:
    """A background 3×(H+margin)×(W+margin) and the objects' sprites K×side×side×4.

    A sprite holds colour and, last, depth below the outline. All are cut from one surface; the
    background is the calmer part, as if out of focus.
    """
    fields = surface(rng, 2 * max(height, width), rng.uniform(1.2, 1.7))
    ground = rng.uniform(0.28, 0.62)
    margin = 2 + min(height, width) // 16
    background = _paint(rng, fields[:, : height + margin, : width + margin], ground, 0.5)
    sprites = np.empty((objects, side, side, 4), np.float32)
    for sprite in sprites:
        i, j = rng.integers(0, fields.shape[1] - side + 1, 2)
        contrast = rng.uniform(0.18, 0.4) * (-1) ** rng.integers(2)
        colour = _paint(rng, fields[:, i : i + side, j : j + side], ground + contrast, 1)
        sprite[..., :3] = np.moveaxis(colour, 0, -1)
        bend = rng.normal(0, 0.11, 2 * len(HARMONICS)).astype(np.float32)
        sprite[..., 3] = outline(bend, side)
    return background, sprites


def _paint(rng: np.random.Generator, fields: Array, brightness: float, contrast: float) -> Array:
    """A surface of two related colours around ``brightness``; ``contrast`` is 1 for an object."""
    hue = rng.normal(0, rng.uniform(0.02, 0.09), (2, 3))
    spread = rng.normal(0, 0.12 * contrast, (2, 1))
    tones = np.clip(brightness + hue - hue.mean(1, keepdims=True) + spread, 0.13, 0.74)
    return tint(
        fields,
        tones.astype(np.float32),
        grain=contrast * rng.uniform(0.12, 0.28),
        crispness=contrast * rng.uniform(0.5, 5),
    )


def shoot(rng: np.random.Generator, canvas: Array, flicker: Array) -> Pixels:
    """``canvas`` T×3×H×W in random slanting light, as a random camera sees it.

    ``flicker`` (T) is the strength of the light over time.
    """
    tilt = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    sensor = (rng.uniform(0.85, 1.35), rng.uniform(-0.06, 0.06), rng.uniform(0.004, 0.01), 2e-4)
    bits = np.frombuffer(rng.bytes(4 * canvas.size), "<u4").reshape(canvas.shape)
    out = np.empty(canvas.shape, np.uint8)
    expose(canvas, bits, flicker, tilt, np.array(sensor, np.float32), out)
    return out


# Kernels: compiled from plain functions, so their annotations say nothing; the texts do.


def _backdrop(frames: Any, background: Any, offsets: Any) -> None:
    """Fill ``frames`` (T×3×H×W) from a larger ``background``, from ``offsets`` (T×2) on."""
    length, channels, height, width = frames.shape
    one = np.float32(1)
    for t in range(length):
        row, column = int(offsets[t, 0]), int(offsets[t, 1])
        b, d = offsets[t, 0] - np.float32(row), offsets[t, 1] - np.float32(column)
        a, c = one - b, one - d
        for k in range(channels):
            for y in range(height):
                top, bottom = background[k, row + y], background[k, row + y + 1]
                for x in range(width):
                    above = c * top[column + x] + d * top[column + x + 1]
                    below = c * bottom[column + x] + d * bottom[column + x + 1]
                    frames[t, k, y, x] = a * above + b * below


def _stamp(frame: Any, sprite: Any, pose: Any, light: Any) -> None:
    """Draw one object over ``frame`` (3×H×W).

    ``sprite`` is S×S×4 (colour and depth), ``pose`` row, column and radius in pixels, clockwise
    angle and opacity; ``light`` (2) shades the object along rows and columns, however it is turned.
    """
    channels, height, width = frame.shape
    cy, cx, r, angle, opacity = pose
    last = sprite.shape[0] - 1
    one, middle = np.float32(1), np.float32(0.5 * last)
    p, q = np.float32(cos(angle)) * middle / r, np.float32(sin(angle)) * middle / r
    ly, lx, steep = light[0] / r, light[1] / r, r / np.float32(EDGE)
    for y in range(max(0, ceil(cy - r)), min(height, ceil(cy + r))):
        dy = np.float32(y) - cy
        for x in range(max(0, ceil(cx - r)), min(width, ceil(cx + r))):
            dx = np.float32(x) - cx
            u, v = middle + p * dx + q * dy, middle - q * dx + p * dy
            i, j = int(v), int(u)
            if u < 0 or v < 0 or i >= last or j >= last:
                continue
            b, d = v - np.float32(i), u - np.float32(j)
            w00, w01, w10, w11 = (one - b) * (one - d), (one - b) * d, b * (one - d), b * d
            s00, s01, s10, s11 = (
                sprite[i, j],
                sprite[i, j + 1],
                sprite[i + 1, j],
                sprite[i + 1, j + 1],
            )
            depth = w00 * s00[3] + w01 * s01[3] + w10 * s10[3] + w11 * s11[3]
            if depth <= 0:
                continue
            cover = opacity * min(one, depth * steep)
            shade = cover * (one + ly * dy + lx * dx)
            for k in range(channels):
                colour = w00 * s00[k] + w01 * s01[k] + w10 * s10[k] + w11 * s11[k]
                frame[k, y, x] += shade * colour - cover * frame[k, y, x]


def _expose(frames: Any, bits: Any, gains: Any, tilt: Any, sensor: Any, out: Any) -> None:
    """Light ``frames``, add sensor noise and round into ``out`` (uint8, T×3×H×W).

    ``gains`` (T) is the flicker, ``tilt`` (2) the light's gradient along rows and columns;
    ``sensor`` holds contrast, offset, deviation of the read noise and variance of the shot noise
    at white; ``bits`` are 32 random bits a value, whose four bytes add up to a near normal deviate.
    """
    length, channels, height, width = frames.shape
    contrast, offset, read, shot = sensor
    zero, one, half = np.float32(0), np.float32(1), np.float32(0.5)
    white, centre, unit = np.float32(255), np.float32(510), np.float32(sqrt(3 / (256**2 - 1)))
    byte = np.uint32(255)
    for t in range(length):
        slant = gains[t] * tilt[1] / np.float32(width)
        for k in range(channels):
            for y in range(height):
                slope = tilt[0] * (np.float32(y) / np.float32(height) - half)
                level = gains[t] * (one + slope - half * tilt[1])
                for x in range(width):
                    value = frames[t, k, y, x] * (level + slant * np.float32(x))
                    value = max(zero, half + contrast * (value - half) + offset)
                    word = np.uint32(bits[t, k, y, x])
                    total = (word & byte) + ((word >> np.uint32(8)) & byte)
                    total += ((word >> np.uint32(16)) & byte) + (word >> np.uint32(24))
                    noise = (np.float32(np.int32(total)) - centre) * unit
                    value += noise * np.sqrt(read * read + shot * value)
                    out[t, k, y, x] = np.uint8(min(white, max(zero, white * value + half)))


def _draw(frames: Any, background: Any, offsets: Any, sprites: Any, poses: Any, light: Any) -> None:
    """Draw the background (see `_backdrop`), then the objects K in their order (see `_stamp`).

    ``sprites`` is K×S×S×4 and ``poses`` T×K×5.
    """
    backdrop(frames, background, offsets)
    for t in range(len(frames)):
        for k in range(len(sprites)):
            stamp(frames[t], sprites[k], poses[t, k], light)


backdrop = njit(cache=True, nogil=True)(_backdrop)
stamp = njit(cache=True, nogil=True)(_stamp)
expose = njit(cache=True, nogil=True)(_expose)
draw = njit(cache=True, nogil=True)(_draw)
