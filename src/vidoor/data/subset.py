"""Fewer clips of a set."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from vidoor.types import ClipSet


@dataclass(frozen=True, slots=True)
class _Picked:
    """Clips that are read from where they come from, each time; ``rows[i]`` is clip ``i``."""

    source: Callable[[int], Tensor]
    rows: tuple[int, ...]

    def __call__(self, index: int) -> Tensor:
        return self.source(self.rows[index])


def pick(
    clips: ClipSet, kept: tuple[int, ...], read: Callable[[int], Tensor] | None = None
) -> ClipSet:
    """The clips ``kept`` of a set, in this order; ``read`` reads them if it is given."""
    return replace(
        clips,
        ids=tuple(clips.ids[index] for index in kept),
        labels=tuple(clips.labels[index] for index in kept),
        read=read or _Picked(clips.read, kept),
    )


def draw(clips: ClipSet, fraction: float, seed: int) -> ClipSet:
    """A ``fraction`` of the clips of every class, at least one of each, drawn from ``seed``."""
    labels = np.asarray(clips.labels)
    rng = np.random.default_rng([seed, 4])
    chosen: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = max(1, round(fraction * len(members)))
        chosen += rng.choice(members, wanted, replace=False).tolist()
    return pick(clips, tuple(sorted(chosen)))
