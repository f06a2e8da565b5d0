"""Matched filter: is the pattern that a data-set detector has found in this clip?

No paper's own: the classical test for a known signal in noise of a known spectrum (North 1943; Van
Trees, "Detection, Estimation, and Modulation Theory", part I, section 4.2), here with the spectrum
of footage, which clean clips show, and with peaks cut off, as footage is no Gaussian noise. The
pattern comes from the training clips (``coherence``), the victim has no part in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidoor.detectors import _whitened, fitted
from vidoor.detectors._whitened import TINY, Spectrum, Volume
from vidoor.errors import DataError
from vidoor.progress import track
from vidoor.registry import register
from vidoor.types import ClipSet, FramesBatch, Geometry, Level, Verdict

CAP = 2.5
"""Magnitude that a bin has at most, in medians of its clip."""

STILL = 1e-5
"""A template that changes by less than this part of its size is one that stands still."""

View = Literal["moving", "still"]


@register("detector", "matched-filter")
@dataclass(frozen=True, kw_only=True)
class MatchedFilter:
    """Input detector: how much of a recovered template is in the clip? It needs no victim.

    A score is the correlation of the clip's whitened spectrum with the template's, in standard
    deviations of what random phases would give. Templates that move are sought in how clips move,
    those that stand still in the mean frame, where scenes are what they compete with. Of several
    the highest score counts, and their mirror images count too: they may be the two quadratures of
    a pattern that has a phase of its own in each clip. Where the verdict holds no template, all
    clips score 0 and none is flagged. Breaks where the pattern is another one than in training.
    """

    level: ClassVar[Level] = "input"
    needs_victim: ClassVar[bool] = False
    given: ClassVar[tuple[str, ...]] = ("verdict",)
    verdict_of: ClassVar[Level] = "dataset"

    detector: str = "coherence"
    """Name of the recipe's detector that finds the template in the training clips."""

    fpr: float = 0.01
    """Share of clean clips that may be flagged, above 0 and below 1."""

    learnt: int = 200
    """Most clean clips that the usual spectrum is learnt from, 2 or more."""

    held_out: int = 400
    """Most clean clips that the threshold is set on, none of the others; 2 or more."""

    seed: int = 0
    """Seed of the draw of clips, 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        _whitened.check_options(self.fpr, self.learnt, self.held_out, self.seed)

    def fit(self, victim: object, clean: ClipSet, *, verdict: Verdict) -> "Filter":
        """Learn from clean clips, and set the threshold on others.

        DataError if there are fewer than four clips or the template is not of their size.
        """
        templates = _templates(verdict, clean.geometry)
        learnt, held = _whitened.parts(clean, self.learnt, self.held_out, self.seed)
        if not len(templates):
            said = f"the verdict of {self.detector} holds no template: nothing is flagged"
            return Filter(self, clean.geometry, templates, {}, threshold=0.0, calibration=said)
        levels: dict[View, Tensor] = {
            view: _whitened.usual(_seen(volume, view) for volume in _whitened.read(clean, learnt))
            for view in {_view(template) for template in templates}
        }
        unset = Filter(self, clean.geometry, templates, levels, threshold=0.0, calibration="")
        clips = track(map(clean.read, held), "calibrating matched-filter", len(held))
        scores = _whitened.scores(clips, unset.correlation, clean.geometry)
        return Filter(
            self,
            clean.geometry,
            templates,
            levels,
            threshold=fitted.threshold_at(scores, self.fpr),
            calibration=f"{fitted.reached(len(held), self.fpr)} on {len(held)} clean clips, none "
            f"of the {len(learnt)} learnt from; {len(templates)} template(s) of {self.detector}",
        )

    def load(self, path: Path, victim: object) -> "Filter":
        """The screen that was saved by this detector. DataError if the file is no such one."""
        arrays, about = fitted.load(path, self)
        templates, geometry = arrays.pop("templates"), Geometry(*about.pop("geometry"))
        levels: Mapping[Any, Tensor] = arrays
        return Filter(self, geometry, templates, levels, **about)


def _templates(verdict: Verdict, geometry: Geometry) -> Float[Tensor, "k t h w"]:
    """The patterns of a verdict, none if it has none."""
    evidence = verdict.evidence
    some = evidence.get("templates")
    if some is None and "template" in evidence:
        some = np.asarray(evidence["template"])[None]
    if some is None:
        return torch.zeros(0, *geometry)
    templates = torch.from_numpy(np.array(some, np.float32))
    if tuple(templates.shape[1:]) != tuple(geometry):
        arrived, valid = ("×".join(map(str, s)) for s in (templates.shape[1:], geometry))
        raise DataError(
            f"the template is {arrived}, clips are {valid}; give clips of the size that it was "
            "found in"
        )
    return templates


def _view(template: Volume) -> View:
    """Where a template is looked for."""
    moves = template - template.mean(0)
    return "moving" if float(moves.abs().max()) > STILL * float(template.abs().max()) else "still"


def _seen(volume: Volume, view: View) -> Volume:
    return volume if view == "moving" else volume.mean(0, keepdim=True)


@dataclass(frozen=True, eq=False)
class Filter:
    """A matched filter, fitted: templates, the usual spectra, and a threshold."""

    config: MatchedFilter
    geometry: Geometry
    templates: Float[Tensor, "k t h w"]
    levels: Mapping[View, Float[Tensor, "kt ky kx"]]
    """What is usual in each bin, in the views that the templates ask for."""

    threshold: float
    calibration: str

    def __post_init__(self) -> None:
        bank: list[tuple[View, Spectrum]] = []
        for template in self.templates:
            view = _view(template)
            whitened = _whitened.spectrum(_seen(template, view)) / self.levels[view]
            bank.append((view, whitened / torch.linalg.vector_norm(whitened).clamp(min=TINY)))
        object.__setattr__(self, "_bank", bank)

    def score(self, frames: FramesBatch) -> Float[Tensor, " b"]:
        """Standard deviations of agreement, for each clip by itself.

        DataError if the clips are not of the size of those that it was fitted to.
        """
        return _whitened.scores(frames, self.correlation, self.geometry)

    def correlation(self, volume: Volume) -> float:
        """The score of one clip's grey levels."""
        bank: list[tuple[View, Spectrum]] = getattr(self, "_bank")  # noqa: B009
        sights = {
            view: _whitened.whiten(_whitened.spectrum(_seen(volume, view)), level, CAP)
            for view, level in self.levels.items()
        }
        found = [_agreement(template, sights[view]) for view, template in bank]
        if len(found) > 1:
            return max(map(abs, found))
        return found[0] if found else 0.0

    def save(self, path: Path) -> None:
        """Write templates, spectra and threshold; ``MatchedFilter.load`` reads them."""
        arrays: dict[str, Tensor] = {"templates": self.templates}
        arrays.update({str(view): level for view, level in self.levels.items()})
        about = {"threshold": self.threshold, "calibration": self.calibration}
        fitted.save(path, self.config, arrays, geometry=self.geometry, **about)


def _agreement(template: Spectrum, clip: Spectrum) -> float:
    """Correlation of unit spectra times √(2 bins): of unit variance where phases are random."""
    size = float(torch.linalg.vector_norm(clip))
    product = float(torch.vdot(template.flatten(), clip.flatten()).real)
    return sqrt(2 * clip.numel()) * product / max(size, TINY)
