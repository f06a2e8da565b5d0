"""Groups of clips whose moving spectra agree, with one phase for all or a phase for each clip.

Agreement is sought in the Gram matrix. In a ``fixed`` group every clip has the pattern itself; in
a ``free`` one a mixture cos φ A + sin φ B of two quadratures, with a φ of its own: that is what a
complex pattern under a random global phase comes to, and it leaves a plane in the Gram matrix.
Members are scored by a matched filter, each by a template that was made without it.
"""

from collections.abc import Iterator
from math import isqrt, log, sqrt
from statistics import NormalDist
from typing import NamedTuple

import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from vidoor.detectors._coherence.products import products

MAD = 1.4826  # median of |x| -> standard deviation, where x is normal
RAYLEIGH, FIFTH = 1.2533, 0.668  # mean and 20 % quantile of the length of a normal pair
CUT = 6.0  # standard deviations at which a clip joins a group: chance stays below it
TAIL = 4.75  # length of a normal pair that footage does not have by chance
KNEE = 0.25  # share of its median score that a member has at least
LEAST, FOLDS, ROUNDS, STARTS = 3, 5, 10, 32  # clips in a group, folds, steps, first guesses
LEADING, SPARE, POWER = 4, 6, 30  # eigenvectors in use, more of them to converge, steps
KEPT = 0.1  # share of the bins that a template keeps, its largest ones
CHOSEN, SAME = 3, 0.5  # groups that are grown to the end; clips in common of those that are one
CHUNK, PART, TINY, JITTER = 32, 256, 1e-9, 1e-5  # clips at a time, and where they are copied


class Spectra(NamedTuple):
    """What the search sees of the clips."""

    rows: Tensor  # whitened spectra as real vectors of unit length, [clips, 2 bins]
    bins: Tensor  # wave numbers along t, y, x, [3, bins]
    twins: Tensor  # pairs that are the same footage, bool [clips, clips]

    def shifted(self, pick: Tensor, rng: torch.Generator) -> "Spectra":
        """The clips ``pick`` under random circular shifts: still natural, but sharing nothing."""
        rows = self.rows[pick]
        for part in torch.split(torch.view_as_complex(rows.view(len(rows), -1, 2)), CHUNK):
            angle = -2 * torch.pi * (torch.rand(len(part), 3, generator=rng) @ self.bins)
            part *= torch.polar(torch.ones_like(angle), angle)
        return Spectra(rows, self.bins, self.twins[pick][:, pick])

    def footages(self) -> int:
        """How many of the clips are not the footage of an earlier one."""
        return int((~self.twins.tril(-1).any(1)).sum())


class View(NamedTuple):
    """What a search compares."""

    pairs: Tensor  # agreement of all pairs of clips, [clips, clips]
    probe: Tensor  # spectra that share nothing, [clips, 2 bins]
    labels: Tensor  # class of each clip, [clips]


class Group(NamedTuple):
    """Clips that agree on a pattern: who, and how well each clip fits it."""

    members: Tensor  # bool [clips]
    scores: Tensor  # matched filter in standard deviations of clips without the pattern, [clips]
    bank: Tensor  # templates, one pair of quadratures or one pattern a fold, [folds, d, 2 bins]
    spread: float = 1.0

    @property
    def free(self) -> bool:
        """Whether each clip has a phase of its own."""
        return self.bank.shape[1] == 2

    def coherence(self) -> float:
        """J = mean score of the members · √members."""
        return float(self.scores[self.members].mean()) * sqrt(int(self.members.sum()))

    def score(self, rows: Tensor) -> Tensor:
        """Scores of clips that had no part in the templates."""
        return self._each(rows).mean(1) / self.spread

    def _each(self, rows: Tensor) -> Tensor:
        """Scores by the templates of each fold, [clips, folds]."""
        parts = (rows @ self.bank.flatten(0, 1).T).view(len(rows), *self.bank.shape[:2])
        return parts.norm(dim=2) - RAYLEIGH if self.free else parts[:, :, 0]

    def bounds(self, fpr: float) -> tuple[float, float]:
        """The score of which a clip without the pattern has ``fpr`` chances: as the normal law
        has it or as the negative side shows; and one that no member is far below."""
        knee = KNEE * float(self.scores[self.members].median())
        if self.free:
            return max(sqrt(-2 * log(fpr)), TAIL) - RAYLEIGH, knee
        tail = -float(self.scores.quantile(fpr))
        return max(NormalDist().inv_cdf(1 - fpr), tail), knee


def gram(spectra: Spectra, probe: Tensor) -> Tensor:
    """Agreement of all pairs, in standard deviations of that with the shifted clips ``probe``,
    which a pattern cannot widen; pairs of the same footage have none."""
    width = (spectra.rows @ probe.T).std(1).clamp(min=TINY)
    width = (width / width.median().sqrt()).clamp(min=0.1 * float(width.median().sqrt()))
    pairs = products(spectra.rows).div_(width[:, None]).div_(width)
    return pairs.masked_fill_(spectra.twins, 0.0)


