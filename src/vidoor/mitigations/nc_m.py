"""Neural Cleanse, mitigation (NC-M): show the victim what a detector found, with true labels.

Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks", S&P
2019; for video as in Li et al. (appendix E): the trigger that PT-RED estimates is stamped on 30 %
of the clean clips, and the victim is fine-tuned on all of them as it was trained.

With ``volume-inversion`` for detector this unlearns triggers that live in the motion between frames
(``preset = "unlearning"``, ours): what is stamped is not the trigger but activates the backdoor as
the trigger does. Two controls belong beside it: ``fine-tuning`` with the same options, the same
clips in the same steps without a stamp, and ``preset = "placebo"``, the perturbations of the other
classes. What those achieve, too, is not due to what the detector found.

Departures: the trigger is the one of the class with the highest score, alarm or not (``always``).
It is stamped on values in [0, 1], cut off there but not rounded: estimates of less than half a grey
level would be lost. The original stamps 20 % and trains for one epoch.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from vidoor.errors import DataError, unknown
from vidoor.mitigations._clean import OnCleanClips
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import Batch, ClipSet, Geometry, Verdict
from vidoor.victims.victim import Victim

Perturbation = Literal["target", "placebo"]

UNLEARNING = {"detector": "volume-inversion", "stamped": 0.5, "epochs": 10, "lr": 1e-3}
"""At the paper's rate of 3e-4 and in so many steps, half of the backdoor stays."""


@register("mitigation", "nc-m")
@dataclass(frozen=True, kw_only=True)
class NCM(OnCleanClips):
    """Unlearn the trigger that a detector estimated: stamp it, keep true labels, fine-tune."""

    given: ClassVar[tuple[str, ...]] = ("verdict",)
    verdict_of: ClassVar[Literal["model"]] = "model"

    detector: str = "pt-red"
    """Name of the recipe's detector that estimates the trigger: one by inversion."""

    stamped: float = 0.3
    """Share of the clips that carry the trigger, 0 to 1; 0 is fine-tuning."""

    perturbation: Perturbation = "target"
    """Whose trigger is stamped: that of the class with the highest score (``target``), or those of
    all other classes in turn (``placebo``), which only ``volume-inversion`` keeps."""

    always: bool = True
    """Unlearn although the detector raises no alarm, as the paper does; False: the victim then
    stays as it is."""

    epochs: int = 5
    """Passes over the clips."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"epochs": 10},
        "unlearning": UNLEARNING,
        "placebo": {**UNLEARNING, "perturbation": "placebo"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._training(self.epochs)
        if not 0 <= self.stamped <= 1:
            raise ValueError(f"stamped must be in 0..1, not {self.stamped}")
        if self.perturbation not in get_args(Perturbation):
            raise ValueError(unknown("perturbation", self.perturbation, get_args(Perturbation)))

    def __call__(self, victim: Victim, clean: ClipSet, *, verdict: Verdict) -> Victim:
        """A copy of ``victim`` that has unlearnt the verdict's trigger. DataError if the verdict
        holds none that fits the clips."""
        if self.perturbation == "target":
            triggers = [estimate(verdict, clean.geometry)]
        else:
            triggers = others(verdict, clean.geometry)
        if not (verdict.alarm or self.always):
            say("NC-M: no alarm, nothing to unlearn")
            return deepcopy(victim)
        clips = self._draw(clean)
        drawn = np.random.default_rng([self.seed, 9]).permutation(len(clips))
        carrying = drawn[: round(self.stamped * len(clips))].tolist()
        stamps = dict(zip(carrying, cycle(triggers), strict=False))

        def loss(mended: Victim, batch: Batch, labels: Tensor, rows: Sequence[int]) -> Tensor:
            for place, row in enumerate(rows):
                if row in stamps:
                    batch[place] = stamps[row].stamp(batch[place])
            return cross_entropy(mended(batch), labels)

        return self._descend(victim, clips, loss, self.epochs, "NC-M")


class Estimate(NamedTuple):
    """A trigger as values in [0, 1], in shapes that go with C×T×H×W: a pattern that ``mask``
    lets replace what is there, or that is added where there is no mask."""

    pattern: Tensor
    mask: Tensor | None

    def stamp(self, clips: Float[Tensor, "*b c t h w"]) -> Float[Tensor, "*b c t h w"]:
        """A clip, or each of some clips, with the trigger."""
        pattern = self.pattern.to(clips)
        if self.mask is None:
            return (clips + pattern).clamp(0, 1)
        return clips + self.mask.to(clips) * (pattern - clips)


def estimate(verdict: Verdict, geometry: Geometry) -> Estimate:
    """The trigger that a verdict's evidence holds: ``pattern``, in grey levels, C×H×W where all
    frames share it and C×T×H×W where not, and perhaps a ``mask`` in 0..1, H×W or T×H×W."""
    frames, height, width = geometry
    evidence = verdict.evidence
    if "pattern" not in evidence:
        raise DataError(
            "the detector's verdict holds no pattern, so there is nothing to unlearn; name a "
            "detector by inversion, such as pt-red or nc, as the mitigation's detector"
        )

    def fitted(name: str, channels: tuple[int, ...]) -> Tensor:
        values = torch.as_tensor(np.asarray(evidence[name]), dtype=torch.float32)
        shapes = [(*channels, height, width), (*channels, frames, height, width)]
        if tuple(values.shape) not in shapes:
            arrived, *valid = ("×".join(map(str, shape)) for shape in (values.shape, *shapes))
            raise DataError(
                f"the verdict's {name} is {arrived}; clips of {frames}×{height}×{width} need "
                f"{' or '.join(valid)}"
            )
        shared = values.dim() == len(shapes[0])
        return values.unsqueeze(-3) if shared else values

    pattern = fitted("pattern", (3,)) / 255
    mask = fitted("mask", ()) if "mask" in evidence else None
    return Estimate(pattern, mask)


def others(verdict: Verdict, geometry: Geometry) -> list[Estimate]:
    """The triggers of all classes but the one with the highest score: the evidence's ``patterns``,
    in grey levels, classes×C×T×H×W. DataError if it holds none that fit the clips."""
    patterns = np.asarray(verdict.evidence.get("patterns", ()), np.float32)
    valid = (len(verdict.ids), 3, *geometry)
    if patterns.shape != valid:
        arrived, wanted = ("×".join(map(str, shape)) for shape in (patterns.shape, valid))
        raise DataError(
            f"a placebo needs the perturbations of all classes, {wanted}, and the verdict's are "
            f"{arrived if patterns.size else 'not kept'}; name a volume-inversion of small clips "
            "as the mitigation's detector"
        )
    suspect = int(np.argmax(verdict.scores))
    rest = np.delete(patterns, suspect, axis=0)
    return [Estimate(torch.from_numpy(pattern) / 255, None) for pattern in rest]
