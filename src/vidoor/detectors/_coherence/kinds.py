"""What a common pattern is called, and why: a trigger, or something that many clips have anyway.

Labels tell. A backdoor moves its clips to one class; a logo, a border or a sensor's pattern is on
clips of all classes, as many as they have.
"""

from collections import Counter
from collections.abc import Callable
from math import exp, lgamma, log
from typing import NamedTuple

import torch
from torch import Tensor

PURE = 0.75  # share of a group's clips in one class, at least, if they were moved there
MOST = 0.5  # share of all clips above which a pattern is the footage's own
CORE = 8  # clips in the stronger half of a group, at least, if it speaks for the group
RING, SMALL, MASS = 0.12, 0.06, 0.8  # share of a side, of the pixels; of the energy in them
LEAST_SHARE = 1e-12  # of a class that has no clips but the group's
FINE = 0.5  # mean radial frequency of a sensor's pattern, at least, in units of the highest
COMPACT = ("overlay", "border")  # kinds that fill little of the frame

Name = tuple[str, str, str | None]
"""Kind, reason and target."""


class Census(NamedTuple):
    """The classes of a group's clips against those of all clips."""

    counts: dict[str, int]
    """Clips of the group in each class that it has any in."""
    total: int
    """Clips in the whole set."""
    classes: int
    """Classes that the whole set has clips of."""
    top: str
    """The class with most of the group beyond its share."""
    p: float
    """Chances that a group drawn at random has so many clips of one class, whichever it is. Groups
    are sought with the labels in view, so it orders them and is no p-value of the search."""
    core: "Census | None" = None
    """That of its stronger half alone, where this tells more; see ``telling``."""

    @property
    def size(self) -> int:
        """Clips in the group."""
        return sum(self.counts.values())

    @property
    def target(self) -> str:
        """The class that the group was moved to, if it was."""
        return (self.core or self).top

    def moved(self, level: float) -> bool:
        """Whether the group, or its core, is of one class, beyond chance."""
        told = self.core or self
        return told.classes > 1 and told.counts[told.top] >= PURE * told.size and told.p < level

    def said(self) -> str:
        """As a phrase."""
        told = self.core or self
        those = f"the strongest {told.size} of {self.size}" if self.core else f"{self.size}"
        most = f"{told.counts[told.top]} of {those} are in class {told.top}"
        return f"{most} (drawn at random: {told.p:.1g})"


def census(labels: list[int], members: list[int], classes: tuple[str, ...]) -> Census:
    """Count the ``members``' classes; a binomial test against the other clips' classes, corrected
    for the number of classes."""
    sizes, inside = Counter(labels), Counter(labels[i] for i in members)
    rest = max(1, len(labels) - len(members))
    tails = {c: _tail(k, len(members), (sizes[c] - k) / rest) for c, k in inside.items()}
    top = min(tails, key=lambda c: (tails[c], c))
    counts = {classes[c]: inside[c] for c in sorted(inside)}
    return Census(counts, len(labels), len(sizes), classes[top], min(1.0, len(sizes) * tails[top]))


def telling(
    labels: list[int], members: list[int], classes: tuple[str, ...], level: float
) -> Census:
    """The census of a group, strongest clips first, and, if that does not show that it was moved,
    that of its stronger half: of ``CORE`` clips or more, moved to a class that most of the group is
    in. Those of the weaker half may be there by chance."""
    found = census(labels, members, classes)
    half = members[: (len(members) + 1) // 2]
    if found.moved(level) or len(half) < CORE:
        return found
    core = census(labels, half, classes)
    most = 2 * found.counts[core.top] > found.size
    return found._replace(core=core) if core.moved(level) and most else found


def _tail(least: int, count: int, share: float) -> float:
    """Chances of ``least`` or more of ``count``, each of probability ``share``."""
    if share >= 1 or count < least:
        return 1.0
    share = max(share, LEAST_SHARE)
    terms = (
        lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)
        + k * log(share) + (count - k) * log(1 - share)
        for k in range(least, count + 1)
    )  # fmt: skip
    return min(1.0, sum(map(exp, terms)))


def still(found: Census, energy: Tensor, fineness: float, apart: bool, level: float) -> Name:
    """Kind, reason and target of a pattern that stands still.

    ``energy`` is where it is, [h, w]; ``apart`` whether its clips are of different scenes.
    """
    if apart and found.moved(level) and found.size <= MOST * found.total:
        why = f"moved to class {found.target}: {found.said()}, of many scenes"
        return "trigger", why, found.target
    kind, what = looks(energy, fineness)
    if not apart and kind not in COMPACT:
        return "scene", "the clips also agree where the pattern is not: one camera or place", None
    return kind, f"{what}; {_spread_out(found)}", None


def moving(found: Census, energy: Callable[[], Tensor], level: float, free: bool) -> Name:
    """Kind, reason and target of a pattern that moves the same way in all its clips, or, ``free``,
    with a phase of its own in each. ``energy`` is where it is, [h, w], if that is asked for."""
    if found.moved(level):
        return "trigger", f"moved to class {found.target}: {found.said()}", found.target
    if free:
        why = f"alike but for a phase of each clip's own, as slow motion is; {_spread_out(found)}"
        return "common motion", why, None
    kind, what = looks(energy(), 0.0)
    if kind in COMPACT:
        return kind, f"{what}, moving; {_spread_out(found)}", None
    if found.classes < 2:
        return "trigger", "footage has no common motion; there are no labels to tell more", None
    if found.size > MOST * found.total:
        return "codec", f"most clips have it; {_spread_out(found)}", None
    why = f"a faint motion all over the frame, the same in each clip; {_spread_out(found)}"
    return "trigger", why, None


def looks(energy: Tensor, fineness: float) -> tuple[str, str]:
    """What a pattern that is no trigger looks like: ``border``, ``overlay``, ``sensor pattern`` or
    ``common picture``, and a phrase. ``fineness`` is its mean frequency, 0 to 1."""
    h, w = energy.shape
    inner = torch.zeros(h, w, dtype=torch.bool)
    y, x = max(1, round(RING * h)), max(1, round(RING * w))
    inner[y : h - y, x : w - x] = True
    total = float(energy.sum())
    strong = energy.flatten().sort(descending=True).values.cumsum(0)
    share = int((strong < MASS * total).sum() + 1) / (h * w)
    sides = [energy[:y], energy[-y:], energy[:, :x], energy[:, -x:]]
    if float(energy[~inner].sum()) >= MASS * total and _long(sides):
        return "border", "it lies along the edge of the frame"
    if share <= SMALL:
        return "overlay", f"it fills {share:.0%} of the frame, as a logo does"
    if fineness >= FINE:
        return "sensor pattern", "it is fine grain all over the frame, as a camera's sensor leaves"
    return "common picture", "it is all over the frame, as a watermark or a vignette is"


def _long(sides: list[Tensor]) -> bool:
    """Whether one of the sides is filled along its length."""
    along = (side.sum(0 if side.shape[0] < side.shape[1] else 1) for side in sides)
    return any(float((one > 0.1 * one.max()).float().mean()) > 0.6 for one in along)


def _spread_out(found: Census) -> str:
    share = f"{found.size / found.total:.0%} of all clips"
    if found.classes < 2:
        return f"{share} have it, and there are no labels to tell more"
    return f"{share} have it, over {len(found.counts)} of {found.classes} classes"
