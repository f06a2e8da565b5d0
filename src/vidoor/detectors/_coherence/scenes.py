"""Whether clips that share a stamp are of one scene, and what else they share.

A scene is seen in pixels and in waves alike, whatever is left out of it. What a trigger adds is
sparse in one of the two views: once its strongest features are left out there, its clips have
nothing in common but what it spreads over the other.
"""

from collections.abc import Mapping
from math import ceil, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from vidoor.detectors._coherence.groups import LEAST, MAD, TINY
from vidoor.detectors._coherence.order import least_of_top
from vidoor.detectors._coherence.products import means, products
from vidoor.detectors._coherence.stills import VIEWS, Stills, View, bounded

DROPPED = 0.1  # share of the features that is left out as the stamp's
TRUSTED = 1e-3  # share of an energy below which a difference is rounding
FEWEST = 0.005  # share of the features that is left out where a scene would show
LOPSIDED, LEVEL = 0.023, 0.5  # likeness⁴ · deviations of no scene; least, in those of chance
CROWD, AS_NEAR = 16, 1.2  # clips of a large group; its clips' nearness against that of others
PROOF, SIBLINGS = 8, 0.4  # clips for a proof; share of near clips with the same label, at most
AGREED, DIFFER = 0.33, 0.2  # likeness of what is no scene in one view; the other's share of it
STAND_INS, PART = 32, 512  # members that stand for a group; clips at a time: quantiles have limits
PROVED, EXTRA = 0.3, 2.0  # likeness that proves it, of many clips; more of n: so much / n
HEART, JOINED = 0.9, 0.5  # share of pairs less alike than its heart's; of these, what joins it
ALL = slice(None)


class Scenes(NamedTuple):
    """Pictures in one view, of luminance or of colour: how alike they are beside a stamp."""

    span: slice
    """Which features they are, of those of ``Stills``."""
    stills: Stills
    """Whose features they are."""
    pairs: Tensor
    """Their products, [clips, clips]: what a stamp has of them is taken off."""
    energy: Tensor
    """Of each clip with itself, [clips]."""

    def cosines(self, clips: Tensor | slice = ALL) -> Tensor:
        """Those of these ``clips`` and all, [clips, all]."""
        length = _length(self.energy)
        return self.pairs[clips] / length[clips, None] / length

    def likeness(
        self, clips: Tensor, stamp: Tensor, others: Tensor | slice = ALL, dropped: float = DROPPED
    ) -> Tensor:
        """Cosines of these ``clips`` and ``others``, leaving out the share of features that are
        strongest in the ``stamp``, [features]: [clips, others]; not a number of a clip and
        itself."""
        own = stamp >= least_of_top(stamp[None], max(1, round(dropped * len(stamp))))[0]
        taken = self._products(own, clips, others)
        whole = _Products(self.pairs[clips][:, others], self.energy[clips], self.energy[others])
        left = _Products(*(one - each for one, each in zip(whole, taken, strict=True)))
        shares = zip(left[1:], whole[1:], strict=True)
        if any((part < TRUSTED * energy).any() for part, energy in shares):
            left = self._products(~own, clips, others)
        cosines = left.pairs / _length(left.own)[:, None] / _length(left.others)
        itself = clips[:, None] == torch.arange(len(self.pairs))[others]
        return cosines.masked_fill_(itself, torch.nan)

    def _products(self, some: Tensor, clips: Tensor, others: Tensor | slice) -> "_Products":
        """Of ``some`` features, bool."""
        which = some.nonzero()[:, 0] + self.span.start
        mine = self._bounded(which, clips)
        its = mine if others is clips else self._bounded(which, others)
        return _Products(mine.T @ its, _energy(mine), _energy(its))

    def _bounded(self, which: Tensor, clips: Tensor | slice) -> Tensor:
        """Those features of the clips, [features, clips]: of a few clips from their rows, which is
        faster by far."""
        if isinstance(clips, slice):
            return bounded(self.stills.columns[which][:, clips])
        return bounded(self.stills.features[clips[:, None], which]).T


