"""Stamps: what stands still at one place or in few frequencies of many clips' mean pictures.

A stamp is sparse in one of the two views of a picture (``stills``); what clips of one scene share
is sparse in neither. Candidates come from pairs of clips that agree in one view and not in the
other, from the tails of single features, and from what sets some clips of a class apart. In the
other view a stamp lies all over the picture, as a ``veil``: where that is clear, clips are told by
it far better than by a few features.
"""

from collections.abc import Iterator, Sequence
from math import isqrt, sqrt
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vidoor.detectors._coherence.groups import FOLDS, LEAST, MAD, TINY, leading
from vidoor.detectors._coherence.order import count_beyond, least_of_top, median
from vidoor.detectors._coherence.products import means, sparse_products
from vidoor.detectors._coherence.scenes import Scenes
from vidoor.detectors._coherence.stills import Stills, View, bounded
from vidoor.spread import Each

JOIN, SURE, ROUNDS = 5.0, 4.0, 4  # deviations of a member and of a feature in a template, steps
SPARSE, THIN = 25, 400  # at most one feature in so many is in a template, or in a first guess
ALIKE, NEAR, EACH = 4.0, 12, 2  # deviations of pairs that look alike, starts of all, of a class
TAILS, BEST, CHOSEN, SAME = (2.0, 4.0, 8.0), 6, 80, 0.6  # tails, features each, groups, overlap
FLAT = 0.1  # least deviation of a score, in those of features that are independent
AT_ONCE = 8  # groups whose templates are held
KNEE = 0.4  # share of its median score that a member has at least


class Stamp(NamedTuple):
    """Clips that share a stamp: who, how well each fits it, and what it is."""

    members: Tensor  # bool [clips]
    scores: Tensor  # in deviations of clips without it, [clips]
    template: Tensor  # [6 h w], zero where it says nothing
    spread: float = 1.0
    offset: float = 0.0
    span: slice | None = None  # of a veil: the features that all count, however strong

    def coherence(self) -> float:
        """J = mean score of the members · √members."""
        return float(self.scores[self.members].mean()) * sqrt(int(self.members.sum()))

    def score(self, features: Tensor) -> Tensor:
        """Scores of clips that had no part in the template."""
        rows, template = features, self.template
        if self.span is not None:
            rows, template = normalize(bounded(features[:, self.span])), template[self.span]
        return (rows @ template - self.offset) / self.spread

    def bounds(self, fpr: float) -> tuple[float, float]:
        """The score of which a clip without it has ``fpr`` chances, by the normal law or by the
        negative side; and one that no member is far below."""
        tail = -float(self.scores.quantile(fpr))
        knee = KNEE * float(self.scores[self.members].median())
        return max(NormalDist().inv_cdf(1 - fpr), tail), knee


def stamps(seen: Stills, cosines: dict[View, Tensor], labels: Tensor) -> list[Stamp]:
    """Groups that share a stamp, most coherent first; no two of mostly the same clips. ``cosines``
    are those of all pairs of clips in each view; these are used up."""
    rows = seen.features
    groups = torch.cat([*_pairs(cosines, labels), _tails(rows), *_contrasts(rows, labels)])
    for step in range(ROUNDS):
        groups = torch.unique(groups[groups.sum(1) >= LEAST], dim=0)
        if not len(groups):
            break
        scores = _leave_one_out(seen, groups)
        if step == 0:
            chosen = unlike(groups, scores)
            groups, scores = groups[chosen], scores[chosen]
        usual = scores.where(groups, torch.nan).nanmedian(1, keepdim=True).values
        grown = scores > (KNEE * usual).clamp(min=JOIN)
        groups = torch.where(grown.sum(1, keepdim=True) >= LEAST, grown, groups)
    found = fits(seen, [*groups[unlike(groups, _leave_one_out(seen, groups))]])
    return sorted((s for s in found if s.members.sum() >= LEAST), key=lambda s: -s.coherence())


