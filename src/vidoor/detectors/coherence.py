"""Coherence: find the fixed patterns that many clips of a data set share, and say what they are.

A separable trigger, in whatever basis, is one fixed T×H×W pattern added to every poisoned clip.
Natural clips whose spectra are whitened agree on nothing in particular; poisoned ones agree on it.
What moves is sought in spectra, what stands still in mean pictures; labels tell a trigger from a
logo, and scenes from stamps. The parts are in ``_coherence``.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from vidoor.data.ahead import ahead
from vidoor.detectors._coherence.findings import Found, distinct, joint, name, ranked, same_footage
from vidoor.detectors._coherence.groups import Group
from vidoor.detectors._coherence.leads import Lead, Leads
from vidoor.detectors._coherence.search import search
from vidoor.detectors._coherence.seen import Seen, see, whiten
from vidoor.detectors._coherence.sketch import learn, merge
from vidoor.detectors._coherence.stamps import Stamp
from vidoor.detectors._coherence.stills import Eye
from vidoor.detectors._coherence.views import Lens, lens, look
from vidoor.errors import DataError
from vidoor.registry import register
from vidoor.spread import spread
from vidoor.types import ClipSet, Cost, Geometry, Verdict

NEEDED = 8
"""Clips of different footage, fewest that are compared."""


class _Outcome(NamedTuple):
    """Of a search: patterns, what it was compared with, scores of clips without any."""

    found: list[Found]
    leads: Leads
    quiet: Tensor


@register("detector", "coherence")
@dataclass(frozen=True, kw_only=True)
class Coherence:
    """Data-set detector: do clips carry a fixed pattern in common, which ones, and why?

    Moving patterns: luminance is differenced along t, y and x (away go static scenes and most
    wrap-round jumps), transformed, whitened per bin and per clip, and clipped in magnitude.
    Coherent groups, with one phase or a phase for each clip, are sought in the Gram matrix and
    scored by a matched filter, each clip by a template without it. Still patterns: sparse stamps
    in mean pictures, of clips that have their scenes elsewhere; a scene is seen in pixels and in
    waves alike, what a stamp spreads in one of the two. Found groups are set aside until there are
    no more. Chance is what shifted clips and negative scores show. Copies of a clip are
    no agreement (``same_footage``). A group in one class is a trigger: the other classes show what
    chance gives, and of them clear carriers alone are listed. So is a faint motion of the whole
    frame; other groups are named in ``groups`` and raise no alarm. Still patterns and those with a
    phase for each clip accuse only where there are labels. Breaks where fewer than three clips have
    the pattern, or each shifted or flipped; a logo that only one class has is taken for a trigger.
    """

    needs_victim: ClassVar[bool] = False
    revision: ClassVar[int] = 9

    fpr: float = 0.001
    """Share of the clean clips that may be flagged once there is an alarm, 1e-9 to below 0.5; where
    a trigger moved its clips to one class, all of that class, and no more than 1 % of it."""
    floor: float = 30.0
    """Coherence J that an alarm needs at least (natural footage stays below it), finite, >= 0.
    What stands still in eight clips or more, beyond chance, or in four that are clearly of no
    scene needs 0.6 of it."""
    memory: float = 512.0
    """MiB for the spectra and a third more for the pictures of the clips, above 0, at most 2**20;
    not all bins fit: a random subset is used; not all pixels: pictures are made smaller."""
    clips: int = 4096
    """Clips that are searched, those with the lowest hashes, 8 or more; others are only scored.
    Beside ``memory``, each pair of them takes up to 36 bytes."""
    seed: int = 0
    """Seed of shifts, folds and subsets, 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        rates = 1e-9 <= self.fpr < 0.5 and 0 <= self.floor < inf and self.clips >= NEEDED
        if not (rates and 0 < self.memory <= 2**20 and 0 <= self.seed < 2**63):
            valid = "1e-9 <= fpr < 0.5, 0 <= floor < inf, 0 < memory <= 2**20, clips >= 8"
            raise ValueError(f"{self}: give {valid}, 0 <= seed < 2**63")

    def check(self, count: int, geometry: Geometry) -> None:
        """DataError where there are fewer than eight clips or they are smaller than 2×8×8."""
        if count < NEEDED or geometry.frames < 2 or min(geometry[1:]) < 8:
            size = "×".join(map(str, geometry))
            raise DataError(f"{count} clips of {size}; give {NEEDED} of 2×8×8 or more")

    @torch.inference_mode(False)  # else other threads could not change what this one made
    def inspect(self, suspects: ClipSet, *, victim: object | None = None) -> Verdict:
        """Score the clips; ids, order and ``victim`` change nothing. Errors: as ``check``."""
        begin, count = time.perf_counter(), len(suspects)
        self.check(count, suspects.geometry)
        rng = torch.Generator().manual_seed(self.seed)
        through = lens(suspects.geometry, min(count, self.clips), self.memory, rng)
        look_at = partial(learn, suspects.read, through=through, room=self.clips)
        parts = spread(look_at, count)
        sketch = merge([part for part, _ in parts], self.clips)
        names = {index: digest for _, told in parts for index, digest in told.items()}
        place = {digest: k for k, digest in enumerate(sketch.names)}
        rank = torch.tensor([place.get(names[i], -1) for i in range(count)])
        seen = see(sketch, through.bins, _labels(suspects, rank, len(place)), rng)
        if (different := seen.spectra.footages()) < NEEDED:
            raise DataError(
                f"{count} clips, but {different} of different footage, so there is nothing to "
                f"compare; give {NEEDED} or more"
            )
        outcome = self._outcome(suspects, seen, through, rank, rng)
        copies = same_footage(suspects.ids, rank, seen.spectra.twins, names)
        triggers = [one for one in outcome.found if one.trigger]
        level = triggers[0].level if triggers else outcome.leads.level
        scores, threshold = joint(triggers) if triggers else (outcome.quiet, inf)
        return Verdict(
            ids=suspects.ids,
            scores=tuple(scores.tolist()),
            threshold=threshold,
            calibration=f"J > {level:.1f} ({'the floor' if level <= self.floor else 'by chance'}); "
            f"FPR {self.fpr:g} by negative scores",
            alarm=bool(triggers),
            evidence=_evidence(suspects, outcome, triggers, scores)
            | {"same_footage": tuple(copies)},
            cost=Cost(seconds=time.perf_counter() - begin),
        )

    def _outcome(
        self, suspects: ClipSet, seen: Seen, through: Lens, rank: Tensor, rng: torch.Generator
    ) -> _Outcome:
        """What is found in the sketch, and the scores of all clips by it."""
        leads = search(seen, self.floor, self.fpr, rng)
        whats = [*(lead.what for lead in leads.leads), leads.strongest]
        *scores, quiet = _scores(whats, suspects, seen, through, rank)
        named = [
            name(lead, one, _inside(lead, rank), suspects, seen.stills, self.fpr)
            for lead, one in zip(leads.leads, scores, strict=True)
        ]
        told = [one for one in named if one.trigger or one.what.coherence() > self.floor]
        return _Outcome(distinct(told), leads, quiet)


