"""What a pattern is, who carries it, and what it looks like: from leads to evidence."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from math import ceil, inf
from typing import Any, NamedTuple

import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.fft import irfftn
from torch.nn.functional import pad

from vidoor.detectors._coherence import kinds
from vidoor.detectors._coherence.groups import SAME, TINY, Group
from vidoor.detectors._coherence.leads import Lead
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.stills import Stills
from vidoor.detectors._coherence.views import luminance, moving, sizes
from vidoor.types import ClipSet

SHOWN = 32  # clips that a template is made of
DOUBT = 0.01  # chances that a clean clip of a trigger's class is listed, at most
ENOUGH = 1.5  # thresholds that each of several patterns of one trigger counts for, at most
STRANGERS = 2.0  # as many as chance accounts for may be beside clips that are clearly alike
BELOW = 1 - 1e-5  # of a threshold: less, however it is rounded


class Found(NamedTuple):
    """One pattern: the evidence, and what scores clips by it."""

    what: Group | Stamp
    kind: str
    why: str
    target: str | None
    level: float
    threshold: float
    members: list[int]
    scores: Tensor  # of all clips
    volumes: Tensor | None  # the patterns of a trigger, grey levels, [1 to 3, T, H, W]
    phases: tuple[str, ...]  # of each of them: "fixed", or "free" in each clip

    @property
    def trigger(self) -> bool:
        """Whether it is one."""
        return self.kind == "trigger"

    def row(self, suspects: ClipSet) -> dict[str, Any]:
        """The finding in words and numbers."""
        labels = Counter(suspects.labels[i] for i in self.members)
        group = isinstance(self.what, Group)
        return {
            "kind": self.kind,
            "why": self.why,
            "J": self.what.coherence(),
            "level": self.level,
            "members": [suspects.ids[i] for i in self.members],
            "classes": {suspects.classes[c]: k for c, k in sorted(labels.items())},
            "target": self.target,
            "phase": _phase(self.what),
            "moves": group,
        }


def name(
    lead: Lead, scores: Tensor, inside: list[int], suspects: ClipSet, stills: Stills, fpr: float
) -> Found:
    """Say what a lead is, from the ``scores`` of all clips; ``inside`` are those that it is made
    of."""
    what = lead.what
    threshold = max(what.bounds(fpr))
    members = ranked(scores, _above(scores, threshold) or inside)
    everyone = census = _census(lead, members, suspects)
    if lead.clear:
        witnesses = ranked(scores, _witnesses(scores, members, inside, fpr))
        census = _census(lead, witnesses, suspects)
    if census.moved(lead.certain):
        # No score that is above all of theirs is chance.
        others = ~_in_class(suspects, suspects.classes.index(census.target))
        threshold = _relaxed(what, scores[others], fpr, 0.0)
        members = ranked(scores, _above(scores, threshold) or inside)
        everyone = _census(lead, members, suspects)
        census = census if lead.clear else everyone
    if isinstance(what, Group):
        # Clips are read again for it, so only where it is looked at: not of common motion.
        pattern: Callable[[], Tensor] = cache(
            partial(_patterns, suspects, scores, members, what.free)
        )
        kind, why, sent = kinds.moving(census, lambda: _energy(pattern()), lead.certain, what.free)
    else:
        pattern = partial(_sheet, suspects, scores, members)
        energy, fineness = stills.place(what.members, what.template)
        kind, why, sent = kinds.still(census, energy, fineness, lead.apart, lead.certain)
    volumes = pattern() if kind == "trigger" else None
    phases = () if volumes is None else (_phase(what),) * len(volumes)
    found = Found(what, kind, why, sent, lead.level, threshold, members, scores, volumes, phases)
    if volumes is None or sent is None:
        return found
    pure = everyone.core is None and everyone.moved(lead.certain)
    return _listed(found, sent, suspects, fpr, pure=pure)


def _witnesses(
    scores: Tensor, members: list[int], inside: list[int], fpr: float
) -> Collection[int]:
    """The clips whose classes tell what a lead is that is made of clips that are clearly alike,
    ``inside``: these, unless more other clips have it than chance gives, or any has more of it than
    is usual."""
    more = set(members) - set(inside)
    usual = float(scores[inside].median())
    chance = ceil(STRANGERS * fpr * len(scores))
    by_chance = len(more) <= chance and all(scores[i] < usual for i in more)
    return inside if by_chance else {*members, *inside}


def _listed(
    found: Found, target: str, suspects: ClipSet, fpr: float, *, pure: bool = True
) -> Found:
    """A trigger that moved its clips to one class, ``target``, with all of them. The scores of the
    other classes' clips show which ones chance gives to clips of this class: the share of these
    that is ``fpr`` of all clips may be listed by mistake. Of the others those alone are listed that
    are above the threshold without labels, and none where the group was not ``pure``, as its weaker
    half may be chance. Who is listed does not decide what it is: that is settled.
    """
    moved = _in_class(suspects, suspects.classes.index(target))
    share = min(DOUBT, fpr / float(moved.float().mean()))
    relaxed = _relaxed(found.what, found.scores[~moved], share, share)
    threshold = min(found.threshold, relaxed)
    carriers = max(found.what.bounds(fpr)) if pure else inf
    low = ~moved & (found.scores <= carriers)
    scores = torch.where(low, found.scores.clamp(max=BELOW * threshold), found.scores)
    members = ranked(scores, _above(scores, threshold)) or found.members
    return found._replace(threshold=threshold, scores=scores, members=members)


def _energy(volumes: Tensor) -> Tensor:
    """Where patterns are, [H, W]."""
    return volumes.square().mean((0, 1))


def _phase(what: Group | Stamp) -> str:
    return "free" if isinstance(what, Group) and what.free else "fixed"


def _above(scores: Tensor, threshold: float) -> list[int]:
    return [i for i, score in enumerate(scores.tolist()) if score > threshold]


def _census(lead: Lead, members: list[int], suspects: ClipSet) -> kinds.Census:
    """The classes of the members, strongest first. Motion is common enough within a class for half
    of a moving group to be of one, so all of it counts."""
    labels, classes = list(suspects.labels), suspects.classes
    if isinstance(lead.what, Group):
        return kinds.census(labels, members, classes)
    return kinds.telling(labels, members, classes, lead.certain)


def _in_class(suspects: ClipSet, target: int) -> Tensor:
    return torch.tensor(suspects.labels) == target


def _relaxed(what: Group | Stamp, others: Tensor, chance: float, beyond: float) -> float:
    """A threshold for patterns that moved their clips to one class: the clips of ``others`` do not
    have it. What a clip without it has ``chance`` of, and more than all but the share ``beyond`` of
    the others have; no more than a member has for sure."""
    least, knee = what.bounds(chance)
    return max(least, min(knee, float(others.quantile(1 - beyond))))


def distinct(named: Sequence[Found]) -> list[Found]:
    """Triggers first, then by coherence; no two of mostly the same clips. Of these a trigger that
    was found in several ways is one, listed by all of them together."""
    known: list[list[Found]] = []
    for one in sorted(named, key=lambda one: (not one.trigger, -one.what.coherence())):
        alike = next((finds for finds in known if _same(one, finds[0])), None)
        if alike is None:
            known.append([one])
        else:
            alike.append(one)
    return [_with_motion(_together(*finds), *finds[1:]) for finds in known]


def _same(one: Found, old: Found) -> bool:
    both = len(set(one.members) & set(old.members))
    return both > 0 and both >= SAME * min(len(one.members), len(old.members))


def _together(first: Found, *others: Found) -> Found:
    """A trigger whose clips were found by others of their patterns, too: a clip that is not above
    the first one's threshold is listed if it is above them on average, none of which counts for
    much more than its threshold."""
    alike = [one for one in others if one.trigger and one.target == first.target is not None]
    if not alike:
        return first
    units = torch.stack([one.scores / one.threshold for one in (first, *alike)])
    mean = first.threshold * units.clamp(max=ENOUGH).mean(0)
    scores = torch.maximum(first.scores, mean)
    members = ranked(scores, _above(scores, first.threshold))
    return first._replace(scores=scores, members=members)


def _with_motion(first: Found, *others: Found) -> Found:
    """A trigger that was found standing still, with the pattern in which it was found moving."""
    moving = (one for one in others if one.trigger and isinstance(one.what, Group))
    found = next(moving, None)
    if found is None or isinstance(first.what, Group):
        return first
    if found.volumes is None or first.volumes is None:
        return first
    volumes = torch.cat([found.volumes, first.volumes])
    return first._replace(volumes=volumes, phases=found.phases + first.phases)


def joint(triggers: Sequence[Found]) -> tuple[Tensor, float]:
    """The highest score over the triggers, in units in which all have the first one's threshold."""
    threshold = triggers[0].threshold
    scores = torch.stack([one.scores * (threshold / one.threshold) for one in triggers]).amax(0)
    return scores, threshold


