"""Label-free coherence: find the one fixed pattern that many clips of a data set share.

A separable trigger, in whatever basis, is one fixed T×H×W pattern added to every poisoned clip.
Natural clips whose spectra are whitened agree on nothing in particular; poisoned ones agree on it.
"""

import time
from dataclasses import dataclass
from hashlib import blake2b
from math import inf, isqrt, sqrt
from statistics import NormalDist
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.fft import fftfreq, irfftn, rfftfreq, rfftn
from torch.nn.functional import adaptive_avg_pool2d, normalize, pad

from vidoor.errors import DataError
from vidoor.registry import register
from vidoor.types import ClipSet, Cost, Geometry, Verdict

MAD = 1.4826  # median of |x| -> standard deviation, where x is normal
CUT = 6.0  # standard deviations at which a clip joins a group: chance stays below it
LEAST, FOLDS, ROUNDS, STARTS = 3, 5, 10, 32  # clips in a group, folds, steps, first guesses
DRAWS, MARGIN = 3, 2.0  # shifted sets that are searched too; an alarm exceeds their J by this
KEPT = 0.1  # share of the bins that a template keeps, its largest ones
SAMPLE = 256  # clips that are enough for a scale or for a search by chance
CHUNK, TINY = 32, 1e-9


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


class Group(NamedTuple):
    """Clips that agree on a pattern: who, and how well each clip fits it."""

    members: Tensor  # bool [clips]
    scores: Tensor  # matched filter in standard deviations of clips without the pattern, [clips]

    def coherence(self) -> float:
        """J = mean score of the members · √members."""
        return float(self.scores[self.members].mean()) * sqrt(int(self.members.sum()))


