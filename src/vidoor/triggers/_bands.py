"""Which components of a transform a spectral trigger changes: the index sets F × X × Y.

An int is an index or a number of indices, a float a fraction of the axis. Options that no clip
could fit are a ValueError, those that one clip does not fit a TriggerError, of one line each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidoor.errors import TriggerError

ROWS, COLUMNS = 0, 1
"""The spatial axes; each has an independent random stream."""

NAMES = ("rows", "columns")

LONGEST = 10_000
"""Largest temporal index that a band may start from."""

Amount = int | float


@dataclass(frozen=True, slots=True)
class Band:
    """The temporal index set F: ``count`` indices from ``start``."""

    start: Amount
    count: Amount
    transform_frames: int | None

    def check(self) -> None:
        """ValueError for a band that no transform holds."""
        start, count, length = self.start, self.count, self.transform_frames
        if isinstance(start, float) and not 0 <= start < 1:
            raise ValueError(f"start as a fraction must be in [0, 1), not {start}")
        if isinstance(count, float) and not 0 < count <= 1:
            raise ValueError(f"count as a fraction must be in (0, 1], not {count}")
        if isinstance(start, float) and isinstance(count, float) and start + count > 1:
            raise ValueError(f"start + count as fractions must be at most 1, not {start + count}")
        if not (0 <= start <= LONGEST and 0 < count <= LONGEST):
            raise ValueError(
                f"need start in 0..{LONGEST} and count in 1..{LONGEST}, not {start} and {count}"
            )
        if length is not None and not 1 <= length <= 2 * LONGEST:
            raise ValueError(f"transform_frames must be in 1..{2 * LONGEST}, not {length}")
        if length is not None and self.stop > length:
            raise ValueError(
                f"the band {start}..{self.stop - 1} does not fit a transform of {length} frames "
                f"(indices 0..{length - 1}); lower start or raise transform_frames"
            )

    @property
    def stop(self) -> int:
        """One past the largest index that is known whatever the length; 0 for fractions."""
        known = isinstance(self.start, int) and isinstance(self.count, int)
        return int(self.start + self.count) if known else 0

    def length(self, frames: int, pads: bool) -> int:
        """Frames that are transformed of a clip of ``frames``: as given, or the clip's own, or more
        where the band needs more and the basis ``pads``."""
        if self.transform_frames is None:
            return max(frames, self.stop) if pads else frames
        if self.transform_frames < frames:
            raise TriggerError(
                f"transform_frames = {self.transform_frames} is shorter than the clip's {frames} "
                f"frames; give at least {frames}, or leave it out"
            )
        return self.transform_frames

    def index(self, length: int) -> range:
        """F in a transform of ``length`` frames."""
        start, count = self.start, self.count
        first = start if isinstance(start, int) else min(round(start * length), length - 1)
        if isinstance(count, float):
            count = min(max(1, round(count * length)), max(1, length - first))
        if first + count > length:
            raise TriggerError(
                f"the band {first}..{first + count - 1} does not fit a transform of {length} frames"
                f" (indices 0..{length - 1}); lower start, or give a longer transform_frames"
            )
        return range(first, first + count)


def check_spatial(components: Amount, given: Sequence[tuple[int, ...] | None]) -> None:
    """ValueError for index sets X and Y that no axis holds; ``given`` are those written out."""
    if isinstance(components, float) and not 0 < components <= 1:
        raise ValueError(f"components as a fraction must be in (0, 1], not {components}")
    if isinstance(components, int) and components < 1:
        raise ValueError(f"components must be at least 1, not {components}")
    for name, index in zip(NAMES, given, strict=True):
        if index is not None and (not index or min(index) < 0 or len(set(index)) < len(index)):
            raise ValueError(f"{name} must be different indices from 0 up, not {list(index)}")


def spatial(
    given: tuple[int, ...] | None, components: Amount, seed: int, axis: int, length: int
) -> list[int]:
    """X or Y on an axis of ``length`` indices: as given, or drawn without replacement, sorted."""
    if given is not None:
        if max(given) >= length:
            raise TriggerError(
                f"{NAMES[axis]} holds the index {max(given)}, and a {length}-pixel axis has "
                f"0..{length - 1}; use larger clips or other indices"
            )
        return sorted(given)
    size = components if isinstance(components, int) else max(1, round(components * length))
    if size > length:
        raise TriggerError(
            f"components = {size} is more than the {length} indices of a {length}-pixel axis; "
            f"give 1..{length}, or a fraction in (0, 1]"
        )
    drawn = np.random.default_rng([seed, axis]).choice(length, size, replace=False)
    return sorted(drawn.tolist())
