"""Sums over rows with less work than a product of matrices: half of the pairs of rows follow from
the others, and a mean needs its members alone."""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

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


def means(rows: Tensor, groups: Tensor) -> Tensor:
    """The mean row of each group, [groups, columns]; ``groups`` is bool [groups, rows]."""
    first = groups.sum(1).cumsum(0).roll(1)
    first[:1] = 0
    found: Tensor = embedding_bag(groups.nonzero()[:, 1], rows, first, mode="mean")
    return found
