"""What transformers over patches have in common: which sizes there are, how weights begin."""

from functools import lru_cache

import torch
from torch import Tensor


def fits(x: Tensor, side: int, frames: int) -> None:
    """ValueError where a clip is smaller than that."""
    have, height, width = x.shape[2:]
    if have < frames or min(height, width) < side:
        raise ValueError(
            f"clips of {have}×{height}×{width} are smaller than the {frames}×{side}×{side} that "
            "these patches need; lower victim.patch, or give larger clips"
        )


def spread(width: int) -> float:
    """Standard deviation of fresh weights: the published 0.02 at width 768, and as much per input
    at others."""
    return float(0.02 * (768 / width) ** 0.5)


@lru_cache(maxsize=8)
def positions(count: int, width: int) -> Tensor:
    """Sines and cosines of ``count`` positions, 1×count×width (Vaswani et al., 2017)."""
    place = torch.arange(count, dtype=torch.float64, device="cpu")[:, None]
    pair = torch.arange(width, device="cpu") // 2
    angle = place / 10000 ** (2 * pair.to(torch.float64) / width)
    even = torch.arange(width, device="cpu") % 2 == 0
    return torch.where(even, angle.sin(), angle.cos())[None].float()


def looking(offset: int, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Queries and keys, rows×width each, by which position p attends most to p + ``offset``.

    A query is the sines and cosines of the first ``rows // 2`` pairs, turned on by ``offset``; a
    key is those of its own position.
    """
    query, key = torch.zeros(rows, width), torch.zeros(rows, width)
    for sine in range(0, rows - 1, 2):
        angle = torch.tensor(offset * 10000 ** (-sine / width))
        turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).reshape(2, 2)
        query[sine : sine + 2, sine : sine + 2] = turn
        key[sine : sine + 2, sine : sine + 2] = torch.eye(2)
    return query, key


def check(width: int, depth: int, heads: int, patch: int) -> None:
    """ValueError, one line, for a size that there is no network of."""
    if min(depth, heads, patch) < 1:
        raise ValueError(
            f"depth, heads and patch must be at least 1, not {depth}, {heads} and {patch}"
        )
    if width < 1 or width % heads:
        raise ValueError(f"width must be a multiple of heads = {heads}, not {width}")
