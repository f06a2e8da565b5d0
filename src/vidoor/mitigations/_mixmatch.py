"""Learning from clips of which only some have labels that are trusted.

Berthelot et al., "MixMatch: A Holistic Approach to Semi-Supervised Learning", NeurIPS 2019.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from vidoor.types import Batch, ClipSet
from vidoor.victims.augmentation import Augmentation
from vidoor.victims.victim import Victim, to_batch

VIEWS = 2
"""Random views of a clip whose predictions are averaged."""

Chances = Float[Tensor, "b classes"]


def sharpen(chances: Chances, temperature: float) -> Chances:
    """p^(1/T), normalised again (equation 7)."""
    powers = chances ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def mixup(
    clips: Batch, targets: Chances, partners: Tensor, shares: Tensor
) -> tuple[Batch, Chances]:
    """Each clip and its target mixed with those of its partner, of which it keeps the larger share
    (equations 8 to 11). ``partners`` are rows; ``shares`` are numbers in 0..1."""
    kept = torch.maximum(shares, 1 - shares)
    volumes = kept[:, None, None, None, None]
    mixed = volumes * clips + (1 - volumes) * clips[partners]
    return mixed, kept[:, None] * targets + (1 - kept[:, None]) * targets[partners]


@dataclass
class MixMatch:
    """The loss of a batch of labelled clips and as many of ``unlabelled``, drawn at random.

    Departures: a share is drawn for each clip, as published (released code for DBD: for each
    batch), and guesses are made in evaluation, so that batch norm sees no clip twice.
    """

    unlabelled: ClipSet
    weight: float
    """Of the unlabelled clips' loss, beside that of the labelled ones."""
    temperature: float
    mixup_alpha: float
    """Both parameters of the Beta distribution of shares; 0: nothing is mixed."""
    augmentation: Augmentation
    rng: np.random.Generator = field(repr=False)

    def __call__(self, victim: Victim, batch: Batch, labels: Tensor) -> Tensor:
        """Cross entropy of the labelled clips and squared errors of the others (equations 2 to 5),
        in the order in which they came before they were mixed."""
        views = self._views(len(batch)).to(batch)
        guesses = self._guess(victim, views).repeat(VIEWS, 1)
        targets = torch.cat([one_hot(labels, guesses.shape[1]).to(guesses), guesses])
        clips = torch.cat([batch, views])
        partners = torch.from_numpy(self.rng.permutation(len(clips))).to(batch.device)
        shares = self._shares(len(clips)).to(batch)
        mixed, goals = mixup(clips, targets, partners, shares)
        logits, count = victim(mixed), len(batch)
        errors = (logits[count:].softmax(1) - goals[count:]).square().mean()
        loss: Tensor = cross_entropy(logits[:count], goals[:count]) + self.weight * errors
        return loss

    def _shares(self, count: int) -> Tensor:
        if not self.mixup_alpha:
            return torch.ones(count)
        return torch.from_numpy(self.rng.beta(self.mixup_alpha, self.mixup_alpha, count))

    def _views(self, count: int) -> Batch:
        """``VIEWS`` views of each of so many unlabelled clips, one after another."""
        size = len(self.unlabelled)
        rows = self.rng.choice(size, count, replace=count > size).tolist()
        clips = [self.unlabelled.read(row) for row in rows] * VIEWS
        return to_batch(torch.stack([self.augmentation(clip, self.rng) for clip in clips]))

    @torch.no_grad()
    def _guess(self, victim: Victim, views: Batch) -> Chances:
        """What the victim makes of clips, over their views, sharpened."""
        chances = victim.eval()(views).softmax(1)
        victim.train()
        return sharpen(chances.unflatten(0, (VIEWS, -1)).mean(0), self.temperature)
