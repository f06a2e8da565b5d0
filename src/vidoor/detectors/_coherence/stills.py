"""Mean pictures of clips as the search for still patterns sees them.

A picture is seen twice, as high-passed pixels and as whitened cosine coefficients, so what is small
in space or in frequency is sparse in one of the two views.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from vidoor.detectors._coherence.groups import CHUNK, MAD, TINY
from vidoor.detectors._coherence.order import median

BOX = 5  # side of the box whose mean is subtracted, pixels
CAP = 6.0, 10.0  # deviations at which pixels and coefficients are cut off
PICKED = 256  # clips for scales
LEVEL = 0.3  # least deviation of a feature over clips, in those of a clip
SURE = 4.0  # deviations by which a feature sets clips apart
COMMON = 1.5  # deviations by which what most clips have stands out


View = tuple[bool, bool]
"""Coefficients or pixels, colour or luminance."""
VIEWS: tuple[View, ...] = ((False, False), (True, False), (False, True), (True, True))


class Eye(NamedTuple):
    """What makes features of pictures: levels that were learnt once."""

    level: Tensor  # of each coefficient, [3, h, w]
    centre: Tensor  # of each feature, [6 h w]
    scale: Tensor

    def features(self, sights: Tensor) -> Tensor:
        """Pixels, then coefficients, in deviations, [clips, 6 h w], of ``sights``."""
        return _views(sights, self.level).sub_(self.centre).div_(self.scale)


@dataclass(frozen=True)
class Stills:
    """The pictures of a sample as the search sees them."""

    features: Tensor
    """[clips, 6 h w]: pixels and coefficients of luminance and colour differences."""
    size: tuple[int, int]

    @cached_property
    def columns(self) -> Tensor:
        """The same, [6 h w, clips]: what asks for few features reads these alone."""
        return self.features.T.contiguous()

    def bounded(self, spectral: bool, colour: bool) -> Tensor:
        """Features without peaks, in one view, of luminance or of the two others."""
        return bounded(self.features[:, self.span(spectral, colour)])

    def span(self, spectral: bool, colour: bool) -> slice:
        """Which features are those of one view, of luminance or of the two others."""
        area = self.size[0] * self.size[1]
        first = (3 if spectral else 0) * area + (area if colour else 0)
        return slice(first, first + (2 if colour else 1) * area)

    def place(self, members: Tensor, template: Tensor) -> tuple[Tensor, float]:
        """Where what the members share is, energy [h, w], and how fine it is: mean frequency, 0 to
        1. It is what sets them apart from the others, or, where they are most clips, the
        ``template``."""
        if 2 * members.sum() <= len(members):
            many, inside = members.sum(), self.features[members].sum(0)
            rest = self.features.sum(0) - inside
            apart = inside / many - rest / (len(members) - many)
            sure = apart.abs() * many.sqrt() > SURE
            template = torch.where(sure, apart, 0.0) if sure.any() else template
        fine, waves = template.view(2, 3, *self.size).square().sum(1)
        h, w = (torch.arange(n) / n for n in self.size)
        radius = torch.maximum(h[:, None], w)
        return fine, float((radius * waves).sum() / waves.sum().clamp(min=TINY))

    def flipped(self, pick: Tensor, rng: torch.Generator) -> "Stills":
        """The clips ``pick`` with random signs: as strong, but agreeing on nothing."""
        part = self.features[pick]
        signs = torch.randint(0, 2, part.shape, generator=rng, dtype=torch.int8).mul_(2).sub_(1)
        return replace(self, features=part * signs)


def bounded(features: Tensor) -> Tensor:
    """Without peaks: all count alike."""
    return features.clamp(-1, 1)


def sight(picture: Tensor) -> Tensor:
    """A picture, grey levels [3, h, w], as fine pixels in deviations of its own, peaks cut off, and
    as cosine coefficients, [6, h, w]."""
    edge = pad(picture[None], (BOX // 2,) * 4, mode="reflect")[0]
    fine = picture - avg_pool2d(edge, BOX, 1)
    fine /= MAD * median(fine.abs().flatten(1), 1).clamp(min=0.05)[..., None]
    return torch.cat([fine.clamp_(-CAP[0], CAP[0]), _cosine(picture)])


def learn_eye(sights: Tensor) -> tuple[Eye, Stills]:
    """An eye for pictures like these, whose ``sights`` are [clips, 6, h, w], and what it sees of
    them. In place."""
    size = sights.shape[2], sights.shape[3]
    some = sights[:: -(-len(sights) // PICKED), 3:]
    level = (MAD * median(some.abs(), 0)[0]).clamp(min=0.02)
    for part in sights.split(CHUNK):
        part.copy_(_views(part, level).view_as(part))
    views = sights.flatten(1)
    centre = median(views.clone(), 0)[0]
    scale = (views[:: -(-len(views) // PICKED)] - centre).square().mean(0).sqrt()
    scale.clamp_(min=LEVEL)
    return Eye(level, centre, scale), Stills(views.sub_(centre).div_(scale), size)


def common(eye: Eye, least: int = 4) -> Tensor | None:
    """What more than half of the clips have in their features, [6 h w]; None where nothing."""
    strength = eye.centre / eye.scale
    return strength if int((strength.abs() > COMMON).sum()) >= least else None


def _views(sights: Tensor, level: Tensor) -> Tensor:
    """Pixels and coefficients, each in deviations of its clip, peaks cut off, [clips, 6 h w]."""
    waves = sights[:, 3:] / level
    band = _bands(sights.shape[2], sights.shape[3])
    for one in band.unique():
        at = band == one
        part = waves[:, :, at]
        deviation = MAD * median(part.abs(), 2).clamp(min=0.05)
        waves[:, :, at] = part / deviation
    waves[:, :, :2, :2] = 0.0
    return torch.cat([sights[:, :3], waves.clamp_(-CAP[1], CAP[1])], 1).flatten(1)


def _cosine(picture: Tensor) -> Tensor:
    """Orthonormal DCT-II along rows and columns."""
    rows, columns = (_basis(n) for n in picture.shape[1:])
    return rows @ picture @ columns.T


@lru_cache(maxsize=4)
def _basis(n: int) -> Tensor:
    waves = torch.cos(pi / n * torch.arange(n)[:, None] * (torch.arange(n) + 0.5)) * sqrt(2 / n)
    waves[0] /= sqrt(2)
    return waves


@lru_cache(maxsize=4)
def _bands(h: int, w: int) -> Tensor:
    """Half an octave of radial frequency that a coefficient belongs to, int [h, w]."""
    radius = torch.hypot(torch.arange(h)[:, None] / h, torch.arange(w)[None] / w) * max(h, w)
    return (2 * torch.log2(radius.clamp(min=1))).floor().long()
