"""Which clips of a sketch agree on a pattern, and how much agreement chance and nature account for.

Chance is searched just as the clips are: spectra under random shifts, pictures with random signs.
For still patterns nature is asked too: groups of different scenes that share a stamp and are spread
over the classes show what footage without a trigger comes to.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vidoor.detectors._coherence import groups, kinds, scenes, stamps, stills
from vidoor.detectors._coherence.groups import CHUNK, LEAST, TINY, Group, Spectra, View
from vidoor.detectors._coherence.order import median
from vidoor.detectors._coherence.scenes import Alike
from vidoor.detectors._coherence.sketch import Sketch
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.stills import Eye, Stills

SAMPLE = 256  # clips that are enough for a scale or for a search by chance
DRAWS, MARGIN = 3, 2.0  # sets of chance that are searched too; a lead exceeds their J by this
MOST_GROUPS, BETTER = 6, 1.25  # searches; clips that a phase of their own must add, as a ratio
CERTAIN, CLEAR = 0.005, 0.01  # chances that a still, a moving group is of one class by luck
STILL, SLACK = 0.6, 1.25  # as a share of the floor, and as MARGIN, for still patterns
SCENES = 2.7  # the same beside clips of one scene, at most; less where these agree less
BLANK = 0.01  # grey levels, below which a thumbnail shows nothing but rounding
INSIDE = 0.8  # share of the clips of a group that is part of another
MANY, SOME = 8, 4  # clips from which on the lower floor holds, and where they are clearly apart


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
    sure: bool = False  # whether its clips are known by more than how much of it they have


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
    """All leads of at least three clips whose coherence J exceeds ``floor`` and what chance has.
    What stands still is sought in a thread of its own, with chance of its own."""
    other = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=rng)))
    with ThreadPoolExecutor(1) as thread:
        standing = thread.submit(lambda: [*_still(seen, floor, other), *_everywhere(seen, floor)])
        found = _going(seen, floor, fpr, rng)
        return found._replace(leads=(*found.leads, *standing.result()))


def _going(seen: Seen, floor: float, fpr: float, rng: torch.Generator) -> Leads:
    """Those that move."""
    spectra, probe, count = seen.spectra, seen.probe, len(seen.labels)
    chances: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(DRAWS):
        pick = torch.randperm(count, generator=rng)[:SAMPLE]
        part = spectra.shifted(pick, rng)
        view = View(groups.gram(part, probe), probe, seen.labels[pick])
        for free, found in chances.items():
            found.append(groups.search(part, view, free, rng).coherence())
    levels = {free: max(floor, MARGIN * max(found)) for free, found in chances.items()}
    pairs = groups.gram(spectra, probe)
    one_phase, own_phases = (
        list(_moving(spectra, View(pairs.clone(), probe, seen.labels), kind, level, fpr, rng))
        for kind, level in levels.items()
    )
    leads = [Lead(one, levels[one.free]) for one in _either(one_phase, own_phases)]
    leads = [lead for lead in leads if lead.what.coherence() > lead.level]
    return Leads(tuple(leads), one_phase[0], tuple(chances[False]), levels[False])


def _either(fixed: list[Group], free: list[Group]) -> Iterator[Group]:
    """All groups, but of two of mostly the same clips the one with a phase for each clip if it has
    many more clips, else the other."""
    for one in free:
        same = [other for other in fixed if groups.shared(one.members, other.members) > groups.SAME]
        if all(one.members.sum() >= BETTER * other.members.sum() for other in same):
            yield one
            fixed = [other for other in fixed if not any(other is each for each in same)]
    yield from fixed


def _moving(
    spectra: Spectra, view: View, free: bool, level: float, fpr: float, rng: torch.Generator
) -> Iterator[Group]:
    """The strongest group, whatever it is worth; then what is found until a search finds nothing.
    The pairs of the clips found are taken out of the ``view``."""
    gone = torch.zeros(len(view.labels), dtype=torch.bool)
    for _ in range(MOST_GROUPS):
        group = groups.search(spectra, view, free, rng)
        yield group
        gone |= group.members | (group.scores > max(group.bounds(fpr)))
        if group.coherence() <= level or (~gone).sum() < max(LEAST, MANY):
            return
        view.pairs.masked_fill_(gone[:, None] | gone, 0.0)


def _still(seen: Seen, floor: float, rng: torch.Generator) -> Iterator[Lead]:
    """Still patterns beyond chance and beyond those that are spread over the classes. Clips that
    are clearly of no scene need not outdo scenes, and of what is spread that alone which is as
    clear."""
    labels = seen.labels
    pick = torch.randperm(len(labels), generator=rng)[:SAMPLE]
    chance = stamps.stamps(seen.stills.flipped(pick, rng), labels[pick])
    low = STILL * floor
    least = max([low] + [SLACK * one.coherence() for one in chance])
    found = _distinct(_stamps(seen.stills, labels, low))
    found = [one for one in found if one.clear or one.what.coherence() > least]
    certain = CERTAIN / max(1, sum(one.apart for one in found))
    usual = [one for one in found if one.apart and not _moved(one.what, labels, certain)]
    same = [one.what.coherence() for one in found if not one.apart]
    bars = {
        True: max([low, *_second(one for one in usual if one.clear)]),
        False: max([least, *(min(SCENES * floor, SLACK * j) for j in same), *_second(usual)]),
    }
    passed = []
    for one in found:
        bar, many = bars[one.clear], SOME if one.clear else MANY
        level = bar if one.what.members.sum() >= many else max(bar, floor)
        if one.what.coherence() > level:
            passed.append((one, level))
    certain = CERTAIN / max(1, sum(one.apart for one, _ in passed))
    yield from (Lead(one.what, level, one.apart, certain, one.clear) for one, level in passed)


class _Still(NamedTuple):
    """A stamp, and how its clips are alike beside it."""

    what: Stamp
    apart: bool  # whether they are of different scenes
    clear: bool  # and clearly so


def _stamps(seen: Stills, labels: Tensor, least: float) -> Iterator[_Still]:
    """The stamps whose coherence is above ``least``, each of all clips that have it."""
    views, known = scenes.scenes(seen), list[Alike]()
    for one in stamps.stamps(seen, labels):
        if one.coherence() > least:
            alike = scenes.sharpened(seen, views, one.members)
            if not any(alike.members.equal(each.members) for each in known):
                known.append(alike)
    fitted = stamps.fits(seen.features, [each.members for each in known])
    for what, alike in zip(fitted, known, strict=True):
        apart = scenes.elsewhere(alike, views, labels)
        yield _Still(what, apart, apart and alike.agreement().clear)


def _distinct(found: Iterable[_Still]) -> list[_Still]:
    """No two of mostly the same clips: the clearest of them, then the most coherent. Where clips
    are clearly of no scene, part of a group is no other group: a logo is seen best in dark ones."""
    chosen = list[_Still]()
    for one in sorted(found, key=lambda one: (not one.clear, -one.what.coherence())):
        if not any(_same(one, each) for each in chosen):
            chosen.append(one)
    return chosen


def _same(one: _Still, other: _Still) -> bool:
    mine, others = one.what.members, other.what.members
    both = int((mine & others).sum())
    part = one.clear and other.clear and both > INSIDE * min(int(mine.sum()), int(others.sum()))
    return part or groups.shared(mine, others) > groups.SAME


def _second(spread: Iterable[_Still]) -> list[float]:
    """A bar by the second one: a single logo of some classes must not hide what else there is."""
    return [SLACK * j for j in sorted(one.what.coherence() for one in spread)[-2:-1]]


def _moved(one: Stamp, labels: Tensor, certain: float) -> bool:
    """Whether all its clips were; one trigger that is taken for a usual pattern raises no bar."""
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
        part /= size.clamp_(min=median(size, 1).clamp(min=TINY))
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