def search(spectra: Spectra, view: View, free: bool, rng: torch.Generator) -> Group:
    """The most coherent group. Clips whose ``pairs`` are all zero take no part in it."""
    starts = torch.cat([*_guesses(view.pairs, view.labels, free)])
    found = (_settle(spectra, view, *start, rng) for start in _grow(view.pairs, starts))
    return max(found, key=Group.coherence)


def _settle(
    spectra: Spectra, view: View, members: Tensor, weights: Tensor, rng: torch.Generator
) -> Group:
    """A group that was grown from pairs, as the matched filter has it."""
    first = matched(spectra, view.probe, members, weights, rng)
    absent = ~view.pairs.any(1)
    again = (first.scores > CUT - (RAYLEIGH if first.free else 0)) & ~absent
    if again.sum() < LEAST:
        return first
    if not first.free:
        return matched(spectra, view.probe, again, first.scores.clamp(min=0)[:, None], rng)
    parts = spectra.rows @ first.bank.mean(0).T
    weights = parts / parts.norm(dim=1).median().clamp(min=TINY)
    return matched(spectra, view.probe, again, weights, rng)


def matched(
    spectra: Spectra, probe: Tensor, members: Tensor, weights: Tensor, rng: torch.Generator
) -> Group:
    """Score all clips with templates of the members, a member with one made without it.

    ``weights`` says how much of each of the d quadratures a clip has, [clips, d].
    """
    fold = _folds(spectra.twins, members, rng)
    depth = weights.shape[1]
    if fold.max() < 1:  # one piece of footage, however often: there is nothing to compare
        return Group(members, torch.zeros(len(fold)), torch.zeros(1, depth, spectra.rows.shape[1]))
    count = int(fold.max()) + 1
    inside = members.nonzero()[:, 0]
    apart = fold[inside] != torch.arange(count)[:, None]
    factors = (apart[:, None] * weights[inside].T).flatten(0, 1)
    bank = spectra.rows.new_zeros(len(factors), spectra.rows.shape[1])
    for some, part in zip(inside.split(PART), factors.split(PART, 1), strict=True):
        bank += part @ spectra.rows[some]
    bank = bank.view(count, depth, -1)
    size = bank.view(count, depth, -1, 2).square().sum((1, 3))
    least = size.topk(max(1, round(KEPT * size.shape[1])), dim=1).values[:, -1:]
    bank *= (size >= least).repeat_interleave(2, 1)[:, None]
    chance = torch.einsum("fdb,pb->fpd", bank, probe)
    spread = chance.mT @ chance / len(probe)
    spread += (
        JITTER * spread.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] + TINY**2
    ) * torch.eye(depth)
    bank = torch.linalg.solve_triangular(torch.linalg.cholesky(spread), bank, upper=False)
    group = Group(members, torch.zeros(len(fold)), bank)
    each = group._each(spectra.rows)
    scores = torch.where(members, each.gather(1, fold.clamp(min=0)[:, None])[:, 0], each.mean(1))
    deviation = _rayleigh(scores + RAYLEIGH) if depth == 2 else _spread(scores)
    scale = max(1.0, float(deviation))
    return group._replace(scores=scores / scale, spread=scale)


def _spread(scores: Tensor) -> Tensor:
    """Standard deviation of the clips without the pattern, at least 1: from negative scores."""
    negative = torch.where(scores < 0, -scores, torch.nan)
    return (MAD * negative.nanmedian(-1, keepdim=True).values).nan_to_num(1.0).clamp(min=1.0)


def _rayleigh(lengths: Tensor) -> Tensor:
    """Standard deviation of the clips without the pattern, at least 1: from the shortest fifth."""
    return (lengths.quantile(0.2, dim=-1, keepdim=True) / FIFTH).clamp(min=1.0)


def leading(pairs: Tensor, count: int) -> Tensor:
    """The eigenvectors of the largest eigenvalues, largest first, [count, clips].

    By iteration in a subspace: all eigenvectors of some thousand clips would cost too much.
    """
    size = min(count + SPARE, len(pairs))
    rng = torch.Generator().manual_seed(0)
    basis = torch.randn(len(pairs), size, generator=rng)
    shift = float(pairs.square().sum().sqrt()) / sqrt(len(pairs))  # more positive, less negative
    for _ in range(POWER):
        basis = torch.linalg.qr(pairs @ basis + shift * basis).Q
    values, turn = torch.linalg.eigh(basis.T @ pairs @ basis)
    found: Tensor = basis @ turn[:, values.argsort(descending=True)[:count]]
    return found.T