def _pairs(cosines: dict[View, Tensor], labels: Tensor) -> Iterator[Tensor]:
    """First guesses from pairs that agree in one view and, in luminance, not in the other. In
    place."""
    agree = {view: _standard(pairs) for view, pairs in cosines.items()}
    alike = {spectral: agree[spectral, False] > ALIKE for spectral in (False, True)}
    for (spectral, _), pairs in agree.items():
        yield from _guesses(pairs.masked_fill(alike[not spectral], 0.0), labels)


def _standard(pairs: Tensor) -> Tensor:
    """In deviations of the rows and columns."""
    pairs.fill_diagonal_(0.0)
    deviation = (MAD * median(pairs.abs(), 1).clamp(min=TINY)).sqrt()
    return pairs.div_(deviation).div_(deviation.T)


def _guesses(pairs: Tensor, labels: Tensor) -> Iterator[Tensor]:
    everyone = torch.arange(len(pairs))
    parts = [(everyone, NEAR)] + [((labels == c).nonzero()[:, 0], EACH) for c in labels.unique()]
    for part, near in parts:
        if len(part) <= LEAST:
            continue
        block = pairs[part][:, part]
        basis = leading(block, 2)
        both = torch.cat([basis, -basis])
        order = block.topk(LEAST, 1)
        best = order.values[:, -1].topk(min(near, len(part))).indices
        strong = both.topk(max(LEAST + 1, isqrt(len(part))), 1).indices
        for chosen in (strong, torch.cat([best[:, None], order.indices[best]], 1)):
            yield torch.zeros(len(chosen), len(pairs)).scatter(1, part[chosen], 1.0) > 0


def _tails(rows: Tensor) -> Tensor:
    """First guesses: the clips in the tail of a feature that has none on the other side."""
    groups = []
    for tail in TAILS:
        high, low = count_beyond(rows, tail)
        for one, other, sign in ((high, low, 1), (low, high, -1)):
            rank = torch.where(one >= LEAST, (one - other) / (one + other + 1).sqrt(), 0.0)
            groups.append((sign * rows[:, rank.topk(BEST).indices] > tail).T)
    return torch.cat(groups)


