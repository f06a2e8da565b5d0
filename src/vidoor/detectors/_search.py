"""Where a trigger is sought: spaces of triggers, and how a trigger is put on clips.

Everything has one row for each goal (a class that clips are to be sent to), so that many goals are
sought in one batch. Letters: g goals, b rows of a batch, c t h w as elsewhere; values in [0, 1].

A perturbation of the input changes every layer behind it, so no part of a forward pass can be kept
from step to step or shared between goals: what goals do share is the clips, read and moved to the
device once, and the overhead of a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from vidoor.types import Batch, Geometry

Trigger = tuple[Tensor, ...]
"""The parts of a trigger, each with a leading axis of goals."""

EDGE = 1e-6
"""How far a start stays from 0 and 1, where tanh has no inverse."""


class Space(Protocol):
    """A set of triggers, described by free numbers."""

    def start(self, geometry: Geometry, rng: torch.Generator) -> Sequence[Tensor]:
        """Free numbers to begin with, for one goal."""
        ...

    def trigger(self, free: Sequence[Tensor]) -> Trigger:
        """The triggers that free numbers [g, ...] stand for."""
        ...

    def paint(self, trigger: Trigger, clips: Batch) -> Batch:
        """Each clip with the trigger of its row; as many triggers as clips."""
        ...

    def size(self, trigger: Trigger) -> Tensor:
        """What is to be small, [g]."""
        ...


@dataclass(frozen=True)
class Masked:
    """(1 − m) x + m p with a mask m [g, h, w] and a pattern p [g, c, h, w] that all frames share.

    Both lie in [0, 1] through tanh and start at random, uniform (Neural Cleanse). ``size`` is the
    mask's l1 norm in pixels.
    """

    def start(self, geometry: Geometry, rng: torch.Generator) -> Sequence[Tensor]:
        """A uniform mask and pattern."""
        shape = geometry.height, geometry.width
        return [_open(torch.rand(*extra, *shape, generator=rng)) for extra in ((), (3,))]

    def trigger(self, free: Sequence[Tensor]) -> Trigger:
        """Mask and pattern."""
        return tuple((each.tanh() + 1) / 2 for each in free)

    def paint(self, trigger: Trigger, clips: Batch) -> Batch:
        """The pattern over the clips, as far as the mask lets it through."""
        mask, pattern = trigger[0][:, None, None], trigger[1][:, :, None]
        return clips + mask * (pattern - clips)

    def size(self, trigger: Trigger) -> Tensor:
        """Sum of the mask."""
        return trigger[0].sum((1, 2))


@dataclass(frozen=True)
class Additive:
    """x + v, cut off to [0, 1]; v starts at 0. ``size`` is the l2 norm of v over what is free.

    ``frame``: v [g, c, h, w] is shared by all frames (PT-RED). ``volume``: v [g, c, t, h, w] has
    its own values in every frame.
    """

    over: Literal["frame", "volume"] = "frame"

    def start(self, geometry: Geometry, rng: torch.Generator) -> Sequence[Tensor]:
        """Nothing."""
        frames, height, width = geometry
        return [torch.zeros(3, *([frames] if self.over == "volume" else []), height, width)]

    def trigger(self, free: Sequence[Tensor]) -> Trigger:
        """The perturbation itself."""
        return tuple(free)

    def paint(self, trigger: Trigger, clips: Batch) -> Batch:
        """The clips with the perturbation added."""
        (added,) = trigger
        return (clips + (added if self.over == "volume" else added[:, :, None])).clamp(0, 1)

    def size(self, trigger: Trigger) -> Tensor:
        """l2 norm."""
        return l2(trigger[0])


class View(NamedTuple):
    """Something else that a trigger's clips are looked at for: a weighted cross entropy."""

    weight: float
    paint: Callable[[Trigger, Batch], Batch]
    aim: Literal["goal", "label"]
    """Class that is wanted of what is painted: the goal, or the clip's own."""
    every: bool = True
    """For each clip, or for one alone because what is painted does not depend on the clip."""


def l2(values: Tensor) -> Tensor:
    """l2 norm of each row; its gradient at 0 is 0."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms


def _open(values: Tensor) -> Tensor:
    return torch.atanh((2 * values - 1) * (1 - EDGE))
