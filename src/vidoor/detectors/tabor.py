"""TABOR: Neural Cleanse with four regularisers against triggers that are none.

Guo et al., "TABOR: A Highly Accurate Approach to Inspecting and Restoring Trojan Backdoors in AI
Systems", 2019. With mask m and pattern p, and M(x) the victim:

    R1  overly large    |m|₁ + |m|₂²           and the same of (1 − m) p, the pattern outside
    R2  scattered       Σ (differences of neighbours)²   of m, and of (1 − m) p
    R3  blocking        cross entropy of M((1 − m) x) and the clip's own class
    R4  overlaying      cross entropy of M(m p) and the goal

Frames share mask and pattern (Li et al., appendix D), so m p is a still clip. The weights are those
of public implementations; R3's is 0, and then R3 costs no passes. R4 costs one clip a step.

Departures: those of ``neural_cleanse``, whose search this is. The original judges classes by a
metric of its own, out of sparsity, smoothness, success and accuracy; ``variant`` offers the index
of Neural Cleanse and that of Li et al. instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from vidoor.detectors._inspection import ByInversion
from vidoor.detectors._schedules import Annealing
from vidoor.detectors._search import Masked, Trigger, View
from vidoor.detectors.inversion import Search
from vidoor.detectors.neural_cleanse import (
    Variant,
    check_variant,
    mask_norm,
    mask_pictures,
    mask_rule,
)
from vidoor.detectors.outliers import Norms, Rule
from vidoor.registry import register
from vidoor.types import Batch


@register("detector", "tabor")
@dataclass(frozen=True, kw_only=True)
class TABOR(ByInversion):
    """Model detector: Neural Cleanse that keeps away from large, scattered and blocking patches.

    Evidence: the suspect's ``mask`` [h, w] in 0..1 and ``pattern`` [c, h, w] in grey levels; norms
    in pixels.
    """

    weights: tuple[float, float, float, float, float, float] = (1e-6, 1e-5, 1e-7, 1e-8, 0.0, 1e-2)
    """Of R1 (mask), R1 (pattern), R2 (mask), R2 (pattern), R3 and R4; finite, >= 0."""

    variant: Variant = "original"
    """What is an outlier, as in Neural Cleanse: ``original`` has its index of l1 norms, ``paper``
    (Li et al.) that of reciprocal l0 norms, which calls random numbers outliers too often, ``log``
    (ours) that of logarithms of l1 norms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variant(self.variant)
        if len(self.weights) != 6 or not all(0 <= weight < inf for weight in self.weights):
            raise ValueError(f"weights must be six finite numbers >= 0, not {list(self.weights)}")

    def search(self) -> Search:
        """A masked pattern, annealed, with R1 and R2 as penalty, R3 and R4 as further views."""
        *flat, blocking, overlaying = self.weights
        views = View(blocking, blocked, "label"), View(overlaying, overlaid, "goal", every=False)
        return Search(
            space=Masked(),
            schedule=Annealing(steps=self.steps),
            penalty=lambda trigger: _weighted(flat, (*large(trigger), *scattered(trigger))),
            views=tuple(view for view in views if view.weight),
        )

    def rule(self, classes: int) -> Rule:
        """The index of the variant."""
        return mask_rule(self.variant)

    def norm(self, trigger: Trigger) -> Norms:
        """The mask's norm of the variant."""
        return mask_norm(trigger, self.variant)

    def pictures(self, trigger: Trigger) -> Mapping[str, Any]:
        """``mask`` and ``pattern``."""
        return mask_pictures(trigger)


def large(trigger: Trigger) -> tuple[Tensor, Tensor]:
    """R1 of the mask and of the pattern outside it, [g] each."""
    return _elastic(trigger[0]), _elastic(_outside(trigger))


def scattered(trigger: Trigger) -> tuple[Tensor, Tensor]:
    """R2 of the mask and of the pattern outside it, [g] each."""
    return _rough(trigger[0]), _rough(_outside(trigger))


def blocked(trigger: Trigger, clips: Batch) -> Batch:
    """What R3 looks at: the clips, black under the mask."""
    return (1 - trigger[0][:, None, None]) * clips


def overlaid(trigger: Trigger, clips: Batch) -> Batch:
    """What R4 looks at: the pattern under the mask, black elsewhere, in all frames."""
    still = (trigger[0][:, None] * trigger[1])[:, :, None]
    return still.expand_as(clips)


def _outside(trigger: Trigger) -> Tensor:
    return (1 - trigger[0][:, None]) * trigger[1]


def _elastic(values: Tensor) -> Tensor:
    return (values.abs() + values.square()).flatten(1).sum(1)


def _rough(values: Tensor) -> Tensor:
    down, across = (values.diff(dim=axis).square().flatten(1).sum(1) for axis in (-2, -1))
    return down + across


def _weighted(weights: list[float], terms: tuple[Tensor, ...]) -> Tensor:
    weighted = [weight * term for weight, term in zip(weights, terms, strict=True)]
    return torch.stack(weighted).sum(0)
