"""STRIP: a trigger decides whatever is laid over it, so predictions of blends hardly vary.

Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks", ACSAC 2019; used on
video by Li et al. (AAAI 2024, appendix D) at a false-positive rate of 15 %. Clean clips are laid
over the clip under test; the Shannon entropy of the predicted class, averaged over the blends, is
low where a trigger decides it.

Departures: the overlays are drawn once and are the same for every clip, so that a clip's score is
its own and clips are compared on equal terms; Gao et al. draw new ones for each input.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidoor.data.subset import pick
from vidoor.detectors import fitted
from vidoor.detectors.activations import evaluating
from vidoor.errors import DataError, unknown
from vidoor.options import check_seed
from vidoor.progress import track
from vidoor.registry import register
from vidoor.types import Batch, ClipSet, Frames, FramesBatch, Level
from vidoor.victims.prediction import evaluation_batch
from vidoor.victims.victim import Victim, to_batch

LEAST = 4
"""Fewest clean clips to fit with: two to lay over others and two to calibrate on."""


@register("detector", "strip")
@dataclass(frozen=True, kw_only=True)
class STRIP:
    """Input detector: does the prediction survive whatever is laid over the clip?

    ``overlays`` clean clips, or half of them all if there are not as many, are laid over each clip,
    at one forward pass each; up to ``held_out`` others set the threshold. A score is the negative
    mean entropy in bits: 0 for a class that is certain, −log2(classes) for none. Breaks where a
    trigger does not survive blending; flags classes that no overlay can change.
    """

    level: ClassVar[Level] = "input"

    variant: Literal["paper", "original"] = "paper"
    """``paper``: (1 − alpha) clip + alpha overlay. ``original``: their sum, saturating at white."""

    overlay: Literal["clip", "frame"] = "clip"
    """What is laid over: whole clips, or over each frame one that is drawn from all of them."""

    overlays: int = 100
    """N: blends of each clip, at least 1."""

    alpha: float = 0.5
    """Weight of the overlay, above 0 and below 1, in the variant ``paper``."""

    fpr: float = 0.15
    """Share of clean clips that may be flagged, above 0 and below 1 (paper 0.15, original 0.01)."""

    held_out: int = 200
    """Most clean clips that the threshold is set on, none of them an overlay; at least 1."""

    seed: int = 0
    """Seed of the draw of clips and frames, 0 to 2**63 - 1."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "original": {"variant": "original", "fpr": 0.01, "held_out": 2000},
    }

    def __post_init__(self) -> None:
        for name, valid in (("variant", ("paper", "original")), ("overlay", ("clip", "frame"))):
            if getattr(self, name) not in valid:
                raise ValueError(unknown(name, getattr(self, name), valid))
        if min(self.overlays, self.held_out) < 1:
            raise ValueError(
                f"overlays and held_out must be at least 1, not {self.overlays} and {self.held_out}"
            )
        if not (0 < self.alpha < 1 and 0 < self.fpr < 1):
            raise ValueError(
                f"alpha and fpr must be above 0 and below 1, not {self.alpha} and {self.fpr}"
            )
        check_seed(self.seed)

    def fit(self, victim: Victim, clean: ClipSet) -> "Overlaid":
        """Draw overlays, and set the threshold on other clean clips.

        DataError if there are fewer than four clips.
        """
        if len(clean) < LEAST:
            raise DataError(f"{len(clean)} clean clips; STRIP needs {LEAST} or more")
        rng = np.random.default_rng([self.seed, 7])
        order = rng.permutation(len(clean)).tolist()
        count = min(self.overlays, len(clean) // 2)
        laid = self._drawn(pick(clean, tuple(order[:count])), rng)
        held = order[count : count + self.held_out]
        size = evaluation_batch(clean)
        unset = Overlaid(self, victim, laid, size, threshold=0.0, calibration="")
        scores = unset.screened(track(map(clean.read, held), "calibrating STRIP", len(held)))
        return Overlaid(
            self,
            victim,
            laid,
            size,
            threshold=fitted.threshold_at(scores, self.fpr),
            calibration=f"FPR {self.fpr:g} on {len(held)} clean clips, none of the {count} laid "
            "over others",
        )

    def load(self, path: Path, victim: Victim) -> "Overlaid":
        """The screen that was saved by this detector. DataError if the file is no such one."""
        arrays, about = fitted.load(path, self)
        return Overlaid(self, victim, arrays["overlays"], **about)

    def _drawn(self, clips: ClipSet, rng: np.random.Generator) -> FramesBatch:
        """What is laid over: the clips, or as many of frames from anywhere in them."""
        laid = torch.stack([clips.read(index) for index in range(len(clips))])
        if self.overlay == "clip":
            return laid
        shape = laid.shape[:2]
        drawn = rng.integers(shape[0], size=shape), rng.integers(shape[1], size=shape)
        return laid[torch.from_numpy(drawn[0]), torch.from_numpy(drawn[1])]


@dataclass(frozen=True, slots=True, eq=False)
class Overlaid:
    """STRIP, fitted: the overlays and the threshold that belong to a victim."""

    config: STRIP
    victim: Victim
    overlays: FramesBatch
    batch: int
    """Most blends in one forward pass. How sums are rounded depends on it, so it is kept."""

    threshold: float
    calibration: str

    def score(self, frames: FramesBatch) -> Float[Tensor, " b"]:
        """Negative entropy of each clip, on the CPU; each is blended and predicted by itself.

        DataError if the clips are not of the overlays' size.
        """
        return self.screened(frames)

    @torch.no_grad()
    def screened(self, clips: Iterable[Frames]) -> Float[Tensor, " b"]:
        """The same of clips that are read one by one."""
        with evaluating(self.victim):
            return -torch.stack([self._entropy(clip) for clip in clips]).cpu()

    def _entropy(self, clip: Frames) -> Float[Tensor, ""]:
        if clip.shape != self.overlays.shape[1:]:
            arrived, valid = ("×".join(map(str, s)) for s in (clip.shape, self.overlays.shape[1:]))
            raise DataError(f"a clip of {arrived}; this screen was fitted to clips of {valid}")
        device = next(self.victim.parameters()).device
        tested = to_batch(clip[None].to(device))
        each = [
            entropy(self.victim.logits(self._blend(tested, to_batch(part.to(device)))))
            for part in self.overlays.split(self.batch)
        ]
        return torch.cat(each).mean()

    def _blend(self, clip: Batch, laid: Batch) -> Batch:
        if self.config.variant == "original":
            return (clip + laid).clamp_(max=1)
        return torch.lerp(clip, laid, self.config.alpha)

    def save(self, path: Path) -> None:
        """Write overlays and threshold; ``STRIP.load`` reads them."""
        about = {"batch": self.batch, "threshold": self.threshold, "calibration": self.calibration}
        fitted.save(path, self.config, {"overlays": self.overlays}, **about)


def entropy(logits: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Shannon entropy of the predicted class in bits, 0 to log2 k."""
    bits: Tensor = torch.special.entr(logits.double().softmax(1)).sum(1) / log(2)
    return bits
