"""Layers that several architectures share."""

from torch import Tensor, nn
from torch.nn import functional


class WindowPool(nn.Module):
    """Average pooling, stride 1, with a window that shrinks to the map where that is smaller.

    So a head that was published for one clip size works for every size, and still is the published
    one wherever that one works.
    """

    def __init__(self, window: tuple[int | None, int, int]) -> None:
        """``window``: frames (None: all of them), rows and columns."""
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """B×C×t×h×w, as many positions as the window has."""
        window = [
            size if wanted is None else min(wanted, size)
            for wanted, size in zip(self.window, x.shape[2:], strict=True)
        ]
        return functional.avg_pool3d(x, window, stride=1)


def scaled(width: int, full: int, published: int = 64) -> int:
    """Channels of a layer that has ``published`` ones in a network of width ``full``; at least
    one."""
    return max(1, published * width // full)
