"""Fine-pruning (FP): channels that clean clips leave silent may serve a backdoor; remove them.

Liu, Dolan-Gavitt and Garg, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural
Networks", RAID 2018. Channels of a late layer are ranked by their mean activation on clean clips,
the lowest are removed until clean accuracy falls, and the rest is fine-tuned. Li et al. (appendix
E) remove 10 % of SlowFast's layer 5, its last stage, and do not fine-tune (preset ``paper``).

Departures: activations are taken without their sign, which is the same after a ReLU and lets
neurons of transformers be ranked as well. The original removes one channel at a time; ``step`` is a
share. A channel that shortcuts carry through a stage is removed from all blocks that write it.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch

from vidoor.data.subset import pick
from vidoor.errors import unknown
from vidoor.metrics import accuracy
from vidoor.mitigations import _channels
from vidoor.mitigations._clean import OnCleanClips, batch
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import ClipSet, Geometry
from vidoor.victims.prediction import evaluation_batch, predict
from vidoor.victims.victim import Victim

Rank = Literal["activation", "random"]


class Ranked(NamedTuple):
    """The channels of a layer, and their order: the first is removed first."""

    channels: _channels.Channels
    order: tuple[int, ...]


@register("mitigation", "fine-pruning")
@dataclass(frozen=True, kw_only=True)
class FinePruning(OnCleanClips):
    """Remove the channels that clean clips use least, then fine-tune.

    ``preset = "random"`` is its control: as many channels, drawn at random.
    """

    layer: str | None = None
    """Path of the layer whose channels are removed; None: the last of the victim's stages. A
    transformer's stages only add to their tokens; there it is the hidden layer of the last MLP."""

    rank: Rank = "activation"
    """What is removed first: the lowest mean ``activation``, or ``random`` ones, the control."""

    fraction_pruned: float | None = None
    """Share of the channels that is removed, 0 to below 1, one at least unless it is 0. None: as
    many as leave the accuracy on a held-out half of the clips within ``fall``. The default is the
    original's, as a share that costs nothing in one network ruins another."""

    fall: float = 4.0
    """Points of clean accuracy that may be lost, at least 0, before fine-tuning."""

    step: float = 0.05
    """Share of the channels that is removed between two looks at the accuracy, in (0, 1]."""

    epochs: int = 5
    """Passes of the fine-tuning over the clips; 0: none."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"fraction_pruned": 0.1, "epochs": 0},
        "random": {"rank": "random"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank not in get_args(Rank):
            raise ValueError(unknown("rank", self.rank, get_args(Rank)))
        if self.fraction_pruned is not None and not 0 <= self.fraction_pruned < 1:
            raise ValueError(f"fraction_pruned must be in [0, 1), not {self.fraction_pruned}")
        if not (0 <= self.fall <= 100 and 0 < self.step <= 1):
            raise ValueError(
                f"need fall in 0..100 and step in (0, 1], not {self.fall} and {self.step}"
            )
        if self.epochs < 0:
            raise ValueError(f"epochs must be at least 0, not {self.epochs}")

    def check(self, victim: Victim, geometry: Geometry) -> None:
        """WeightsError if the layer's channels cannot be removed; also of a victim that is on the
        ``meta`` device."""
        clips = torch.zeros(2, 3, *geometry, device=victim.mean.device)
        _channels.find(victim, clips, self.layer)

    def __call__(self, victim: Victim, clean: ClipSet) -> Victim:
        """A pruned copy of ``victim``: the same network with some of its weights 0."""
        clips = self._draw(clean)
        ranking, measured = _halves(clips, self.seed)
        ranked = self.ranked(victim, ranking)
        count = self._count(victim, ranked, measured)
        chosen, channels = ranked.order[:count], ranked.channels
        say(f"fine-pruning: {count} of {channels.size} channels of {channels.layer}")
        mended = pruned(victim, ranked, count)
        if self.epochs:
            with _channels.held(mended, channels, chosen):
                mended = self._tune(mended, clips, self.epochs, "fine-pruning")
        return mended

    def ranked(self, victim: Victim, clips: ClipSet) -> Ranked:
        """The layer's channels in the order of their removal. WeightsError where there are none."""
        victim = copy.deepcopy(victim).eval()
        device, size = victim.mean.device, evaluation_batch(clips)
        channels = _channels.find(victim, batch(clips, [0], device), self.layer)
        if self.rank == "random":
            order = np.random.default_rng([self.seed, 7]).permutation(channels.size)
            return Ranked(channels, tuple(order.tolist()))
        total = torch.zeros(channels.size, dtype=torch.float64, device=device)
        with torch.no_grad():
            for start in range(0, len(clips), size):
                rows = range(start, min(start + size, len(clips)))
                features = victim.features(batch(clips, rows, device), channels.layer)
                by_channel = features.movedim(_channels.axis(features), 0).flatten(1)
                total += by_channel.abs().mean(1, dtype=torch.float64) * len(rows)
        return Ranked(channels, tuple(total.argsort(stable=True).tolist()))

    def _count(self, victim: Victim, ranked: Ranked, measured: ClipSet) -> int:
        """How many channels to remove; one at least is left."""
        most = ranked.channels.size - 1
        if self.fraction_pruned is not None:
            wanted = round(self.fraction_pruned * ranked.channels.size)
            return min(most, max(wanted, 1 if self.fraction_pruned else 0))
        labels = np.asarray(measured.labels)
        trial, kept = pruned(victim, ranked, 0), 0
        before = accuracy(predict(trial, measured), labels)
        steps = range(1, 1 + int(1 / self.step))
        counts = {min(most, max(1, round(k * self.step * ranked.channels.size))) for k in steps}
        for count in sorted(counts):
            _channels.silence(trial, ranked.channels, ranked.order[:count])
            # A hair of rounding is not a fall.
            if 100 * (before - accuracy(predict(trial, measured), labels)) > self.fall + 1e-9:
                break
            kept = count
        return kept


def pruned(victim: Victim, ranked: Ranked, count: int) -> Victim:
    """A copy of ``victim`` without the first ``count`` channels of an order. For curves of ACC and
    ASR against the number of channels removed."""
    victim = copy.deepcopy(victim)
    _channels.silence(victim, ranked.channels, ranked.order[:count])
    return victim


def _halves(clips: ClipSet, seed: int) -> tuple[ClipSet, ClipSet]:
    """Two halves of the clips, each with as many of every class, give or take one."""
    shuffled = np.random.default_rng([seed, 6]).permutation(len(clips))
    order = shuffled[np.argsort(np.asarray(clips.labels)[shuffled], kind="stable")].tolist()
    return pick(clips, tuple(sorted(order[::2]))), pick(clips, tuple(sorted(order[1::2])))
