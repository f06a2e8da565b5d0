"""In-clip: is there a separable pattern in this clip? Asked of the clip alone.

No paper's own. A trigger that adds chosen components of a separable basis is a ⊗ b ⊗ c, or the real
part of it: a few courses in time, times pictures of a few rows and columns. Footage whose spectrum
is whitened has no such part. Its best approximation of low multilinear rank is the higher-order
orthogonal iteration (De Lathauwer, De Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21, 2000).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor
from torch.fft import irfftn

from vidoor.detectors import _whitened, fitted
from vidoor.detectors._whitened import TINY, Volume
from vidoor.progress import track
from vidoor.registry import register
from vidoor.types import ClipSet, FramesBatch, Geometry, Level

CAP = 2.5  # medians of a clip's whitened spectrum that a bin has at most
BOUND = 0.4  # standard deviations, likewise of pixels: nearly their signs
RANKS = 5, 3, 3  # of the approximation along t, y, x; complex patterns have 2, motion takes some
NEAR, EXCESS = 7, 8.0  # bins: the neighbourhood that a bin is compared with; the most that counts
HIGH = 0.9  # the quantile of clean clips that is 1, in the units of scores


@register("detector", "in-clip")
@dataclass(frozen=True, kw_only=True)
class InClip:
    """Input detector: does the clip hold a pattern of few courses, rows and columns? No victim.

    The clip's whitened spectrum is turned back to pixels, and these are cut off near their signs.
    ``share``: how much of the energy is of low rank along t, y and x. ``crossing``: do the courses
    in time that this approximation has found have pictures whose spectra stand out where a few rows
    meet a few columns, as chosen components do? The score is the mean of both, each in units of how
    clean clips of the same source spread. Breaks where the pattern is weaker than
    what noise has by chance: amplitude · √(T·H·W) has to be several times √T + √H + √W standard
    deviations of the whitened noise, so small clips need stronger patterns than large ones.
    """

    level: ClassVar[Level] = "input"
    needs_victim: ClassVar[bool] = False

    fpr: float = 0.01
    """Share of clean clips that may be flagged, above 0 and below 1."""

    learnt: int = 200
    """Most clean clips that the usual spectrum and the spreads are learnt from, 2 or more."""

    held_out: int = 400
    """Most clean clips that the threshold is set on, none of the others; 2 or more."""

    seed: int = 0
    """Seed of the draw of clips, 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        _whitened.check_options(self.fpr, self.learnt, self.held_out, self.seed)

    def fit(self, victim: object, clean: ClipSet) -> "Alone":
        """Learn from clean clips, and set the threshold on others.

        DataError if there are fewer than four clips.
        """
        learnt, held = _whitened.parts(clean, self.learnt, self.held_out, self.seed)
        level = _whitened.usual(_whitened.read(clean, learnt))
        seen = [statistics(volume, level) for volume in _whitened.read(clean, learnt)]
        shown = torch.tensor(seen, dtype=torch.float64)
        usual = shown.median(0).values
        spread = (shown.quantile(HIGH, 0) - usual).clamp(min=TINY)
        unset = Alone(self, clean.geometry, level, usual, spread, threshold=0.0, calibration="")
        clips = track(map(clean.read, held), "calibrating in-clip", len(held))
        scores = _whitened.scores(clips, unset.excess, clean.geometry)
        return Alone(
            self,
            clean.geometry,
            level,
            usual,
            spread,
            threshold=fitted.threshold_at(scores, self.fpr),
            calibration=f"{fitted.reached(len(held), self.fpr)} on {len(held)} clean clips, none "
            f"of the {len(learnt)} learnt from",
        )

    def load(self, path: Path, victim: object) -> "Alone":
        """The screen that was saved by this detector. DataError if the file is no such one."""
        arrays, about = fitted.load(path, self)
        geometry, shown = Geometry(*about.pop("geometry")), (arrays["usual"], arrays["spread"])
        return Alone(self, geometry, arrays["level"], *shown, **about)


