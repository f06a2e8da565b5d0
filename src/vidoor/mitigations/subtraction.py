"""Purifiers that subtract what may be a trigger: one with a template of it, and one without.

No paper's own. An added pattern that is one T×H×W volume times an amplitude is removed by
subtracting it again, which costs clips nothing else: with the template that a detector has found in
the training clips (``notch``), or, where there is none, because a separable pattern has one course
in time for all pixels, which natural motion has not (``subspace``).
"""

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float64
from scipy import ndimage

from vidoor.errors import DataError
from vidoor.mitigations._purified import InFront, Purified, grey
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import ClipSet, Frames, Verdict
from vidoor.victims.victim import Victim

LUMINANCE = 0.299, 0.587, 0.114  # of R, G, B
BOX = 3  # pixels: side of the means that are taken off, as slow in space as scenes are
LEAST = 1.0  # grey levels: a clip's spread counts as that at least, for decoded ones stand still

Volume = Float64[np.ndarray, "t h w"]


def _volume(clip: Frames) -> Volume:
    """Luminance in grey levels."""
    luminance: Volume = np.einsum("tchw,c->thw", clip.numpy(), np.array(LUMINANCE))
    return luminance


@dataclass(frozen=True, eq=False)
class Template:
    """A purifier: how much of a pattern is in a clip is measured, and so much is subtracted.

    The amplitude is that of least squares between pattern and luminance, both differenced once
    along t, y and x: as where the pattern was found (``coherence``), scenes that stand still and
    slow gradients have no say, and, all of it being linear, an amplitude in a clip that has no
    part in the pattern is measured exactly. It is at least 0: added patterns have no mirror image.
    """

    pattern: Float[np.ndarray, "t h w"]
    """Grey levels, for each channel alike."""

    def amplitude(self, clip: Frames) -> float:
        """How often the pattern is in the clip. DataError if their sizes differ."""
        arrived, valid = (clip.shape[0], *clip.shape[2:]), self.pattern.shape
        if arrived != valid:
            sizes = ("×".join(map(str, size)) for size in (valid, arrived))
            raise DataError(
                "the template is {}, a clip is {}; give clips of the size that it was found in"
                "".format(*sizes)
            )
        pattern, differences = _differences(self.pattern), _differences(_volume(clip))
        energy = float(np.vdot(pattern, pattern))
        return max(0.0, float(np.vdot(pattern, differences)) / energy) if energy else 0.0

    def purify(self, clip: Frames) -> Frames:
        """The clip without the pattern."""
        return grey(clip.numpy() - self.amplitude(clip) * self.pattern[:, None])


def _differences(volume: Volume) -> Volume:
    for axis in range(3):
        volume = np.diff(volume, axis=axis)
    return volume


@register("mitigation", "notch")
@dataclass(frozen=True, kw_only=True)
class Notch:
    """Purifier: subtracts from each clip what it has of the template that a detector found."""

    given: ClassVar[tuple[str, ...]] = ("verdict",)
    verdict_of: ClassVar[Literal["dataset"]] = "dataset"

    detector: str = "coherence"
    """Name of the recipe's detector that finds the template in the training clips. Where it finds
    none, clips stay as they are."""

    def __call__(self, victim: Victim, clean: ClipSet, *, verdict: Verdict) -> Victim:
        """A copy of ``victim`` that purifies the clips it is given. DataError if the template is
        not of their size."""
        if "template" not in verdict.evidence:
            say("notch: the verdict holds no template, so clips stay as they are")
            return Purified(victim)
        template = Template(np.asarray(verdict.evidence["template"], np.float64))
        template.amplitude(clean.read(0))
        return Purified(victim, template)


@register("mitigation", "subspace")
@dataclass(frozen=True, kw_only=True)
class Subspace(InFront):
    """Purifier: subtracts from each clip what most of its pixels do alike over time (ours).

    The courses in time are the first eigenvectors of a T×T matrix: how luminance, differenced along
    y and x, varies together over time, each pixel counting alike however much it changes (spatial
    signs: Locantore et al., "Robust Principal Component Analysis for Functional Data", Test 1999).
    So what moves fast through few pixels does not decide. What is projected on them and subtracted
    is each channel less its 3×3 mean and its median over time, cut off at some spreads: what moves
    keeps its shape.
    """

    components: int = 2
    """Eigenvectors: a pattern and its temporal mean, or two phases of it."""

    limit: float = 6.0
    """Robust standard deviations at which what is subtracted from is cut off."""

    def __post_init__(self) -> None:
        if self.components < 1 or not 0 < self.limit < inf:
            raise ValueError(
                f"need components >= 1 and a finite limit > 0, not {self.components} and "
                f"{self.limit}"
            )

    def purify(self, clip: Frames) -> Frames:
        """The clip without its common course in time."""
        courses = self._courses(_volume(clip))
        frames = clip.numpy().astype(np.float64)
        detail = frames - ndimage.uniform_filter(frames, (0, 0, BOX, BOX), mode="nearest")
        detail -= np.median(detail, axis=0)
        bound = self.limit * max(LEAST, 1.4826 * float(np.median(np.abs(detail))))
        detail = detail.clip(-bound, bound)
        detail -= detail.mean(0)
        return grey(frames - np.tensordot(courses @ courses.T, detail, 1))

    def _courses(self, volume: Volume) -> Float64[np.ndarray, "t k"]:
        """The first courses in time, of unit length and orthogonal."""
        signs = np.diff(np.diff(volume, axis=1), axis=2).reshape(len(volume), -1)
        signs -= signs.mean(0)
        if not signs.size:  # a frame of one row or column has no detail
            return np.zeros((len(volume), 0))
        size = np.linalg.norm(signs, axis=0)
        # A pixel of less than half the usual variation is noise that counts less.
        signs /= np.maximum(size, 0.5 * np.median(size)).clip(min=1e-9)
        found: Any = np.linalg.eigh(signs @ signs.T)
        courses: Float64[np.ndarray, "t k"] = found.eigenvectors[:, -self.components :]
        return courses
