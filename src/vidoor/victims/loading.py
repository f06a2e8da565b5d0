"""Batches: which clips make up each, and the loader that reads them.

An epoch's order hangs on (seed, epoch) and on nothing else: not on how many processes read, how
many train, or where an interrupted epoch goes on.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from vidoor.errors import TrainingError, VidoorError
from vidoor.types import ClipSet
from vidoor.victims.augmentation import Augmentation


class Key(NamedTuple):
    """A clip in an epoch: what decides its random view."""

    epoch: int
    clip: int


def share(size: int, part: int, parts: int) -> range:
    """Positions of ``part`` where ``size`` are dealt to ``parts`` in a row, as evenly as can be."""
    return range(size * part // parts, size * (part + 1) // parts)


@dataclass
class Order(Sampler[list[Key]]):
    """The batches of an epoch, from ``step`` on; of each, the share of one of several processes.

    A process without a share, where a batch has fewer clips than there are processes, gets the
    batch's first clip: it has to take part, and the loop gives that clip no weight.
    """

    length: int
    batch_size: int
    seed: int
    rank: int = 0
    ranks: int = 1
    epoch: int = 0
    step: int = 0

    @property
    def steps(self) -> int:
        """Batches of a whole epoch."""
        return -(-self.length // self.batch_size)

    def size(self, step: int) -> int:
        """Clips of batch ``step``, over all processes."""
        return min(self.batch_size, self.length - step * self.batch_size)

    def __len__(self) -> int:
        return self.steps - self.step

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng([self.seed, 2, self.epoch]).permutation(self.length).tolist()
        for step in range(self.step, self.steps):
            start, size = step * self.batch_size, self.size(step)
            mine = share(size, self.rank, self.ranks) or range(1)
            yield [Key(self.epoch, order[start + position]) for position in mine]


@dataclass(frozen=True)
class Clips(Dataset[Any]):
    """Clips as the loader asks for them; in its processes errors travel as values."""

    clips: ClipSet
    seed: int
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        clip = self.clips.read(key.clip)
        if self.augmentation:
            clip = self.augmentation(clip, np.random.default_rng([self.seed, 4, *key]))
        return clip, self.clips.labels[key.clip]

    def __getitems__(self, keys: list[Key]) -> Any:
        """Frames and labels of a batch, or the error that a clip gave."""
        try:
            return default_collate([self[key] for key in keys])
        except VidoorError as error:
            return error


def loader(dataset: Clips, order: Order, workers: int, device: torch.device) -> DataLoader[Any]:
    """Reads the batches of ``order``, ahead of time where ``workers`` processes do it.

    Held or mapped clips need none (0): handing them between processes costs more than reading.
    """
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=_same,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        # A forked copy of a process with threads may hang.
        multiprocessing_context="spawn" if workers else None,
        generator=torch.Generator(),  # it draws one number, which nothing here uses
    )


def _same(batch: Any) -> Any:
    return batch


def batches(source: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames B×T×C×H×W (uint8) and labels B of each batch of a ``loader``. Raises what reading a
    clip raised."""
    for batch in source:
        if isinstance(batch, VidoorError):
            raise batch
        yield batch[0], batch[1]


@contextmanager
def reading() -> Iterator[None]:
    """A block that reads batches: TrainingError where a process of the loader died, which torch
    tells wherever the block happens to be."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that reads clips died, often for want of memory; use fewer of them"
        ) from None