class Shown(NamedTuple):
    """What a clip shows of a separable pattern."""

    share: float
    """Of the energy, what is of low rank along all axes, 0 to 1."""

    crossing: float
    """First singular value of the excess of the spectrum, over the middle one; 0 if there is
    none."""


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """The test of one clip, fitted to a source: its usual spectrum, spreads and a threshold."""

    config: InClip
    geometry: Geometry
    level: Float[Tensor, "kt ky kx"]
    usual: Float[Tensor, " 2"]
    """Both statistics of a typical clean clip."""

    spread: Float[Tensor, " 2"]
    """How far above that one in ten clean clips comes."""

    threshold: float
    calibration: str

    def score(self, frames: FramesBatch) -> Float[Tensor, " b"]:
        """Spreads above a typical clean clip, for each clip by itself.

        DataError if the clips are not of the size of those that it was fitted to.
        """
        return _whitened.scores(frames, self.excess, self.geometry)

    def excess(self, volume: Volume) -> float:
        """The score of one clip's grey levels."""
        shown = torch.tensor(statistics(volume, self.level), dtype=torch.float64)
        return float(((shown - self.usual) / self.spread).mean())

    def save(self, path: Path) -> None:
        """Write spectrum, spreads and threshold; ``InClip.load`` reads them."""
        arrays = {"level": self.level, "usual": self.usual, "spread": self.spread}
        about = {"threshold": self.threshold, "calibration": self.calibration}
        fitted.save(path, self.config, arrays, geometry=self.geometry, **about)


def statistics(volume: Volume, level: Float[Tensor, "kt ky kx"]) -> Shown:
    """Both statistics of a clip's grey levels; 0 of one that has no detail."""
    sizes = [max(1, length - 1) for length in volume.shape]
    seen = irfftn(_whitened.whiten(_whitened.spectrum(volume), level, CAP), s=sizes)
    bound = max(BOUND * 1.4826 * float(seen.abs().median()), TINY)
    seen = seen.clamp(-bound, bound) / bound
    courses, core = low_rank(seen, RANKS)
    share = core / max(float(seen.square().sum()), TINY)
    return Shown(share, _crossing(torch.tensordot(courses, seen, ([0], [0])).numpy()))


def low_rank(volume: Volume, ranks: tuple[int, int, int]) -> tuple[Float[Tensor, "t k"], float]:
    """Courses in time and energy of what is of these ``ranks`` (or all there is): one step of the
    higher-order orthogonal iteration from the truncated higher-order SVD."""
    bases = [_leading(_unfold(volume, axis), rank) for axis, rank in enumerate(ranks)]
    energy = 0.0
    for axis, rank in enumerate(ranks):
        part = volume
        for other in range(3):
            if other != axis:
                product = torch.tensordot(bases[other], part, ([0], [other]))
                part = product.movedim(0, other)
        vectors, sizes, _ = torch.linalg.svd(_unfold(part, axis), full_matrices=False)
        bases[axis], energy = vectors[:, :rank], float(sizes[:rank].square().sum())
    return bases[0], energy


def _unfold(volume: Tensor, axis: int) -> Float[Tensor, "n m"]:
    return volume.movedim(axis, 0).flatten(1)


def _leading(fibres: Float[Tensor, "n m"], rank: int) -> Float[Tensor, "n k"]:
    """An orthonormal basis of what most of the energy along the first axis lies in."""
    vectors: Tensor = torch.linalg.eigh(fibres @ fibres.T).eigenvectors
    return vectors[:, -rank:]


def _crossing(pictures: NDArray[np.float32]) -> float:
    """Do the spectra of pictures stand out where rows and columns of a few indices meet?"""
    power = np.square(np.abs(np.fft.rfft2(pictures))).sum(0)
    near = median_filter(power, size=NEAR, mode="nearest")
    excess = np.clip(power / np.maximum(near, TINY) - 1, -1, EXCESS)
    sizes = np.linalg.svd(excess - excess.mean(), compute_uv=False)
    middle = float(sizes[len(sizes) // 2])
    return float(sizes[0]) / middle if middle > TINY else 0.0
