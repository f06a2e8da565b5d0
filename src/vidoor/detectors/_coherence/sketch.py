"""A bounded sample of a data set, whatever its order and however it is cut into parts.

The clips with the lowest hashes are the sample, each once however often it was copied. So the
sample of a whole is the sample of the samples of its parts: ``merge`` is associative and
commutative, and parts can be learned in processes of their own.
"""

from collections.abc import Callable, Iterable
from heapq import heappush, heapreplace
from typing import NamedTuple

import torch
from torch import Tensor

from vidoor.data.ahead import ahead
from vidoor.detectors._coherence.views import Lens, look
from vidoor.spread import halved

COLUMNS = 2048


class Sketch(NamedTuple):
    """Clips that stand for all, sorted by their names."""

    names: tuple[bytes, ...]
    rows: Tensor
    """Moving spectra as they were seen, complex64 [clips, bins]."""
    sights: Tensor
    """The ``sight`` of each clip's mean over time, float32 [clips, 6, rows, columns]."""
    thumbs: Tensor
    """Small copies, float32 [clips, (1 + T) 64]."""


def learn(
    read: Callable[[int], Tensor], part: Iterable[int], through: Lens, room: int
) -> tuple[Sketch, dict[int, bytes]]:
    """The sketch of the clips ``part``, of at most ``room`` clips, and the name of each clip.

    Each clip is read once, and no more than ``room`` are held.
    """
    room = min(room, len(indices := list(part)))
    names: dict[int, bytes] = {}
    slots: dict[bytes, int] = {}
    highest: list[bytes] = []  # a heap of the slots' names, inverted
    held: list[Tensor] = []
    with halved():  # files are decoded meanwhile
        for index, clip in zip(indices, ahead(read, indices), strict=True):
            seen = look(clip, through)
            names[index] = seen.name
            if seen.name in slots:
                continue
            if len(slots) < room:
                slots[seen.name] = len(slots)
                heappush(highest, _inverted(seen.name))
            elif seen.name < (last := _inverted(highest[0])):
                slots[seen.name] = slots.pop(last)
                heapreplace(highest, _inverted(seen.name))
            else:
                continue
            held = held or [kind.new_empty(room, *kind.shape) for kind in seen[1:]]
            for kind, value in zip(held, seen[1:], strict=True):
                kind[slots[seen.name]] = value
    order = torch.tensor([slots[name] for name in sorted(slots)], dtype=torch.long)
    return Sketch(tuple(sorted(slots)), *(_sorted(kind, order) for kind in held)), names


def merge(sketches: Iterable[Sketch], room: int) -> Sketch:
    """The sketch of all parts together, of at most ``room`` clips. Of one part: that one."""
    parts = [part for part in sketches if part.names]
    if len(parts) == 1:
        return parts[0]
    place = {name: i for i, name in enumerate(name for part in parts for name in part.names)}
    names = tuple(sorted(place)[:room])
    order = torch.tensor([place[name] for name in names], dtype=torch.long)
    kinds = zip(*(part[1:] for part in parts), strict=True)
    return Sketch(names, *(torch.cat(kind)[order] for kind in kinds))


def _inverted(name: bytes) -> bytes:
    """Another name, in reverse order."""
    return bytes(255 - byte for byte in name)


def _sorted(kind: Tensor, order: Tensor) -> Tensor:
    """The held clips in that order, a few columns at a time: a second copy might not fit."""
    kind = kind[: len(order)]
    for part in torch.split(kind.flatten(1), COLUMNS, dim=1):
        part.copy_(part[order])
    return kind