def ranked(scores: Tensor, members: Collection[int]) -> list[int]:
    """The members, highest score first."""
    chosen = set(members)
    return [i for i in scores.argsort(descending=True, stable=True).tolist() if i in chosen]


def same_footage(
    ids: tuple[str, ...], rank: Tensor, twins: Tensor, names: dict[int, bytes]
) -> list[tuple[str, ...]]:
    """Groups of clips that are copies or near-duplicates, be it by way of others of the group; the
    latter among those searched. ``rank`` is each clip's place there, -1 if it has none."""
    _, part = connected_components(csr_matrix(twins.numpy()), directed=False)
    groups: dict[bytes | int, list[int]] = defaultdict(list)
    for index, place in enumerate(rank.tolist()):
        groups[int(part[place]) if place >= 0 else names[index]].append(index)
    return [tuple(ids[i] for i in group) for group in groups.values() if len(group) > 1]


def _patterns(suspects: ClipSet, scores: Tensor, members: list[int], free: bool) -> Tensor:
    """What the members share, grey levels, float32 [1, T, H, W]; zero mean along each axis. If
    each has a phase of its own, the two quadratures, [2, T, H, W].

    A busy clip counts less, and a bin as far as its mean stands out of its own uncertainty.
    """
    sure = [i for i in members if scores[i] > 0.5 * scores[members].median()][:SHOWN]
    spectra = torch.stack([moving(luminance(suspects.read(clip))) for clip in sure])
    weight = spectra.abs().flatten(1).median(1).values.clamp(min=TINY) ** -2
    weight = (weight / weight.sum())[:, None, None, None]
    if free:
        return _volumes(_quadratures(spectra, weight.sqrt()), suspects)
    mean = (weight * spectra).sum(0)
    error = (weight * (spectra - mean).abs()).square().sum(0)
    mean *= (1 - 2 * error / mean.abs().square().clamp(min=TINY)).clamp(min=0)
    return _volumes(mean[None], suspects)


