"""DBD: a backbone that never sees a label has no backdoor, so the training is taken apart.

Huang et al., "Backdoor Defense via Decoupling the Training Process", ICLR 2022. Three stages: the
backbone learns from the training clips without labels; the head learns their labels on top of it;
then everything learns from the clips that the head believes, the others without labels (MixMatch).

``paper`` is what Li et al. (appendix E) do on video: 5 epochs that tell by what angle clips are
rotated, 5 epochs for the head, optimizer and learning rate as in any training, no third stage.
``original`` has all three stages with the released code's losses: symmetric cross entropy (Wang et
al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019) for the head, its
50 % lowest losses in each epoch for those that are believed, and a weight of the others that grows
over the stage.

Departures: the backbone learns rotations in both (the original: SimCLR, 1,000 epochs), each clip in
all four of them in every epoch (Gidaris et al., ICLR 2018), of the square in the middle of the
frame. The optimizer is the victim's. Views are shifted clips, mirrored where training mirrors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from vidoor.data.subset import pick
from vidoor.mitigations._descent import Descent
from vidoor.mitigations._fresh import device_of, fresh
from vidoor.mitigations._mixmatch import MixMatch
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import ClipSet, Frames, Geometry
from vidoor.victims.prediction import evaluation_batch
from vidoor.victims.training import Training, fit
from vidoor.victims.victim import Victim, to_batch

ANGLES = "0", "90", "180", "270"
"""Classes of the rotated clips, in degrees."""

FORWARD, REVERSE, LOG_0 = 0.1, 1.0, float(np.log(1e-4))
"""Weights of the two parts of the symmetric cross entropy, and what log 0 is taken for."""


@register("mitigation", "dbd")
@dataclass(frozen=True, kw_only=True)
class DBD:
    """Decoupled training on the poisoned clips: the backbone without labels, then the head."""

    given: ClassVar[tuple[str, ...]] = ("suspects", "training", "seed")

    variant: Literal["paper", "original"] = "paper"
    """``paper``: two stages. ``original``: three, with the losses of the first publication."""

    rotation_epochs: int = 5
    """Passes over the clips in all four rotations, for the backbone."""

    head_epochs: int = 5
    """Passes over the labelled clips, for the head."""

    semi_epochs: int = 10
    """Passes over the clips that are believed, for everything (original)."""

    credible: float = 0.5
    """Share of the clips, those of the lowest losses, whose labels are believed (original)."""

    temperature: float = 0.5
    """To which guesses are sharpened; smaller is sharper (original)."""

    mixup_alpha: float = 0.75
    """Both parameters of the Beta distribution that shares are drawn from (original)."""

    unlabelled_weight: float = 15.0
    """Of the other clips' loss at the end of the stage; it grows linearly from 0 (original)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "original": {"variant": "original", "head_epochs": 10, "semi_epochs": 190},
    }

    def __post_init__(self) -> None:
        epochs = self.rotation_epochs, self.head_epochs, self.semi_epochs
        if min(epochs) < 1:
            raise ValueError(
                "rotation_epochs, head_epochs and semi_epochs must be at least 1, not {}, {} and "
                "{}".format(*epochs)
            )
        if not 0 < self.credible < 1:
            raise ValueError(f"credible must be between 0 and 1, not {self.credible}")
        if not 0 < self.temperature < inf:
            raise ValueError(f"temperature must be a finite number > 0, not {self.temperature}")
        if not (0 <= self.mixup_alpha < inf and 0 <= self.unlabelled_weight < inf):
            raise ValueError(
                "mixup_alpha and unlabelled_weight must be finite numbers >= 0, not "
                f"{self.mixup_alpha} and {self.unlabelled_weight}"
            )

    def __call__(
        self, victim: Victim, clean: ClipSet, *, suspects: ClipSet, training: Training, seed: int
    ) -> Victim:
        """A new victim of the same architecture; ``victim`` and ``clean`` teach it nothing."""
        classes, device = len(suspects.classes), device_of(victim)
        new = fresh(victim, classes, seed)
        new.replace_head(len(ANGLES), seed)
        # A mirrored clip is rotated the other way.
        turned = replace(training, epochs=self.rotation_epochs, flip=False)
        fit(new, rotated(suspects), turned, seed=seed, name="DBD, backbone", device=device)
        new.replace_head(classes, seed)
        freeze_backbone(new)
        labelled = replace(training, epochs=self.head_epochs)
        if self.variant == "paper":
            fit(new, suspects, labelled, seed=seed, name="DBD, head", device=device)
            new.unfreeze()
            return new
        head = Descent(new, labelled, seed, "DBD, head")
        for epoch in range(self.head_epochs):
            head.epoch(epoch, suspects, lambda v, batch, given: symmetric(v(batch), given).mean())
        new.unfreeze()
        self._match(new, suspects, training, seed)
        return new

    def _match(self, victim: Victim, suspects: ClipSet, training: Training, seed: int) -> None:
        """The third stage, in place."""
        training = replace(training, epochs=self.semi_epochs, crop=training.crop or "pad")
        stage, rng = Descent(victim, training, seed, "DBD, all"), np.random.default_rng([seed, 10])
        for epoch in range(self.semi_epochs):
            trusted = lowest(losses(victim, suspects), self.credible)
            others = np.setdiff1d(np.arange(len(suspects)), trusted)
            objective = MixMatch(
                unlabelled=pick(suspects, tuple(others.tolist())),
                weight=self.unlabelled_weight * epoch / self.semi_epochs,
                temperature=self.temperature,
                mixup_alpha=self.mixup_alpha,
                augmentation=training.augmentation(),
                rng=rng,
            )
            say(f"DBD: {len(trusted):,} of {len(suspects):,} labels are believed")
            stage.epoch(epoch, pick(suspects, tuple(trusted.tolist())), objective)


