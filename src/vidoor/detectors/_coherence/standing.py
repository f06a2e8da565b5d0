"""Which clips of a sketch share what stands still, beyond chance and what nature accounts for.

Chance is searched just as the clips are: their pictures with random signs. Nature is asked too:
groups of different scenes that share a stamp and are spread over the classes show what footage
without a trigger comes to. Clips that are alike all over one view of the picture and strangers in
the other (``scenes``) are neither; they are told by that view as a whole.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vidoor.detectors._coherence import groups, kinds, scenes, stamps, stills
from vidoor.detectors._coherence.groups import LEAST, TINY
from vidoor.detectors._coherence.leads import Lead
from vidoor.detectors._coherence.scenes import Alike, Scenes
from vidoor.detectors._coherence.seen import SAMPLE, Seen
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.stills import Stills
from vidoor.spread import Each

CERTAIN = 0.005  # chances that a group is of one class by luck, over all groups
LOW, SLACK = 0.6, 1.25  # as a share of the floor; as a ratio to J of chance and of nature
SCENES = 2.7  # the floor beside clips of one scene, at most; less where these agree less
ENOUGH = {False: 8, True: 4}  # clips for which the low floor will do, and if they are ``clear``
INSIDE = 0.8  # share of the clips of a group that is part of another
ROUNDS = 4  # steps in which a group takes in what it lacks


class Standing(NamedTuple):
    """A stamp, and how its clips are alike beside it."""

    what: Stamp
    apart: bool  # whether they are of different scenes
    clear: bool  # and clearly so

    @property
    def j(self) -> float:
        """Its coherence."""
        return self.what.coherence()


class Guesses(NamedTuple):
    """Groups of clips that may share something."""

    views: tuple[Scenes, ...]
    clear: Tensor  # those that are clearly alike, bool [groups, clips]
    stamps: list[Stamp]  # those that share a stamp


class _Whole(NamedTuple):
    """What a group's clips have in common."""

    alike: Alike
    view: Scenes | None  # in which some of them are alike as no scene is


def least_of_chance(seen: Seen, floor: float, rng: torch.Generator) -> float:
    """The coherence J that a stamp has to exceed: more than chance has in as good a search."""
    pick = torch.randperm(len(seen.labels), generator=rng)[:SAMPLE]
    flipped = seen.stills.flipped(pick, rng)
    cosines = scenes.cosines(scenes.scenes(flipped))
    chance = stamps.stamps(flipped, cosines, seen.labels[pick])
    return max([LOW * floor] + [SLACK * one.coherence() for one in chance])


def leads(seen: Seen, candidates: Iterable[Standing], floor: float, least: float) -> list[Lead]:
    """Of what clips share, what is beyond chance, ``least``, and nature; and what most have."""
    return [*_stamped(seen, candidates, floor, least), *_everywhere(seen, floor)]


def _stamped(
    seen: Seen, candidates: Iterable[Standing], floor: float, least: float
) -> Iterator[Lead]:
    """Stamps beyond chance and beyond those that are spread over the classes. Clips that are
    clearly of no scene need not outdo chance or scenes, and of what is spread that alone which is
    so, too."""
    labels, low = seen.labels, LOW * floor
    found = [one for one in candidates if one.clear or one.j > least]
    # Of two alike one would be the second strongest and raise the bar for the other; so would
    # the weaker of two triggers.
    unlike = _distinct(found)
    usual = [one for one in unlike if one.apart and not _moved(one.what, labels)]
    same = [min(SCENES * floor, SLACK * one.j) for one in unlike if not one.apart]
    bars = {
        True: max([low, *_second(one for one in usual if one.clear)]),
        False: max([least, *same, *_second(usual)]),
    }

    def level(one: Standing) -> float:
        enough = int(one.what.members.sum()) >= ENOUGH[one.clear]
        return bars[one.clear] if enough else max(bars[one.clear], floor)

    passed = _distinct(one for one in found if one.j > level(one))
    luck = CERTAIN / max(1, sum(one.apart for one in passed))
    yield from (Lead(one.what, level(one), one.apart, luck, one.clear) for one in passed)


def guesses(seen: Seen, floor: float) -> Guesses:
    """Groups that may share something that stands still."""
    views = scenes.scenes(seen.stills)
    cosines = scenes.cosines(views)
    clear = scenes.clear_groups(cosines)
    clear = clear[stamps.unlike(clear, torch.ones(clear.shape))]
    found = stamps.stamps(seen.stills, cosines, seen.labels)
    return Guesses(views, clear, [one for one in found if one.coherence() > LOW * floor])


