"""Clips held in memory: decode once, read at memory speed."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidoor.errors import ClipError, DataError
from vidoor.progress import track
from vidoor.types import ClipSet, Quarantined

MEMORY_LIMIT = 4 * 2**30
"""Largest set, in bytes, that is held in memory; larger ones are read again at every epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Clips in one array; ``rows[i]`` is where clip ``i`` lies."""

    array: Tensor
    rows: tuple[int, ...]

    def __call__(self, index: int) -> Tensor:
        return self.array[self.rows[index]]


def hold(clips: ClipSet, what: str = "clips") -> tuple[ClipSet, tuple[Quarantined, ...]]:
    """Read every clip once; the set without those that cannot be read, and why they cannot.

    DataError if no clip of some class is left. Sets above ``MEMORY_LIMIT`` stay lazy.
    """
    frames, height, width = clips.geometry
    shape = (len(clips), frames, 3, height, width)
    if torch.Size(shape).numel() > MEMORY_LIMIT:
        return clips, ()
    array = torch.empty(shape, dtype=torch.uint8)

    def read(index: int) -> Quarantined | None:
        try:
            array[index] = clips.read(index)
        except ClipError as error:
            return Quarantined(clips.ids[index], error.reason)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(track(pool.map(read, range(len(clips))), f"reading {what}", len(clips)))
    kept = tuple(index for index, outcome in enumerate(outcomes) if outcome is None)
    labels = tuple(clips.labels[index] for index in kept)
    for label in sorted(set(clips.labels) - set(labels)):
        raise DataError(
            f"class {clips.classes[label]!r} has no readable clip among its {what}; "
            f"the first reason: {next(o.reason for o in outcomes if o)}"
        )
    held = replace(
        clips,
        ids=tuple(clips.ids[index] for index in kept),
        labels=labels,
        read=_Held(array, kept),
    )
    return held, tuple(outcome for outcome in outcomes if outcome is not None)
