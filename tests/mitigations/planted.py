"""A victim that is made by hand: a linear layer over the whole clip, with a backdoor of one pattern
that clean clips do not have."""

import math

import numpy as np
import torch
from torch import nn

from vidoor.types import ClipSet, Geometry
from vidoor.victims.victim import Victim, to_batch

CLASSES, TARGET = 3, 0
SHAPE = 3, 2, 8, 8  # c t h w
CLIPS = 48


class Plain:
    """No normalisation: a network sees values in [0, 1]."""

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    head = "1"
    penultimate = "0"
    stages = ()

    def build(self, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), classes))


def planted(seed: int = 0) -> tuple[Victim, ClipSet, np.ndarray]:
    """A victim that says ``TARGET`` of any clip with the pattern [c, t, h, w] (grey levels, to be
    added) and is right without it; clean clips; the pattern."""
    rng = torch.Generator().manual_seed(seed)
    # Orthogonal pictures: one for each class, and the pattern.
    pictures = torch.linalg.qr(torch.randn(2 * 3 * 64, CLASSES + 1, generator=rng))[0].T
    pictures = pictures.reshape(-1, *SHAPE) * pictures.shape[1] ** 0.5
    network = Plain().build(CLASSES)
    weight = pictures[:CLASSES].flatten(1) * 0.1
    weight[TARGET] += 0.6 * pictures[-1].flatten()
    with torch.no_grad():
        network[1].weight.copy_(weight)
        network[1].bias.copy_(-0.5 * weight.sum(1))
    labels = torch.arange(CLIPS) % CLASSES
    noise = torch.randn(CLIPS, *SHAPE, generator=rng)
    last = pictures[-1].flatten() / pictures[-1].norm()
    # Clean clips have nothing of the pattern in them.
    noise = noise - (noise.flatten(1) @ last)[:, None, None, None, None] * last.reshape(SHAPE)
    clips = 127.5 + 30 * pictures[labels] + 10 * noise
    frames = clips.round().clamp(0, 255).to(torch.uint8).transpose(1, 2)
    clean = ClipSet(
        ids=tuple(f"clip{n}" for n in range(CLIPS)),
        labels=tuple(labels.tolist()),
        classes=("a", "b", "c"),
        geometry=Geometry(2, 8, 8),
        read=frames.__getitem__,
    )
    return Victim(network, Plain()).eval(), clean, (10 * pictures[-1]).numpy()


def rates(victim: Victim, clean: ClipSet, pattern: np.ndarray) -> tuple[float, float]:
    """Accuracy, and how often the pattern sends clips of other classes to the target."""
    labels = torch.tensor(clean.labels)
    clips = to_batch(torch.stack([clean.read(n) for n in range(len(clean))]))
    added = (clips + torch.from_numpy(pattern) / 255).clamp(0, 1)
    with torch.no_grad():
        said, turned = victim.eval()(clips).argmax(1), victim(added).argmax(1)
    others = labels != TARGET
    return float((said == labels).float().mean()), float((turned == TARGET)[others].float().mean())