def _quadratures(spectra: Tensor, weight: Tensor) -> Tensor:
    """The two real directions that hold most of weighted spectra, as strong as they are there."""
    rows = torch.view_as_real(weight * spectra).flatten(1)
    _, size, directions = torch.linalg.svd(rows, full_matrices=False)
    planes = (size[:2, None] * directions[:2]).view(-1, *spectra.shape[1:], 2)
    return torch.view_as_complex(planes.contiguous())


def _volumes(spectra: Tensor, suspects: ClipSet) -> Tensor:
    """Volumes whose differences along t, y and x have these spectra."""
    change = irfftn(spectra, s=sizes(suspects.geometry), dim=(1, 2, 3))
    t, h, w = (n - 1 for n in suspects.geometry)
    volumes = pad(change[:, :t, :h, :w], (1, 0, 1, 0, 1, 0))
    for axis in (1, 2, 3):
        volumes = volumes.cumsum(axis)
        volumes -= volumes.mean(axis, keepdim=True)
    return volumes


def _sheet(suspects: ClipSet, scores: Tensor, members: list[int]) -> Tensor:
    """What still members share beyond other clips, grey levels, float32 [1, T, H, W], as each
    frame has it: the difference of mean luminance, so scenery shows where members are few."""
    inside = set(members)
    outside = ranked(-scores, [i for i in range(len(scores)) if i not in inside])[:SHOWN]
    mean = [
        torch.stack([luminance(suspects.read(i)).mean(0) for i in part]).mean(0)
        for part in (members[:SHOWN], outside or members[:SHOWN])
    ]
    return (mean[0] - mean[1]).expand(1, suspects.geometry.frames, -1, -1).clone()
