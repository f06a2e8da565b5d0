"""Products of all pairs of rows, of which half need to be computed."""

import torch
from torch import Tensor

BLOCKS = 16  # of rows: the pairs of all but the first of two blocks follow from symmetry


def products(rows: Tensor) -> Tensor:
    """The Gram matrix of the rows, [rows, rows]."""
    count = len(rows)
    pairs = rows.new_empty(count, count)
    for block in torch.arange(count).chunk(BLOCKS):
        first, end = int(block[0]), int(block[-1]) + 1
        pairs[first:end, first:] = rows[first:end] @ rows[first:].T
        pairs[end:, first:end] = pairs[first:end, end:].T
    return pairs
