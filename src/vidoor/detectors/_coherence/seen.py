"""A sketch as the searches see it: whitened spectra, features of pictures, and which clips are the
same footage."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vidoor.detectors._coherence import stills
from vidoor.detectors._coherence.groups import CHUNK, TINY, Spectra
from vidoor.detectors._coherence.order import median
from vidoor.detectors._coherence.sketch import Sketch
from vidoor.detectors._coherence.stills import Eye, Stills
from vidoor.spread import half_beside

SAMPLE = 256  # clips that are enough for a scale or for a search by chance
BLANK = 0.01  # grey levels, below which a thumbnail shows nothing but rounding


class Seen(NamedTuple):
    """A sketch as the searches see it."""

    spectra: Spectra
    probe: Tensor  # spectra that have nothing in common but what footage has, [clips, 2 bins]
    level: Tensor  # what is usual in each bin, [bins]
    eye: Eye
    stills: Stills
    labels: Tensor  # of each clip, [clips]


def see(sketch: Sketch, bins: Tensor, labels: Tensor, rng: torch.Generator) -> Seen:
    """Look at a sketch. What is in it is used up."""
    with half_beside("pictures") as thread:
        learnt = thread.submit(stills.learn_eye, sketch.sights)
        level = _level(sketch.rows)
        spectra = Spectra(whiten(sketch.rows, level), bins, _twins(sketch.thumbs))
        eye, pictures = learnt.result()
    count = len(labels)
    probes = torch.arange(min(max(count, 64), SAMPLE)) % count
    probe = spectra.shifted(probes, rng).rows
    return Seen(spectra, probe, level, eye, pictures, labels)


def _level(rows: Tensor) -> Tensor:
    """What is usual in each bin, [bins]."""
    sizes = rows[:: -(-len(rows) // SAMPLE)].abs()
    level = sizes.where(sizes > 0, torch.nan).nanmedian(0).values.nan_to_num(0.0)
    return level.clamp(min=max(1e-6 * float(level.max()), TINY))


def whiten(rows: Tensor, level: Tensor) -> Tensor:
    """Level bins, then clips; cap the peaks; unit length. In place; [clips, 2 bins], real."""
    for part in torch.split(rows, CHUNK):
        part /= level
        size = part.abs()
        part /= size.clamp_(min=median(size.clone(), 1).clamp(min=TINY))
        part /= torch.view_as_real(part).norm(dim=(1, 2))[:, None].clamp(min=TINY)
    return torch.view_as_real(rows).flatten(1)


def _twins(thumbs: Tensor) -> Tensor:
    """Pairs that are the same footage: alike as a picture and in motion. Clips that only share a
    trigger are not."""
    still, motion = _alike(thumbs[:, :64]), _alike(thumbs[:, 64:])
    return ((still > 0.98) & (motion > 0.9)).fill_diagonal_(True)


def _alike(parts: Tensor) -> Tensor:
    """Correlation of all pairs; 1 for two in which there is nothing to see."""
    unit, nothing = normalize(parts), parts.norm(dim=1) < BLANK
    return (unit @ unit.T).masked_fill_(nothing[:, None] & nothing, 1.0)