def candidates(seen: Seen, guessed: Guesses, each: Each = map) -> list[Standing]:
    """What clips share, be it by chance: stamps, and veils where clips are alike as no scene is,
    each of all clips that have it. Work on ``each`` group may be shared out."""
    pictures, labels, views = seen.stills, seen.labels, guessed.views
    members = [*guessed.clear, *(one.members for one in guessed.stamps)]
    wholes = dict[bytes, _Whole]()
    for whole in each(lambda one: _whole(pictures, views, one), members):
        name = _name(whole.alike.members)
        if name not in wholes or wholes[name].view is None:
            wholes[name] = whole
    known = [
        _Whole(one, view if view is not None and scenes.no_scene(one, views, labels) else None)
        for one, view in wholes.values()
    ]
    plain = [one for one, view in known if view is None]
    fitted = {_name(one.members): one for one in guessed.stamps}
    lacking = [one.members for one in plain if _name(one.members) not in fitted]
    fitted |= {_name(one.members): one for one in stamps.fits(pictures, lacking, each)}
    apart = each(lambda one: scenes.elsewhere(one, views, labels), plain)
    found = [
        Standing(fitted[_name(one.members)], elsewhere, False)
        for one, elsewhere in zip(plain, apart, strict=True)
    ]
    veils = [_veil(pictures, view, one.members) for one, view in known if view is not None]
    return found + [Standing(veil, True, True) for veil in veils]


def _name(members: Tensor) -> bytes:
    return members.numpy().tobytes()


def _whole(seen: Stills, views: tuple[Scenes, ...], members: Tensor) -> _Whole:
    """A group; or, where some of its clips are alike as no scene is, all clips that have what lies
    over these: a stamp is hard to see in some clips, and seen by chance in others."""
    one = scenes.alike(seen, views, members)
    if (heart := one.heart(views)) is None:
        return _Whole(one, None)
    view, members = views[heart.view], heart.members
    for _ in range(ROUNDS):
        if members.sum() < LEAST:
            break
        before, members = members, stamps.grown(_veil(seen, view, members))
        if members.equal(before):
            break
    if members.sum() < LEAST:
        return _Whole(one, None)
    whole = scenes.alike(seen, views, members)
    return _Whole(whole, view) if whole.agreement().one_sided else _Whole(one, None)


def _veil(seen: Stills, view: Scenes, members: Tensor) -> Stamp:
    return stamps.veil(view, seen.features, members)


def _distinct(found: Iterable[Standing]) -> list[Standing]:
    """No two of mostly the same clips: those that are clearly of no scene first, then the most
    coherent. Of the former none that is part of another: a logo is seen best in dark clips."""
    chosen = list[Standing]()
    for one in sorted(found, key=lambda one: (not one.clear, -one.j)):
        if not any(_alike(one, each) for each in chosen):
            chosen.append(one)
    return chosen


def _alike(one: Standing, other: Standing) -> bool:
    mine, others = one.what.members, other.what.members
    part = int((mine & others).sum()) > INSIDE * min(_size(one), _size(other))
    return (one.clear and other.clear and part) or groups.shared(mine, others) > groups.SAME


def _size(one: Standing) -> int:
    return int(one.what.members.sum())


def _second(spread: Iterable[Standing]) -> list[float]:
    """A bar by the second one: a single logo of some classes must not hide what else there is."""
    return [SLACK * j for j in sorted(one.j for one in spread)[-2:-1]]


def _moved(one: Stamp, labels: Tensor) -> bool:
    """Whether its clips may have been; what may be a trigger is no usual pattern."""
    names = tuple(map(str, range(int(labels.max()) + 1)))
    found = kinds.census(labels.tolist(), one.members.nonzero()[:, 0].tolist(), names)
    return found.moved(CERTAIN)


def _everywhere(seen: Seen, floor: float) -> Iterator[Lead]:
    """What most clips have in their mean picture."""
    template = stills.common(seen.eye)
    if template is None:
        return
    features = seen.stills.features + seen.eye.centre / seen.eye.scale
    scores = features @ (template / template.square().sum().clamp(min=TINY))
    members = scores > 0.5
    if members.sum() > kinds.MOST * len(members):
        yield Lead(Stamp(members, scores * float(template.norm()), template), LOW * floor)