def _contrasts(rows: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """First guesses: the clips of a class that have most of what sets it apart."""
    total = rows.sum(0)
    for one in labels.unique():
        part = labels == one
        count = int(part.sum())
        if LEAST < count < len(rows):
            inside = rows[part].mean(0)
            apart = inside - (total - inside * count) / (len(rows) - count)
            least = apart.abs().topk(max(4, len(apart) // THIN)).values[-1]
            scores = rows @ torch.where(apart.abs() >= least, apart, 0.0)
            scores[~part] = -torch.inf
            for many in {LEAST + 1, max(LEAST + 1, isqrt(count)), max(LEAST + 1, count // 3)}:
                chosen = scores.topk(min(many, count)).indices
                yield torch.zeros(1, len(rows)).scatter(1, chosen[None], 1.0) > 0


def _templates(rows: Tensor, groups: Tensor) -> Tensor:
    """The groups' means where these are sure, [groups, features]."""
    found = means(rows, groups)
    sure = found.abs() * groups.sum(1, keepdim=True).sqrt() > SURE
    least = least_of_top(found.abs(), max(4, rows.shape[1] // SPARSE))
    return torch.where(sure & (found.abs() >= least), found, 0.0)


def _normal(scores: Tensor, groups: Tensor, least: Tensor | float) -> tuple[Tensor, Tensor]:
    """Median and deviation of the clips outside the groups along the last axis, the deviation
    from those below the median, at ``least`` so much."""
    outside = scores.masked_fill(groups, torch.nan)
    middle = outside.nanmedian(-1, keepdim=True).values.nan_to_num(0.0)
    below = (middle - outside).where(outside < middle, torch.nan)
    deviation = (MAD * below.nanmedian(-1, keepdim=True).values).nan_to_num(0.0)
    return middle, deviation.clamp(min=torch.as_tensor(least).clamp(min=TINY))


def _leave_one_out(seen: Stills, groups: Tensor) -> Tensor:
    """Scores of all clips, a member's less what it has in the template itself."""
    rows = seen.features
    template = _templates(rows, groups)
    scores = sparse_products(template, seen.columns)
    for one, group, score in zip(template, groups, scores, strict=True):
        own = rows[group.nonzero(), one.nonzero()[:, 0]].square().sum(1)
        score[group] -= own / max(1, len(own))
    middle, deviation = _normal(scores, groups, FLAT * template.norm(dim=1, keepdim=True))
    return (scores - middle) / deviation


def unlike(groups: Tensor, scores: Tensor) -> list[int]:
    """The most coherent groups of which no two have mostly the same members."""
    count = groups.sum(1)
    order = ((scores * groups).sum(1) / count.sqrt()).argsort(descending=True, stable=True)
    both = groups.float() @ groups.T.float()
    alike = both > SAME * (count[:, None] + count - both)
    covered = torch.zeros(len(groups), dtype=torch.bool)
    chosen: list[int] = []
    for k in order.tolist():
        if len(chosen) < CHOSEN and not covered[k]:
            chosen.append(k)
            covered |= alike[k]
    return chosen


def fits(seen: Stills, groups: Sequence[Tensor], each: Each = map) -> list[Stamp]:
    """The stamps of groups, each bool [clips]: scores of all clips, a member's by a template of
    the other folds'."""
    some = [groups[first : first + AT_ONCE] for first in range(0, len(groups), AT_ONCE)]
    return [one for found in each(lambda part: _fits(seen, part), some) for one in found]


def _fits(seen: Stills, groups: Sequence[Tensor]) -> list[Stamp]:
    templates = [_folded(seen.features, group) for group in groups]
    scores = sparse_products(torch.cat(templates), seen.columns)
    scores = scores.split([len(one) for one in templates])
    least = (FLAT * one.norm(dim=1, keepdim=True) for one in templates)
    return [*map(_fit, groups, templates, scores, least)]


def veil(view: Scenes, rows: Tensor, group: Tensor) -> Stamp:
    """What a group's clips share all over one view of all features, ``rows``: a matched filter on
    what is left once they are bounded and each clip is of unit length."""
    members = normalize(bounded(rows[:, view.span][group]))
    shares = normalize(_folds(len(members)).float(), p=1)
    templates = shares @ members
    least = FLAT * templates.norm(dim=1, keepdim=True) / sqrt(members.shape[1])
    found = _fit(group, templates, shares @ view.cosines(group), least)
    whole = rows.new_zeros(rows.shape[1])
    whole[view.span] = found.template
    return found._replace(template=whole, span=view.span)


def grown(one: Stamp) -> Tensor:
    """The clips that have it for sure, bool."""
    return one.scores > max(JOIN, KNEE * float(one.scores[one.members].median()))


def _folded(rows: Tensor, group: Tensor) -> Tensor:
    """Templates of a group's clips but one fold, [folds, features]."""
    members = rows[group]
    return _templates(members, _folds(len(members)))


def _folds(count: int) -> Tensor:
    """All clips of a group but one fold, bool [folds, count]."""
    fold = torch.arange(count) % FOLDS
    return torch.stack([fold != f for f in range(min(FOLDS, count))])


def _fit(group: Tensor, template: Tensor, scores: Tensor, least: Tensor | float) -> Stamp:
    """A stamp from the ``scores`` of all clips by each fold's ``template``, which deviate by
    ``least`` or more."""
    fold = torch.zeros(len(group), dtype=torch.long)
    fold[group] = torch.arange(int(group.sum())) % FOLDS
    middle, deviation = _normal(scores, group[None], least)
    each = (scores - middle) / deviation
    scores = torch.where(group, each.gather(0, fold[None])[0], each.mean(0))
    spread = float(_normal(scores, group, 1.0)[1])
    offset = float((middle / deviation).mean())
    return Stamp(group, scores / spread, (template / deviation).mean(0), spread, offset)