@dataclass(frozen=True, slots=True)
class _Turned:
    """The square in the middle of each clip, turned in four ways, one after another."""

    source: Callable[[int], Frames]

    def __call__(self, index: int) -> Frames:
        clip = self.source(index // len(ANGLES))
        height, width = clip.shape[-2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = clip[..., top : top + side, left : left + side]
        return square.rot90(index % len(ANGLES), (-2, -1)).contiguous()


def rotated(clips: ClipSet) -> ClipSet:
    """Every clip four times, labelled by the angle by which it is turned, anticlockwise."""
    side = min(clips.geometry[1:])
    return replace(
        clips,
        ids=tuple(f"{name} {angle}" for name in clips.ids for angle in ANGLES),
        labels=tuple(range(len(ANGLES))) * len(clips),
        classes=ANGLES,
        geometry=Geometry(clips.geometry.frames, side, side),
        read=_Turned(clips.read),
    )


def freeze_backbone(victim: Victim) -> None:
    """Let the head alone be trained; everything before it stays as in evaluation."""
    head, modules = victim.head, dict(victim.network.named_modules())
    inside = [path for path in modules if f"{path}.".startswith(f"{head}.")]
    around = [path for path in modules if not path or head.startswith(f"{path}.")]
    victim.requires_grad_(False)
    victim.freeze([path for path in modules if path not in {*inside, *around}])
    modules[head].requires_grad_(True)


def symmetric(logits: Float[Tensor, "b classes"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Symmetric cross entropy of each clip, 0.1 CE + RCE. The reverse one, with log 0 as log 1e-4,
    is −log 1e-4 · (1 − p(label))."""
    wrong = 1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return FORWARD * cross_entropy(logits, labels, reduction="none") - REVERSE * LOG_0 * wrong


@torch.no_grad()
def losses(victim: Victim, clips: ClipSet) -> Float[np.ndarray, " n"]:
    """Symmetric cross entropy of every clip, in evaluation."""
    victim.eval()
    device, size, found = victim.mean.device, evaluation_batch(clips), []
    for start in range(0, len(clips), size):
        rows = range(start, min(start + size, len(clips)))
        frames = torch.stack([clips.read(row) for row in rows]).to(device)
        labels = torch.tensor([clips.labels[row] for row in rows], device=device)
        found.append(symmetric(victim(to_batch(frames)), labels).cpu())
    values: Float[np.ndarray, " n"] = torch.cat(found).numpy()
    return values


def lowest(values: Float[np.ndarray, " n"], share: float) -> Int[np.ndarray, " k"]:
    """Where the lowest ``share`` of the values are, in order: at least one, and not all."""
    count = min(max(1, round(share * len(values))), len(values) - 1)
    return np.sort(np.argsort(values, kind="stable")[:count])
