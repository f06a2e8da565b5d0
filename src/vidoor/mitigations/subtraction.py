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
from scipy.fft import dctn, idctn

from vidoor.errors import DataError
from vidoor.mitigations._purified import InFront, Purified, grey
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import ClipSet, Frames, Verdict
from vidoor.victims.victim import Victim

LUMINANCE = 0.299, 0.587, 0.114  # of R, G, B
BOX = 3  # pixels: side of the means that are taken off, as slow in space as scenes are
LEAST = 1.0  # grey levels: a clip's spread counts as that at least, for decoded ones stand still
ROUNDS = 8  # of the fit
CALM = 4.0  # times the limit: changes beyond count as that where a pixel's spread is taken
FAINT = 0.05  # how little of a wave's power the means may leave for it to be restored

Volume = Float64[np.ndarray, "t h w"]
Courses = Float64[np.ndarray, "t k"]
Pictures = Float64[np.ndarray, "k h w"]


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
    part in the pattern is measured exactly.
    """

    pattern: Float[np.ndarray, "t h w"]
    """Grey levels, for each channel alike."""

    signed: bool = False
    """May the amplitude be below 0? An added pattern has no mirror image; the two quadratures of
    one that has a phase of its own in each clip have."""

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
        found = float(np.vdot(pattern, differences)) / energy if energy else 0.0
        return found if self.signed else max(0.0, found)

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
    """Purifier: subtracts from each clip what it has of the templates that a detector found.

    A template that is the same in all frames is not subtracted: scenes stand still as well, and how
    much of it is in a clip cannot be told from them.
    """

    revision: ClassVar[int] = 3

    given: ClassVar[tuple[str, ...]] = ("verdict",)
    verdict_of: ClassVar[Literal["dataset"]] = "dataset"

    detector: str = "coherence"
    """Name of the recipe's detector that finds the template in the training clips. Where it finds
    none, clips stay as they are."""

    def __call__(self, victim: Victim, clean: ClipSet, *, verdict: Verdict) -> Victim:
        """A copy of ``victim`` that purifies the clips it is given. DataError if the templates are
        not of their size."""
        found = verdict.evidence.get("templates", [verdict.evidence.get("template")])
        patterns = [np.asarray(one, np.float64) for one in found if one is not None]
        phases = verdict.evidence.get("phases", ["fixed"] * len(patterns))
        templates = [
            Template(pattern, signed=phase == "free")
            for pattern, phase in zip(patterns, phases, strict=True)
        ]
        if not templates:
            say("notch: the verdict holds no template, so clips stay as they are")
        for template in templates:
            template.amplitude(clean.read(0))
        moving = [one for one in templates if np.diff(one.pattern, axis=0).any()]
        if templates and not moving:
            say("notch: the template stands still as scenes do, so clips stay as they are")
        return Purified(victim, *moving)


@register("mitigation", "subspace")
@dataclass(frozen=True, kw_only=True)
class Subspace(InFront):
    """Purifier: subtracts from each clip what most of its pixels do alike over time (ours).

    The courses in time are the first eigenvectors of a T×T matrix: how luminance, differenced along
    y and x, varies together over time, each pixel counting alike however much it changes (spatial
    signs: Locantore et al., "Robust Principal Component Analysis for Functional Data", Test 1999).
    So what moves fast through few pixels does not decide. A separable pattern's share in a course
    is, moreover, a picture of few rows and columns, which a scene's share is not: of the pictures
    only their first common row and column vectors are subtracted (a Tucker decomposition), as they
    fit the clip less its 3×3 means and its median over time. The fit is a robust one, step by step:
    pixels that change much count less, and what differs from it by more than some spreads is cut
    off. What fills a rectangle for a while is separable, too, and fades.
    """

    revision: ClassVar[int] = 2

    components: int = 4
    """Courses in time, 1 or more: a complex pattern has two."""

    rank: int = 4
    """Row and column vectors of their pictures, 1 or more: a complex pattern has four of each, as
    the means are taken off."""

    limit: float = 2.0
    """Robust standard deviations at which what the fit leaves is cut off."""

    def __post_init__(self) -> None:
        if min(self.components, self.rank) < 1 or not 0 < self.limit < inf:
            raise ValueError(
                "need components and rank >= 1 and a finite limit > 0, not "
                f"{self.components}, {self.rank} and {self.limit}"
            )

    def purify(self, clip: Frames) -> Frames:
        """The clip without what is common to its pixels, alike in each channel."""
        frames, courses = clip.numpy().astype(np.float64), self._courses(_volume(clip))
        mean = frames.mean(1)
        detail = mean - ndimage.uniform_filter(mean, (0, BOX, BOX), mode="nearest")
        pictures = self._pictures(detail - np.median(detail, axis=0), courses)
        return grey(frames - np.tensordot(courses, _restored(pictures), 1)[:, None])

    def _pictures(self, detail: Volume, courses: Courses) -> Pictures:
        """What belongs to each course, of low rank."""
        bound = self.limit * max(LEAST, 1.4826 * float(np.median(np.abs(detail))))
        spread = np.sqrt(np.mean(detail.clip(-CALM * bound, CALM * bound) ** 2, axis=0))
        weight = np.sqrt(max(LEAST, np.median(spread)) / spread.clip(min=LEAST)).clip(max=1.0)
        fit, pictures = np.zeros_like(detail), np.zeros((courses.shape[1], *detail.shape[1:]))
        for _ in range(ROUNDS):
            seen = fit + weight * (detail - fit).clip(-bound, bound)
            pictures = np.tensordot(courses, seen, (0, 0))
            rows = _leading(pictures.swapaxes(0, 1), self.rank)
            columns = _leading((rows.T @ pictures).transpose(2, 0, 1), self.rank)
            pictures = rows @ (rows.T @ pictures @ columns) @ columns.T
            fit = np.tensordot(courses, pictures, 1)
        return pictures

    def _courses(self, volume: Volume) -> Courses:
        """The first courses in time, of unit length and orthogonal."""
        signs = np.diff(np.diff(volume, axis=1), axis=2).reshape(len(volume), -1)
        signs -= signs.mean(0)
        if not signs.size:  # a frame of one row or column has no detail
            return np.zeros((len(volume), 0))
        size = np.linalg.norm(signs, axis=0)
        # A pixel of less than half the usual variation is noise that counts less.
        signs /= np.maximum(size, 0.5 * np.median(size)).clip(min=1e-9)
        found: Any = np.linalg.eigh(signs @ signs.T)
        courses: Courses = found.eigenvectors[:, -self.components :]
        return courses


def _leading(fibres: Float64[np.ndarray, "n k m"], rank: int) -> Float64[np.ndarray, "n r"]:
    """An orthonormal basis of what most of the energy along the first axis lies in."""
    vectors = fibres.reshape(len(fibres), -1)
    found: Any = np.linalg.eigh(vectors @ vectors.T)
    basis: Float64[np.ndarray, "n r"] = found.eigenvectors[:, -rank:]
    return basis


def _restored(pictures: Pictures) -> Pictures:
    """What pictures were before their 3×3 means were taken off, as far as that can be told.

    Under the cosine transform the means, of edges that repeat, are a factor.
    """
    height, width = pictures.shape[1:]
    means = [(1 + 2 * np.cos(np.pi * np.arange(n) / n)) / BOX for n in (height, width)]
    left = 1 - np.outer(*means)
    factor = left * (1 + FAINT) / (left**2 + FAINT)
    restored: Pictures = idctn(dctn(pictures, axes=(1, 2)) * factor, axes=(1, 2))
    return restored
