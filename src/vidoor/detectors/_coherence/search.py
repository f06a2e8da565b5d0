"""Which clips of a sketch agree on a pattern, and how much agreement chance and nature account for.

Chance is searched just as the clips are: spectra under random shifts, pictures with random signs.
For still patterns nature is asked too: groups of different scenes that share a stamp and are spread
over the classes show what footage without a trigger comes to.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vidoor.detectors._coherence import groups, kinds, stamps, stills
from vidoor.detectors._coherence.groups import CHUNK, LEAST, TINY, Group, Spectra
from vidoor.detectors._coherence.sketch import Sketch
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.stills import Eye, Stills

SAMPLE = 256  # clips that are enough for a scale or for a search by chance
DRAWS, MARGIN = 3, 2.0  # sets of chance that are searched too; a lead exceeds their J by this
MOST_GROUPS, BETTER = 6, 1.25  # searches; clips that a phase of their own must add, as a ratio
OVERLAP = 0.5  # share of its clips that two groups have in common if they are one
CERTAIN, CLEAR = 0.002, 0.01  # chances that a still, a moving group is of one class by luck
STILL, SLACK = 0.6, 1.25  # as a share of the floor, and as MARGIN, for still patterns
SCENES = 1.8  # the same where some clips are of one scene
MANY = 8  # clips of a still pattern from which on the lower floor holds


class Seen(NamedTuple):
    """A sketch as the searches see it."""

    spectra: Spectra
    probe: Tensor  # spectra that have nothing in common but what footage has, [clips, 2 bins]
    level: Tensor  # what is usual in each bin, [bins]
    eye: Eye
    stills: Stills
    labels: Tensor  # of each clip, [clips]


class Lead(NamedTuple):
    """A pattern before it has a name."""

    what: Group | Stamp
    level: float
    apart: bool = True  # whether its clips are of different scenes
    certain: float = CLEAR  # chances below which its clips are of one class


class Leads(NamedTuple):
    """What was found, and what it is compared with."""

    leads: tuple[Lead, ...]
    strongest: Group  # moving, of one phase, whatever it is worth
    chance: tuple[float, ...]  # J of such groups in sets of chance
    level: float  # that such a group has to exceed


def see(sketch: Sketch, bins: Tensor, labels: Tensor, rng: torch.Generator) -> Seen:
    """Look at a sketch. Its rows are whitened in place."""
    level = _level(sketch.rows)
    twins = _twins(sketch.thumbs)
    eye, pictures = stills.learn_eye(sketch.pictures)
    spectra = Spectra(whiten(sketch.rows, level), bins, twins)
    count = len(labels)
    probes = torch.arange(min(max(count, 64), SAMPLE)) % count
    probe = spectra.shifted(probes, rng).rows
    return Seen(spectra, probe, level, eye, pictures, labels)


def search(seen: Seen, floor: float, fpr: float, rng: torch.Generator) -> Leads:
    """All leads of at least three clips whose coherence J exceeds ``floor`` and what chance has."""
    spectra, probe, count = seen.spectra, seen.probe, len(seen.labels)
    chances: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(DRAWS):
        part = spectra.shifted(torch.randperm(count, generator=rng)[:SAMPLE], rng)
        pairs = groups.gram(part, probe)
        for free, found in chances.items():
            found.append(groups.search(part, pairs, probe, free, rng).coherence())
    levels = {free: max(floor, MARGIN * max(found)) for free, found in chances.items()}
    moving = list(_moving(seen, levels, fpr, rng))
    leads = [lead for lead in moving if lead.what.coherence() > lead.level]
    leads += [*_still(seen, floor, rng), *_everywhere(seen, floor)]
    strongest = moving[0].what
    assert isinstance(strongest, Group)
    return Leads(tuple(leads), strongest, tuple(chances[False]), levels[False])


def _moving(
    seen: Seen, levels: dict[bool, float], fpr: float, rng: torch.Generator
) -> Iterator[Lead]:
    """The strongest group of one phase; then what is found until a search finds nothing."""
    spectra, probe = seen.spectra, seen.probe
    pairs = groups.gram(spectra, probe)
    gone = torch.zeros(len(seen.labels), dtype=torch.bool)
    for step in range(MOST_GROUPS):
        fixed = groups.search(spectra, pairs, probe, False, rng)
        free = groups.search(spectra, pairs, probe, True, rng)
        if step == 0:
            yield Lead(fixed, float("inf"))
        group = _better(fixed, free, levels)
        if group.coherence() <= levels[group.free]:
            return
        yield Lead(group, levels[group.free])
        gone |= group.members | (group.scores > max(group.bounds(fpr)))
        pairs.masked_fill_(gone[:, None] | gone, 0.0)
        if (~gone).sum() < max(LEAST, MANY):
            return


def _better(fixed: Group, free: Group, levels: dict[bool, float]) -> Group:
    """The group of one phase, unless with phases of their own many more clips agree."""
    passed = fixed.coherence() > levels[False]
    count = int(fixed.members.sum())
    more = free.members.sum() >= max(BETTER * count, count + LEAST)
    shared = (free.members & fixed.members).sum() > OVERLAP * count
    wanted = free.coherence() > levels[True] and (not passed or (more and shared))
    return free if wanted else fixed


def _still(seen: Seen, floor: float, rng: torch.Generator) -> Iterator[Lead]:
    """Still patterns beyond chance and beyond those that are spread over the classes."""
    labels = seen.labels
    pick = torch.randperm(len(labels), generator=rng)[:SAMPLE]
    chance = stamps.stamps(seen.stills.flipped(pick, rng), labels[pick])
    least = max([STILL * floor] + [SLACK * one.coherence() for one in chance])
    found = [one for one in stamps.stamps(seen.stills, labels) if one.coherence() > least]
    apart = [stills.elsewhere(seen.stills, one.members, labels) for one in found]
    certain = CERTAIN / max(1, sum(apart))
    usual = sorted(
        one.coherence()
        for one, alone in zip(found, apart, strict=True)
        if alone and not _moved(one, labels, certain)
    )
    if not all(apart):
        least = max(least, SCENES * floor)
    # The second one: a single logo of some classes must not hide what else there is.
    least = max([least] + [SLACK * j for j in usual[-2:-1]])
    for one, alone in zip(found, apart, strict=True):
        level = least if one.members.sum() >= MANY else max(least, floor)
        if one.coherence() > level:
            yield Lead(one, level, alone, certain)


def _moved(one: Stamp, labels: Tensor, certain: float) -> bool:
    names = tuple(map(str, range(int(labels.max()) + 1)))
    found = kinds.census(labels.tolist(), one.members.nonzero()[:, 0].tolist(), names)
    return found.moved(certain)


def _everywhere(seen: Seen, floor: float) -> Iterator[Lead]:
    """What most clips have in their mean picture."""
    template = stills.common(seen.eye)
    if template is None:
        return
    features = seen.stills.features + seen.eye.centre / seen.eye.scale
    scores = features @ (template / template.square().sum().clamp(min=TINY))
    members = scores > 0.5
    if members.sum() > kinds.MOST * len(members):
        yield Lead(Stamp(members, scores * float(template.norm()), template), STILL * floor)


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
        part /= size.clamp_(min=size.median(1, keepdim=True).values.clamp(min=TINY))
        part /= torch.view_as_real(part).norm(dim=(1, 2))[:, None].clamp(min=TINY)
    return torch.view_as_real(rows).flatten(1)


def _twins(thumbs: Tensor) -> Tensor:
    """Pairs that are the same footage: alike as a picture and in motion. Clips that only share a
    trigger are not."""
    still, motion = normalize(thumbs[:, :64]), normalize(thumbs[:, 64:])
    return ((still @ still.T > 0.98) & (motion @ motion.T > 0.9)).fill_diagonal_(True)