class _Products(NamedTuple):
    """Of the features of some clips and others."""

    pairs: Tensor  # [some, others]
    own: Tensor  # of each with itself, [some]
    others: Tensor


class Agreement(NamedTuple):
    """How alike pairs of clips are beside a stamp that they share, as cosines."""

    strong: float  # in the view in which they are most alike
    weak: float  # in both views of one colour, luminance or the others
    view: int  # in which they are most alike

    @property
    def clear(self) -> bool:
        """Whether they are alike in one view and in no colour in both, as no scene is."""
        return self.strong > AGREED and self.one_sided

    @property
    def one_sided(self) -> bool:
        """Whether they are so, be it by half."""
        return self.strong > AGREED / 2 and self.weak < DIFFER * self.strong


class Heart(NamedTuple):
    """Clips that are alike as no scene is."""

    members: Tensor  # bool [clips]
    view: int  # in which they are


class Alike(NamedTuple):
    """What clips that share a stamp have in common beside it."""

    members: Tensor  # bool [clips]
    some: Tensor  # of these, int: they stand for all
    marks: tuple[Tensor, ...]  # how strong the features of each view are in the members' mean
    pairs: tuple[Tensor, ...]  # likeness of some in each view, [some, some]

    def agreement(self, share: float = 0.5) -> Agreement:
        """That of their pairs; ``share`` of these are less alike than it says."""
        most = [_quantile(each, share) for each in self.pairs]
        view = max(range(len(most)), key=most.__getitem__)
        weak = max(min(most[0], most[1]), min(most[2], most[3]))
        return Agreement(most[view], weak, view)

    def heart(self, views: tuple[Scenes, ...]) -> Heart | None:
        """The members, if most are alike as no scene is; or, if the nearest of them are, all clips
        that are half as near. None if not even these are."""
        most, nearest = self.agreement(), self.agreement(HEART)
        if most.clear:
            return Heart(self.members, most.view)
        if not nearest.clear:
            return None
        likeness = views[nearest.view].likeness(self.some, self.marks[nearest.view])
        near = torch.cat([part.nanquantile(HEART, 0) for part in likeness.split(PART, 1)])
        return Heart(near > JOINED * nearest.strong, nearest.view)

    @property
    def proved(self) -> bool:
        """Whether they agree so clearly that they are no scene, whatever other clips show."""
        agreement = self.agreement()
        return agreement.clear and agreement.strong > PROVED + EXTRA / int(self.members.sum())


def scenes(stills: Stills) -> tuple[Scenes, ...]:
    """The pictures as pixels and as coefficients, of luminance, then of colour."""
    return tuple(_scenes(stills, view) for view in VIEWS)


def _scenes(stills: Stills, view: View) -> Scenes:
    rows = stills.bounded(*view)
    return Scenes(stills.span(*view), stills, products(rows), _energy(rows.T))


def cosines(views: tuple[Scenes, ...]) -> dict[View, Tensor]:
    """Of all pairs of clips in each view, [clips, clips]."""
    return {view: one.cosines() for view, one in zip(VIEWS, views, strict=True)}


def clear_groups(cosines: Mapping[View, Tensor]) -> Tensor:
    """The groups of each clip and of those that are alike as no scene is, by the ``cosines`` of
    all pairs in each of the ``VIEWS``: bool [groups, clips]."""
    pixels, waves, colours, colour_waves = (cosines[view] for view in VIEWS)
    weak = torch.minimum(pixels, waves).maximum(torch.minimum(colours, colour_waves))
    pairs = torch.eye(len(weak), dtype=torch.bool)
    for strong in cosines.values():
        pairs |= (strong > AGREED) & (weak < DIFFER * strong)
    groups: Tensor = torch.unique(pairs[pairs.sum(1) >= LEAST], dim=0)
    return groups