def _guesses(pairs: Tensor, labels: Tensor, free: bool) -> Iterator[Tensor]:
    """First guesses at a group, [starts, clips, d], zero where a clip is no member: those of all
    clips, and what each class comes to by itself. A few moved clips are too few among all to be
    seen in its eigenvectors, not in their class."""
    first = _planes if free else _starts
    yield first(pairs)
    for one in labels.unique():
        part = ((labels == one) & pairs.any(1)).nonzero()[:, 0]
        if LEAST < len(part) < len(pairs):
            block = pairs[part][:, part]
            for members, weights in _grow(block, first(block)):
                start = torch.zeros(len(pairs), weights.shape[1])
                start[part] = weights if free else members[:, None].float()
                yield start[None]


def _starts(pairs: Tensor) -> Tensor:
    """First guesses at a group, [starts, clips, 1]: eigenvectors and nearest neighbours."""
    basis = leading(pairs, 2)
    strong = torch.cat([basis, -basis]).topk(max(LEAST, isqrt(len(pairs))), 1).indices
    near = pairs.topk(LEAST, 1)
    best = near.values[:, -1].topk(min(STARTS, len(pairs))).indices
    starts = strong, strong[:, :LEAST], torch.cat([best[:, None], near.indices[best]], 1)
    return torch.cat([torch.zeros(len(i), len(pairs)).scatter(1, i, 1.0) for i in starts])[
        ..., None
    ]


def _planes(pairs: Tensor) -> Tensor:
    """First guesses at a group in a plane, [starts, clips, 2]: pairs of leading eigenvectors, and
    the leading ones with the strongest of what they leave. Zero where a clip is no member."""
    basis = leading(pairs, LEADING)
    chosen = [(a, b) for b in range(1, len(basis)) for a in range(b)]
    planes = torch.stack([torch.stack([basis[a], basis[b]], 1) for a, b in chosen])
    radius = planes.norm(dim=2)
    starts = []
    for many in {max(LEAST + 1, isqrt(len(pairs))), max(LEAST + 1, len(pairs) // 10)}:
        least = radius.topk(min(many, len(pairs)), 1).values[:, -1:]
        starts.append(_unit(planes) * (radius >= least)[:, :, None])
    return torch.cat(starts)


def _unit(planes: Tensor) -> Tensor:
    length: Tensor = planes.norm(dim=2, keepdim=True)
    return planes / length.clamp(min=TINY)


def _grow(pairs: Tensor, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Let each group take in what agrees with its other members. The most coherent ones of which
    no two are mostly the same: members, bool [clips], and how much of each quadrature these have,
    [clips, d]. Not the first alone: two or three clips of alike motion may agree more than many
    clips with a pattern do, pair by pair."""
    depth = weights.shape[2]
    grown = weights
    for _ in range(ROUNDS):
        enough = (grown != 0).any(2).sum(1) >= LEAST
        weights = torch.where(enough[:, None, None], grown, weights)
        groups = (weights != 0).any(2)
        others = (groups.sum(1, keepdim=True) - groups.int()).clamp(min=1)
        parts = torch.einsum("snd,nm->smd", weights, pairs) / others.sqrt()[:, :, None]
        if depth == 1:
            scores = parts[:, :, 0] / _spread(parts[:, :, 0])
            grown = (scores > CUT)[:, :, None].float()
        else:
            parts *= sqrt(2)
            length = parts.norm(dim=2)
            scores = length / _rayleigh(length) - RAYLEIGH
            grown = _unit(parts) * (scores > CUT - RAYLEIGH)[:, :, None]
    order = ((scores * groups).sum(1) / groups.sum(1).sqrt()).argsort(descending=True, stable=True)
    chosen: list[int] = []
    for k in order.tolist():
        if len(chosen) < CHOSEN and all(shared(groups[k], groups[j]) <= SAME for j in chosen):
            chosen.append(k)
    kept = weights if depth == 2 else scores.clamp(min=0)[:, :, None]
    return [(groups[k], kept[k]) for k in chosen]


def shared(one: Tensor, other: Tensor) -> float:
    """Share of the clips of either group that both have."""
    return float((one & other).sum() / (one | other).sum().clamp(min=1))


def _folds(twins: Tensor, members: Tensor, rng: torch.Generator) -> Tensor:
    """A fold for each member, −1 for the rest; the same footage is all in one fold, [clips]."""
    inside = members.nonzero()[:, 0]
    alike = csr_matrix(twins[inside][:, inside].numpy())
    count, footage = connected_components(alike, directed=False)
    fold = torch.full((len(members),), -1)
    fold[inside] = (torch.randperm(count, generator=rng) % FOLDS)[torch.from_numpy(footage).long()]
    return fold
