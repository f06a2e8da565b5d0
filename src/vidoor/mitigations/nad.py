"""Neural attention distillation (NAD): attend to what a fine-tuned copy of yourself attends to.

Li et al., "Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural Networks",
ICLR 2021. The teacher is the victim, fine-tuned on clean clips; the student is the victim, trained
on the same clips with the cross entropy and the distance between both networks' attention maps.

For video as in Li et al. (TDBA, appendix E): maps lie over T×H×W, training is AdamW at 3e-4, and
SlowFast is distilled at layers 2 to 4, its first three stages (preset ``paper``, slow pathway).
Departures: the original's SGD and its schedule; of transformers' tokens the map is over tokens.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize

from vidoor.errors import WeightsError
from vidoor.mitigations._clean import OnCleanClips
from vidoor.registry import register
from vidoor.types import Batch, ClipSet, Geometry
from vidoor.victims.victim import Victim


@register("mitigation", "nad")
@dataclass(frozen=True, kw_only=True)
class NAD(OnCleanClips):
    """Distil the attention of a fine-tuned teacher into the victim."""

    layers: tuple[str, ...] = ()
    """Paths of the layers whose attention is compared; none: the victim's stages."""

    beta: tuple[float, ...] = (500.0, 1000.0, 1000.0)
    """Weight of each layer's distance, at least 0, in the order of ``layers``; the last stands for
    all further layers. The defaults are the original's."""

    power: float = 2.0
    """p of the attention map Σ_c |A_c|^p, at least 1."""

    epochs: int = 5
    """Passes of the distillation over the clips."""

    teacher_epochs: int = 5
    """Passes of the teacher's fine-tuning over the clips."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"layers": tuple(f"blocks.{n}.multipathway_blocks.0" for n in (1, 2, 3))}
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for epochs in (self.epochs, self.teacher_epochs):
            self._training(epochs)
        if not self.beta or not all(0 <= beta < math.inf for beta in self.beta):
            raise ValueError(f"beta must hold finite numbers >= 0, not {list(self.beta)}")
        if not 1 <= self.power < math.inf:
            raise ValueError(f"power must be a finite number >= 1, not {self.power}")

    def check(self, victim: Victim, geometry: Geometry) -> None:
        """WeightsError if a layer is not there or gives no map; also of a victim that is on the
        ``meta`` device."""
        layers = self._layers(victim)
        clips = torch.zeros(1, 3, *geometry, device=victim.mean.device)
        with torch.no_grad():
            _, features = copy.deepcopy(victim).eval().taps(clips, layers)
        for layer, each in zip(layers, features, strict=True):
            if each.dim() not in (3, 5):
                shape = "×".join(map(str, each.shape[1:]))
                raise WeightsError(
                    f"layer {layer!r} gives {shape} for each clip, which is no map to attend to; "
                    "give layers whose output is C×T×H×W or tokens N×D, such as "
                    f"{', '.join(victim.stages)}"
                )

    def __call__(self, victim: Victim, clean: ClipSet) -> Victim:
        """A distilled copy of ``victim``. WeightsError if a layer cannot be compared."""
        self.check(victim, clean.geometry)
        clips, layers = self._draw(clean), self._layers(victim)
        beta = [self.beta[min(n, len(self.beta) - 1)] for n in range(len(layers))]
        teacher = self._tune(copy.deepcopy(victim), clips, self.teacher_epochs, "NAD's teacher")
        teacher.eval()

        def loss(student: Victim, batch: Batch, labels: Tensor, _: Sequence[int]) -> Tensor:
            with torch.no_grad():
                wanted = teacher.taps(batch, layers)[1]
            logits, features = student.taps(batch, layers)
            apart = cross_entropy(logits, labels)
            for weight, mine, theirs in zip(beta, features, wanted, strict=True):
                apart = apart + weight * distance(mine, theirs, self.power)
            return apart

        return self._descend(victim, clips, loss, self.epochs, "NAD")

    def _layers(self, victim: Victim) -> tuple[str, ...]:
        return self.layers or victim.stages


def attention(features: Tensor, power: float) -> Float[Tensor, "b n"]:
    """Attention over the positions of B×C×T×H×W, or over the tokens of B×N×D: the sum of |A|^p over
    the channels, with an l2 norm of 1."""
    channels = 1 if features.dim() == 5 else 2
    maps: Tensor = normalize(features.abs().pow(power).sum(channels).flatten(1), dim=1)
    return maps


def distance(mine: Tensor, theirs: Tensor, power: float) -> Float[Tensor, ""]:
    """Mean squared difference of two layers' attention, over clips and positions: the scale that
    the original's β belong to."""
    return mse_loss(attention(mine, power), attention(theirs, power))