def alike(stills: Stills, views: tuple[Scenes, ...], members: Tensor) -> Alike:
    """What clips have in common."""
    inside = members.nonzero()[:, 0]
    some = inside[:: -(-len(inside) // STAND_INS)]
    mean = means(stills.features, members[None])[0].abs()
    marks = tuple(mean[view.span] for view in views)
    pairs = (view.likeness(some, mark, some) for view, mark in zip(views, marks, strict=True))
    return Alike(members, some, marks, tuple(pairs))


def elsewhere(one: Alike, views: tuple[Scenes, ...], labels: Tensor) -> bool:
    """Whether the members' scenes are found outside the group, in clips of other classes.

    Leaving out the stamp's own features, the nearest clip of a member is no member, in one view at
    least, and most often has another label. In a group of one scene or camera it is a member in
    both; in a part of a scene it has the same label. Few clips have to prove it more clearly; many
    prove it too by being no nearer to each other, in pixels, than other clips are. None of this is
    asked of clips of which ``proved`` holds.
    """
    inside, outside = one.members.nonzero()[:, 0], (~one.members).nonzero()[:, 0]
    if len(outside) < LEAST:
        return False
    if one.proved or any(_strange(one, views, k, labels) for k in range(2)):
        return True
    if len(inside) < CROWD:
        return False
    others = outside[: len(inside)]
    few = others[:: -(-len(others) // STAND_INS)]
    own = _nearest(views[0].likeness(one.some, one.marks[0], inside))
    return own <= AS_NEAR * _nearest(views[0].likeness(few, one.marks[0], others))


def no_scene(one: Alike, views: tuple[Scenes, ...], labels: Tensor) -> bool:
    """Whether members of which some are clearly alike are of no scene by that alone: it is
    ``proved``, or they are ``lopsided``, or many and at home ``elsewhere``."""
    if int((~one.members).sum()) < LEAST:
        return False
    if one.proved or lopsided(one, views) > LOPSIDED:
        return True
    return int(one.members.sum()) >= CROWD and elsewhere(one, views, labels)


def lopsided(one: Alike, views: tuple[Scenes, ...]) -> float:
    """How alike the members are in one view, and how much nearer most have others than members in
    the other, in deviations of what others are. A room that is seen mostly in one view is seen a
    little in the other, too, where its clips are very alike; where they are less so, chance may
    hide it, so likeness counts to the fourth power."""
    found = one.agreement()
    other = found.view ^ 1  # of the same colour
    likeness = views[other].likeness(one.some, one.marks[other], dropped=FEWEST)
    own, others = likeness[:, one.members].nan_to_num(-1).amax(1), likeness[:, ~one.members]
    spread = MAD * (others - others.median(1, keepdim=True).values).abs().median(1).values
    least = LEVEL / sqrt(len(one.marks[other]))  # where others have nothing there, as grey clips
    nearer = (others.amax(1) - own) / spread.clamp(min=least)
    return found.strong**4 * float(nearer.median())


def _strange(one: Alike, views: tuple[Scenes, ...], view: int, labels: Tensor) -> bool:
    """Whether the members' nearest clips are no members, and most often of other classes."""
    likeness = views[view].likeness(one.some, one.marks[view])
    near = likeness.masked_fill(one.members, -1).max(1)
    siblings = (labels[near.indices] == labels[one.some]).float().mean()
    needed = (1 + PROOF / int(one.members.sum())) * max(0.0, _nearest(likeness[:, one.members]))
    strangers = siblings < SIBLINGS or len(labels.unique()) < 2
    return bool(strangers and float(near.values.mean()) > needed)


def _nearest(likeness: Tensor) -> float:
    """Mean likeness of a clip and the one that is most like it, of these."""
    return float(likeness.nan_to_num(-1).amax(1).mean())


def _quantile(values: Tensor, share: float) -> float:
    """Of any number of values; those that are not a number do not count."""
    known = values[~values.isnan()]
    return float(known.kthvalue(max(1, ceil(share * len(known)))).values)


def _energy(columns: Tensor) -> Tensor:
    return columns.square().sum(0)


def _length(energy: Tensor) -> Tensor:
    return energy.sqrt().clamp(min=TINY)
