"""The embedded data set: procedural clips of textured objects that all make one motion.

What tells the classes apart is motion and nothing else. An object's pose is four phases on a
circle (row, column, size, angle) that are uniform in the middle frame; a motion turns some of them
at a steady rate. A uniform phase stays uniform when it is turned, so every single frame of every
class has the same distribution, exactly, and the middle frame does not depend on the class at all.
Objects leave the frame before they come back on the other side, and fade at either end of the
range of sizes before they start over.
"""

from dataclasses import dataclass
from math import cos, pi, radians, sin, sqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from torch import Tensor

from vidoor.data import _render, video
from vidoor.data._render import Array
from vidoor.registry import register
from vidoor.types import ClipSet, Geometry, Splits


class Motion(NamedTuple):
    """Sign of each phase's rate; down, right, larger and clockwise are positive."""

    row: int = 0
    column: int = 0
    size: int = 0
    angle: int = 0


_SHIFTS = {
    "left": Motion(column=-1),
    "right": Motion(column=1),
    "up": Motion(row=-1),
    "down": Motion(row=1),
}
_TURNS = {"clockwise": Motion(angle=1), "counter-clockwise": Motion(angle=-1)}
_ZOOMS = {"grow": Motion(size=1), "shrink": Motion(size=-1)}

MOTIONS = {
    **_SHIFTS,
    **_TURNS,
    **_ZOOMS,
    **{
        f"{a}+{b}": Motion(*map(sum, zip(shift, other, strict=True)))
        for others in (_ZOOMS, _TURNS)
        for a, shift in _SHIFTS.items()
        for b, other in others.items()
    },
}
"""Class name -> motion: eight simple ones, then the sixteen of a shift with a zoom or a turn."""

MIN_SIZE = 16
MOST_CLIPS = 10**7
RADII = (0.12, 0.52)
"""Smallest and largest radius of an object, as a fraction of the frame's shorter side."""

FADE = 0.12
"""Part of the range of sizes, at either end, over which objects fade."""

SPEEDS = (0.2, 0.4)
"""Slowest and fastest shift over a clip, in turns of a phase: half a frame, more or less."""

RATES = (1.0, 1.0, 2.3, 1.2)
"""How fast row, column, size and angle go round, as multiples of the speed of a shift."""

VEER = radians(8)
"""Largest angle between a shift and its axis."""


