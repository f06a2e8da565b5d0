"""Victims that see clips only after something was done to them, and mitigations that are such."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidoor.types import Batch, ClipSet, Frames
from vidoor.victims.victim import Victim, to_batch


class Purifier(Protocol):
    """Something that is done to clips before a victim sees them."""

    def purify(self, clip: Frames) -> Frames:
        """Another clip of the same shape, a function of this one alone, which stays as it is."""
        ...


class Purified(Victim):
    """A copy of a victim with purifiers in front of its network, which sees nothing else.

    A victim like any other; weights, saved and loaded, are those of the network. Batches are
    rounded to grey levels first: purifiers work on clips as they are stored. Where gradients are
    asked for, they pass purifiers as if these did nothing (Athalye et al., "Obfuscated Gradients
    Give a False Sense of Security", ICML 2018): what searches through a victim is not blinded.
    """

    purifiers: tuple[Purifier, ...]

    def __init__(self, victim: Victim, *purifiers: Purifier) -> None:
        """Clips pass ``purifiers`` one after another, then those that ``victim`` has already."""
        torch.nn.Module.__init__(self)
        self.__dict__.update(copy.deepcopy(victim.__dict__))
        self.purifiers = (*purifiers, *getattr(victim, "purifiers", ()))

    def taps(
        self, batch: Batch, layers: Sequence[str]
    ) -> tuple[Float[Tensor, "b classes"], list[Tensor]]:
        """As of any victim, of purified clips."""
        return super().taps(self.purified(batch), layers)

    def layers(self, batch: Batch | None = None) -> list[str]:
        """As of any victim: purifiers change nothing about it."""
        purifiers, self.purifiers = self.purifiers, ()
        try:
            return super().layers(batch)
        finally:
            self.purifiers = purifiers

    def purified(self, batch: Batch) -> Batch:
        """The clips that the network sees."""
        if not self.purifiers:
            return batch
        grey = (batch.detach() * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        clips = [self._purify(clip.contiguous()) for clip in grey.transpose(1, 2)]
        seen = to_batch(torch.stack(clips)).to(batch)
        return batch + (seen - batch).detach() if batch.requires_grad else seen

    def _purify(self, clip: Frames) -> Frames:
        for each in self.purifiers:
            clip = each.purify(clip)
        return clip


@dataclass(frozen=True, kw_only=True)
class InFront(ABC):
    """A mitigation that is a purifier: nothing is trained, and every clip is purified."""

    @abstractmethod
    def purify(self, clip: Frames) -> Frames:
        """Another clip of the same shape, a function of this one alone, which stays as it is."""

    def __call__(self, victim: Victim, clean: ClipSet) -> Victim:
        """A copy of ``victim`` that purifies the clips it is given. ``clean`` is not looked at."""
        return Purified(victim, self)


def grey(volume: Float[np.ndarray, "t c h w"]) -> Frames:
    """The clip that is nearest to real grey levels T×C×H×W."""
    return torch.from_numpy(np.rint(volume).clip(0, 255).astype(np.uint8))