def _inside(lead: Lead, rank: Tensor) -> list[int]:
    """The clips that a lead is made of."""
    return [i for i, k in enumerate(rank.tolist()) if k >= 0 and bool(lead.what.members[k])]


def _labels(suspects: ClipSet, rank: Tensor, count: int) -> Tensor:
    """A label for each clip of the sketch: of copies with several, the lowest."""
    labels = torch.tensor(suspects.labels)
    some = rank >= 0
    most = torch.full((count,), int(labels.max()))
    return most.scatter_reduce(0, rank[some], labels[some], "amin")


def _scores(
    whats: Sequence[Group | Stamp], suspects: ClipSet, seen: Seen, through: Lens, rank: Tensor
) -> list[Tensor]:
    """Scores of all clips by each pattern: those outside the sketch are read again, once."""
    scores = [what.scores[rank.clamp(min=0)].clone() for what in whats]
    outside = (rank < 0).nonzero()[:, 0]
    if len(outside):
        rater = _Rater(suspects.read, outside.tolist(), through, seen.eye, seen.level, [*whats])
        for all_scores, found in zip(scores, torch.cat(spread(rater, len(outside))).T, strict=True):
            all_scores[outside] = found
    return scores


@dataclass(frozen=True)
class _Rater:
    """Scores clips that had no part in the patterns."""

    read: Callable[[int], Tensor]
    clips: list[int]
    through: Lens
    eye: Eye
    level: Tensor
    whats: list[Group | Stamp]

    def __call__(self, part: range) -> Tensor:
        """Scores of some of the ``clips``, [clips, patterns]."""
        clips = ahead(self.read, (self.clips[place] for place in part))
        return torch.stack([self._rate(clip) for clip in clips])

    def _rate(self, clip: Tensor) -> Tensor:
        one = look(clip, self.through)
        row, features = whiten(one.row[None], self.level), self.eye.features(one.sight[None])
        seen = (row if isinstance(what, Group) else features for what in self.whats)
        return torch.cat([what.score(sight) for what, sight in zip(self.whats, seen, strict=True)])


def _evidence(
    suspects: ClipSet, outcome: _Outcome, triggers: Sequence[Found], scores: Tensor
) -> dict[str, Any]:
    """What was found, in numbers and words, and the recovered patterns."""
    leads, first = outcome.leads, triggers[0] if triggers else None
    members = ranked(scores, [i for one in triggers for i in one.members])
    evidence: dict[str, Any] = {
        "J": first.what.coherence() if first else leads.strongest.coherence(),
        "J_level": first.level if first else leads.level,
        "J_shifted": leads.chance,
        "groups": [one.row(suspects) for one in outcome.found],
        "members": tuple(suspects.ids[i] for i in members),
    }
    volumes = [one.volumes for one in triggers if one.volumes is not None]
    if volumes:
        templates = torch.cat(volumes).numpy()
        phases = tuple(phase for one in triggers for phase in one.phases)
        evidence |= {"template": templates[0], "phases": phases}
        evidence |= {"templates": templates} if len(templates) > 1 else {}
    return evidence
