"""Sums over rows with less work than a product of matrices: half of the pairs of rows follow from
the others, and what is zero need not be read."""

from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCKS = 16  # of rows: the pairs of all but the first of two blocks follow from symmetry


def products(rows: Tensor) -> Tensor:
    """The Gram matrix of the rows, [rows, rows]."""
    count = len(rows)
    pairs = rows.new_empty(count, count)
    step = max(1, -(-count // BLOCKS))
    for first in range(0, count, step):
        end = first + step
        pairs[first:end, first:] = rows[first:end] @ rows[first:].T
        pairs[end:, first:end] = pairs[first:end, end:].T
    return pairs


def means(rows: Tensor, groups: Tensor) -> Tensor:
    """The mean row of each group, [groups, columns]; ``groups`` is bool [groups, rows]."""
    places, first = _places(groups)
    found: Tensor = embedding_bag(places, rows, first, mode="mean")
    return found


def sparse_products(factors: Tensor, rows: Tensor) -> Tensor:
    """Their product, where few of the ``factors`` are not zero."""
    places, first = _places(some := factors != 0)
    weights = factors[some]
    found: Tensor = embedding_bag(places, rows, first, mode="sum", per_sample_weights=weights)
    return found


def _places(some: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of what is true, row by row, and how many come before each row."""
    count = some.sum(1)
    return some.nonzero()[:, 1], count.cumsum(0) - count
