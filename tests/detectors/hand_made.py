"""Victims that are made by hand, whose smallest triggers are known, and clips for them."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import one_hot

from vidoor.types import ClipSet, Geometry
from vidoor.victims.victim import Victim

PLACE = slice(9, 14), slice(2, 7)
"""Rows and columns of the planted patch."""

GAIN = 3.0
"""Logit of the target where the patch is all there."""


@dataclass(frozen=True)
class Plain:
    """No normalisation: a network sees values in [0, 1]."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Linear(nn.Module):
    """logits = W x + b of the whole clip."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(weight[0].numel(), len(weight))
        with torch.no_grad():
            self.fc.weight.copy_(weight.flatten(1))
            self.fc.bias.copy_(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.flatten(x))


class Patched(nn.Module):
    """Each class has a picture, and the logits say how far the mean frame resembles each. A patch
    of one colour pattern at ``PLACE`` adds to the logit of ``target``; None: there is none."""

    def __init__(self, pictures: torch.Tensor, patch: torch.Tensor, target: int | None) -> None:
        super().__init__()
        self.target = target
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(pictures[0].numel(), len(pictures))
        with torch.no_grad():
            self.fc.weight.copy_(0.02 * pictures.flatten(1))
            self.fc.bias.zero_()
        self.register_buffer("patch", patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frame = x.mean(2) - 0.5
        logits = self.fc(self.flatten(frame))
        if self.target is None:
            return logits
        match = (2 * frame[:, :, PLACE[0], PLACE[1]] * self.patch).mean((1, 2, 3))
        return logits + GAIN * match[:, None] * one_hot(torch.tensor(self.target), logits.shape[1])


def clipset(frames: torch.Tensor, labels: tuple[int, ...], classes: int) -> ClipSet:
    """uint8 clips b t c h w as a set."""
    return ClipSet(
        ids=tuple(f"clip{index}" for index in range(len(frames))),
        labels=labels,
        classes=tuple("abcdefghij"[:classes]),
        geometry=Geometry(frames.shape[1], *frames.shape[3:]),
        read=frames.__getitem__,
    )


def patched(seed: int, target: int | None = None, classes: int = 6) -> tuple[Victim, ClipSet]:
    """A victim with a planted patch, or without one, and 24 clean clips 3×16×16."""
    rng = torch.Generator().manual_seed(seed)
    # Pictures of different contrast, as classes are not equally hard to reach.
    contrast = 0.8 + 0.4 * torch.rand(classes, 1, 1, 1, generator=rng)
    pictures = contrast * torch.randn(classes, 3, 16, 16, generator=rng).sign()
    patch = torch.randn(3, 5, 5, generator=rng).sign()
    labels = tuple(index % classes for index in range(24))
    noise = torch.randn(24, 3, 3, 16, 16, generator=rng)
    frames = 127.5 + 30 * pictures[list(labels)][:, None] + 20 * noise
    clips = clipset(frames.clamp(0, 255).to(torch.uint8), labels, classes)
    return Victim(Patched(pictures, patch, target), Plain()), clips