@register("detector", "coherence")
@dataclass(frozen=True, kw_only=True)
class Coherence:
    """Data-set detector: do clips carry a fixed pattern in common, and which ones?

    Luminance is differenced along t, y and x (away go static scenes and most wrap-round jumps),
    transformed, whitened per bin and per clip, and clipped in magnitude. Coherent groups are
    sought in the Gram matrix and scored by a matched filter, each clip by a template without it.
    Chance is what shifted clips and negative scores show: an added pattern has no mirror image,
    natural modes do. Copies of a clip are no agreement (``same_footage``). Breaks where fewer than
    three clips have the pattern, or each shifted, flipped or out of phase; finds overlays too.
    """

    needs_victim: ClassVar[bool] = False

    fpr: float = 0.001
    """Share of the clean clips that may be flagged once there is an alarm, 1e-9 to below 0.5."""
    floor: float = 30.0
    """Coherence J that an alarm needs at least (natural footage stays below it), finite, >= 0."""
    memory: float = 512.0
    """MiB for the spectra, above 0, at most 2**20; not all bins fit: a random subset is used."""
    seed: int = 0
    """Seed of shifts, folds and subsets, 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        rates = 1e-9 <= self.fpr < 0.5 and 0 <= self.floor < inf
        if not (rates and 0 < self.memory <= 2**20 and 0 <= self.seed < 2**63):
            valid = "1e-9 <= fpr < 0.5, 0 <= floor < inf, 0 < memory <= 2**20, 0 <= seed < 2**63"
            raise ValueError(f"{self}: give {valid}")

    def check(self, count: int, geometry: Geometry) -> None:
        """DataError where there are fewer than eight clips or they are smaller than 2×8×8."""
        if count < 8 or geometry.frames < 2 or min(geometry[1:]) < 8:
            size = "×".join(map(str, geometry))
            raise DataError(f"{count} clips of {size}; give 8 of 2×8×8 or more")

    def inspect(self, suspects: ClipSet, *, victim: object | None = None) -> Verdict:
        """Score the clips; ids, order, labels, ``victim`` change nothing. Errors: as ``check``."""
        begin, ids, count = time.perf_counter(), suspects.ids, len(suspects)
        self.check(count, suspects.geometry)
        rng = torch.Generator().manual_seed(self.seed)
        spectra, rank = _spectra(suspects, self.memory, rng)
        probe = spectra.shifted(torch.arange(min(max(count, 64), SAMPLE)) % count, rng).rows
        group = _search(spectra, probe, rng)
        picks = [torch.randperm(count, generator=rng)[:SAMPLE] for _ in range(DRAWS)]
        chance = [_search(spectra.shifted(pick, rng), probe, rng).coherence() for pick in picks]
        level, found = max(self.floor, MARGIN * max(chance)), group.coherence()
        # The tail of clips without the pattern: as the normal law has it, or as the negative side.
        tail = max(NormalDist().inv_cdf(1 - self.fpr), -float(group.scores.quantile(self.fpr)))
        threshold = tail if found > level else inf
        ranks, order = rank.sort(stable=True)
        scores = torch.full((count,), -inf).scatter_reduce(0, ranks, group.scores, "amax")[rank]
        members = [i for i in scores.argsort(descending=True).tolist() if scores[i] > threshold]
        twins = sorted(sorted(order[pair].tolist()) for pair in spectra.twins.triu(1).nonzero())
        evidence: dict[str, Any] = {"J": found, "J_level": level, "J_shifted": tuple(chance)}
        evidence["members"] = tuple(ids[i] for i in members)
        evidence["same_footage"] = tuple((ids[i], ids[j]) for i, j in twins)
        evidence |= {"template": _pattern(suspects, scores, members).numpy()} if members else {}
        return Verdict(
            ids=ids,
            scores=tuple(scores.tolist()),
            threshold=threshold,
            calibration=f"J > {level:.1f} by shifted clips; FPR {self.fpr:g} by negative scores",
            alarm=found > level,
            evidence=evidence,
            cost=Cost(seconds=time.perf_counter() - begin),
        )


def _spectra(suspects: ClipSet, memory: float, rng: torch.Generator) -> tuple[Spectra, Tensor]:
    """Spectra, sorted by a hash of the clips, and each clip's rank in that (copies share one)."""
    t, h, w = (n - 1 for n in suspects.geometry)
    axes = fftfreq(t, 1 / t), fftfreq(h, 1 / h), rfftfreq(w, 1 / w)
    bins = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    fit = max(64, int(memory * 2**20 / 8 / len(suspects)))
    keep = torch.randperm(bins.shape[1], generator=rng)[:fit].sort().values
    rows = torch.empty(len(suspects), len(keep), dtype=torch.complex64)
    hashes, stills, motions = [], [], []
    for row, clip in zip(rows, map(suspects.read, range(len(rows))), strict=True):
        hashes.append(blake2b(clip.flatten().numpy().data).digest())
        volume, spectrum = _spectrum(clip)
        row.copy_(spectrum.flatten()[keep])
        small = adaptive_avg_pool2d(volume, 8).flatten(1)
        stills.append(small.mean(0) - small.mean())
        motions.append((small - small.mean(0)).flatten())
    ranks = {name: rank for rank, name in enumerate(sorted(set(hashes)))}
    rank = torch.tensor([ranks[name] for name in hashes])
    order = rank.argsort(stable=True)
    for part in torch.split(rows, CHUNK, dim=1):  # a second copy of all rows might not fit
        part.copy_(part[order])
    sizes = rows[:: -(-len(rows) // SAMPLE)].abs()
    level = sizes.where(sizes > 0, torch.nan).nanmedian(0).values.nan_to_num(0.0)
    level.clamp_(min=max(1e-6 * float(level.max()), TINY))
    for part in torch.split(rows, CHUNK):  # level bins, then clips; cap the peaks; unit length
        part /= level
        size = part.abs()
        part /= size.clamp_(min=size.median(1, keepdim=True).values.clamp(min=TINY))
        part /= torch.view_as_real(part).norm(dim=(1, 2))[:, None].clamp(min=TINY)
    still, motion = (normalize(torch.stack(kind)[order]) for kind in (stills, motions))
    # A copy agrees as a picture too; clips that only share a trigger do not.
    twins = ((still @ still.T > 0.98) & (motion @ motion.T > 0.9)).fill_diagonal_(True)
    return Spectra(torch.view_as_real(rows).flatten(1), bins[:, keep], twins), rank


def _search(spectra: Spectra, probe: Tensor, rng: torch.Generator) -> Group:
    # In standard deviations of the correlation with shifted clips, which a pattern cannot widen.
    width = (spectra.rows @ probe.T).std(1).clamp(min=TINY)
    width = (width / width.median().sqrt()).clamp(min=0.1 * float(width.median().sqrt()))
    gram = (spectra.rows @ spectra.rows.T).div_(width[:, None]).div_(width)
    gram.masked_fill_(spectra.twins, 0.0)
    first = _filter(spectra, probe, _grow(gram, _starts(gram)), rng)
    second = first._replace(members=first.scores > CUT)
    return first if second.members.sum() < LEAST else _filter(spectra, probe, second, rng)


def _filter(spectra: Spectra, probe: Tensor, group: Group, rng: torch.Generator) -> Group:
    """Score all clips with templates of the members, a member with one made without it."""
    fold = _folds(spectra.twins, group.members, rng)
    if fold.max() < 1:  # one piece of footage, however often: there is nothing to compare
        return Group(group.members, torch.zeros(len(fold)))
    apart = (fold != torch.arange(int(fold.max()) + 1)[:, None]) & group.members
    means = (apart * group.scores.clamp(min=0)) @ spectra.rows
    size = means.view(len(means), -1, 2).norm(dim=2)
    least = size.topk(max(1, round(KEPT * size.shape[1])), dim=1).values[:, -1:]
    bank = (means * (size >= least).repeat_interleave(2, 1)).T
    each = spectra.rows @ bank / (probe @ bank).std(0).clamp(min=TINY)
    own = each.gather(1, fold.clamp(min=0)[:, None])[:, 0]
    scores = torch.where(group.members, own, each.mean(1))
    return Group(group.members, scores / _spread(scores))


def _spectrum(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance in grey levels, [T, H, W], and the spectrum of its difference along t, y and x."""
    volume = torch.einsum("tchw,c->thw", clip.float(), torch.tensor([0.299, 0.587, 0.114]))
    return volume, rfftn(volume.diff(dim=0).diff(dim=1).diff(dim=2))


def _spread(scores: Tensor) -> Tensor:
    """Standard deviation of the clips without the pattern, at least 1: from negative scores."""
    negative = torch.where(scores < 0, -scores, torch.nan)
    return (MAD * negative.nanmedian(-1, keepdim=True).values).nan_to_num(1.0).clamp(min=1.0)


def _starts(gram: Tensor) -> Tensor:
    """First guesses at a group, bool [starts, clips]: eigenvectors and nearest neighbours."""
    basis = torch.linalg.eigh(gram).eigenvectors[:, -2:].T
    leading = torch.cat([basis, -basis]).topk(max(LEAST, isqrt(len(gram))), 1).indices
    near = gram.topk(LEAST, 1)
    best = near.values[:, -1].topk(min(STARTS, len(gram))).indices
    starts = leading, leading[:, :LEAST], torch.cat([best[:, None], near.indices[best]], 1)
    return torch.cat([torch.zeros(len(i), len(gram)).scatter(1, i, 1.0) > 0 for i in starts])


def _grow(gram: Tensor, groups: Tensor) -> Group:
    """Let each group take in what agrees with its other members; the most coherent one."""
    grown = groups
    for _ in range(ROUNDS):
        groups = torch.where(grown.sum(1, keepdim=True) < LEAST, groups, grown)
        others = (groups.sum(1, keepdim=True) - groups.int()).clamp(min=1)
        scores = groups.float() @ gram / others.sqrt()
        scores /= _spread(scores)
        grown = scores > CUT
    best = ((scores * groups).sum(1) / groups.sum(1).sqrt()).argmax()
    return Group(groups[best], scores[best])


def _folds(twins: Tensor, members: Tensor, rng: torch.Generator) -> Tensor:
    """A fold for each member, −1 for the rest; the same footage is all in one fold, [clips]."""
    first = torch.arange(len(members))
    for _ in range(ROUNDS):
        first = torch.where(twins & members & members[:, None], first, len(members)).amin(1)
    footage = (first == torch.arange(len(members))).nonzero().flatten()
    place = torch.full((len(members) + 1,), -1)
    place[footage] = torch.randperm(len(footage), generator=rng) % FOLDS
    return place[first]


def _pattern(suspects: ClipSet, scores: Tensor, members: list[int]) -> Tensor:
    """What the members share, grey levels, float32 [T, H, W]; zero mean along each axis.

    A busy clip counts less, and a bin as far as its mean stands out of its own uncertainty.
    """
    sure = [i for i in members if scores[i] > 0.5 * scores[members].median()][: SAMPLE // 8]
    spectra = torch.stack([_spectrum(suspects.read(clip))[1] for clip in sure])
    weight = spectra.abs().flatten(1).median(1).values.clamp(min=TINY) ** -2
    weight = (weight / weight.sum())[:, None, None, None]
    mean = (weight * spectra).sum(0)
    error = (weight * (spectra - mean).abs()).square().sum(0)
    mean *= (1 - 2 * error / mean.abs().square().clamp(min=TINY)).clamp(min=0)
    pattern = pad(irfftn(mean, s=[n - 1 for n in suspects.geometry]), (1, 0, 1, 0, 1, 0))
    for axis in range(3):
        pattern = pattern.cumsum(axis)
        pattern -= pattern.mean(axis, keepdim=True)
    return pattern