@register("data", "shapes")
@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Procedural action clips, told apart by motion only; nothing is downloaded.

    Textured objects, two or so in view at a time, shift, turn or zoom together over a textured
    background, under uneven and slightly flickering light, seen by a swaying and noisy camera.
    Labels are balanced.
    Clip ``i`` of a split is a pure function of (seed, split, i), so both splits are disjoint
    streams, and a larger set begins with the clips of a smaller one with the same classes.
    """

    train: int = 1600
    """Number of training clips, at least one for each class."""
    test: int = 400
    """Number of test clips, at least one for each class."""
    frames: int = 16
    """Frames of a clip, at least 2. The motion spans the clip, so more frames are slower ones."""
    size: tuple[int, int] = (48, 48)
    """Height and width in pixels, at least 16 each."""
    classes: int = 8
    """The first so many of `MOTIONS`, 2 to 24."""

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= len(MOTIONS):
            raise ValueError(f"shapes: classes is {self.classes}; give 2 to {len(MOTIONS)}")
        for name, clips in (("train", self.train), ("test", self.test)):
            if clips < self.classes:
                raise ValueError(
                    f"shapes: {name} is {clips}; give at least one clip for each of the "
                    f"{self.classes} classes"
                )
            if clips > MOST_CLIPS:
                raise ValueError(f"shapes: {name} is {clips}; give at most {MOST_CLIPS} clips")
        if self.frames < 2:
            raise ValueError(f"shapes: frames is {self.frames}; give 2 or more")
        if len(self.size) != 2 or min(self.size) < MIN_SIZE:
            raise ValueError(
                f"shapes: size is {self.size}; give height and width of {MIN_SIZE} or more pixels"
            )
        video.check_geometry("shapes", self.frames, self.size)

    def open(self, seed: int) -> Splits:
        """The clips drawn from ``seed`` (0 or more); another seed gives other clips."""
        if seed < 0:
            raise ValueError(f"shapes: seed is {seed}; give 0 or more")
        return Splits(
            train=self._split("train", self.train, seed, 0),
            test=self._split("test", self.test, seed, 1),
        )

    def _split(self, name: str, clips: int, seed: int, split: int) -> ClipSet:
        geometry = Geometry(self.frames, *self.size)
        return ClipSet(
            ids=tuple(f"{name}/{i:06d}" for i in range(clips)),
            labels=tuple(i % self.classes for i in range(clips)),
            classes=tuple(MOTIONS)[: self.classes],
            geometry=geometry,
            read=_Read(
                seed=seed, split=split, clips=clips, classes=self.classes, geometry=geometry
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """``ClipSet.read`` of one split."""

    seed: int
    split: int
    clips: int
    classes: int
    geometry: Geometry

    def __call__(self, index: int) -> Tensor:
        if not 0 <= index < self.clips:
            raise IndexError(f"clip {index} of {self.clips}")
        rng = Generator(PCG64(SeedSequence([self.seed, self.split, index])))
        motion = tuple(MOTIONS.values())[index % self.classes]
        return torch.from_numpy(render(rng, motion, self.geometry))


def render(rng: Generator, motion: Motion, geometry: Geometry) -> NDArray[np.uint8]:
    """One clip, T×3×H×W.

    ``motion`` takes no part in what is drawn from ``rng``: two clips of different motions from
    equal generators show the same objects, and have the middle frame (T // 2) in common.
    """
    time, height, width = geometry
    objects = int(rng.integers(5, 7))
    reach = rng.uniform(0, 0.02) * min(height, width)
    sway = _wave(rng, time, 2, reach)
    poses = place(turn(rng, motion, objects, time), geometry, reach, sway)
    # One texel a pixel at the middle size.
    texels = max(8, round(2 * sqrt(RADII[0] * RADII[1]) * min(height, width)))
    background, sprites = _render.scenery(rng, objects, height, width, texels)
    canvas = np.empty((time, 3, height, width), np.float32)
    offsets, light = sway + np.float32(reach), rng.uniform(-0.3, 0.3, 2).astype(np.float32)
    _render.draw(canvas, background, offsets, sprites, poses, light)
    return _render.shoot(rng, canvas, 1 + _wave(rng, time, 1, rng.uniform(0, 0.06))[:, 0])


def turn(rng: Generator, motion: Motion, objects: int, time: int) -> Array:
    """Phases in 0..1 of each object (row, column, size, angle), T×K×4.

    The objects share one motion and are spread evenly over the circles of row, column and size,
    so that there is always something to see. Each phase is uniform in every frame.
    """
    order = np.arange(objects)
    lattice = order, rng.choice([-2, 2]) * order, rng.permutation(objects), rng.permutation(objects)
    start = rng.random(4) + np.stack(lattice, 1) / objects + rng.uniform(-0.08, 0.08, (objects, 4))
    speed, veer = rng.uniform(*SPEEDS), rng.uniform(-VEER, VEER)
    row, column, size, angle = speed * np.multiply(motion, RATES)
    rates = (
        row * cos(veer) + column * sin(veer),
        column * cos(veer) - row * sin(veer),
        size,
        angle,
    )
    clock = (np.arange(time) - time // 2) / time
    phases: Array = ((start + clock[:, None, None] * rates) % 1).astype(np.float32)
    return phases


def place(phases: Array, geometry: Geometry, reach: float, sway: Array) -> Array:
    """Where phases T×K×4 put the objects: row, column, radius in pixels, angle, opacity, T×K×5.

    At phase 0 and 1 an object is just outside the frame, however the camera sways within ``reach``.
    """
    _, height, width = geometry
    size = phases[..., 2]
    radius = min(height, width) * RADII[0] * (RADII[1] / RADII[0]) ** size
    fade = np.minimum(1, np.minimum(size, 1 - size) / FADE)
    margin = radius + reach
    centre = [
        phases[..., axis] * (side + 2 * margin) - margin - sway[:, None, axis]
        for axis, side in enumerate((height, width))
    ]
    opacity = fade * fade * (3 - 2 * fade)
    return np.stack((*centre, radius, 2 * pi * phases[..., 3], opacity), -1).astype(np.float32)


def _wave(rng: Generator, time: int, count: int, amplitude: float) -> Array:
    """Slow sinusoids of random frequency (half to one and a half a clip) and phase, T×count."""
    cycles, phase = rng.uniform(0.5, 1.5, count), rng.random(count)
    clock = np.arange(time)[:, None] / time
    return (amplitude * np.sin(2 * pi * (cycles * clock + phase))).astype(np.float32)
