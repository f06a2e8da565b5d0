"""S3D: an inflated Inception whose 3-D convolutions are split into space, then time.

Xie et al., "Rethinking Spatiotemporal Feature Learning", ECCV 2018. At the defaults this is S3D
with the parameter names and shapes of torchvision's ``s3d`` (without the paper's gating, as there).

Departures: pools and the head's window shrink to the map where that is smaller, so that any clip
goes in; wherever the published network runs, the logits are the published ones. Batch norm's
momentum is PyTorch's usual one, see ``bn_momentum``.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidoor.registry import register
from vidoor.victims._download import Source
from vidoor.victims._inception import DEPTH, STEM, Channels, check, mixed
from vidoor.victims._layers import WindowPool, scaled
from vidoor.victims.weights import Checkpoints, Presets, Pretrained


class Norm(NamedTuple):
    """How batch norm is set."""

    eps: float
    momentum: float


class _Conv(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Norm,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        frames, rows, columns = (size // 2 for size in kernel)
        super().__init__(
            nn.Conv3d(inputs, outputs, kernel, stride, (frames, rows, columns), bias=False),
            nn.BatchNorm3d(outputs, norm.eps, norm.momentum),
            nn.ReLU(inplace=True),
        )


class _Separable(nn.Sequential):
    """A size×size convolution in space, then one over ``size`` frames."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, size: int, stride: int = 1) -> None:
        super().__init__(
            _Conv(inputs, outputs, norm, (1, size, size), (1, stride, stride)),
            _Conv(outputs, outputs, norm, (size, 1, 1), (stride, 1, 1)),
        )


class _Mixed(nn.Module):
    """An Inception block of four branches."""

    def __init__(self, inputs: int, has: Channels, norm: Norm) -> None:
        super().__init__()
        self.branch0 = _Conv(inputs, has.one, norm)
        self.branch1 = nn.Sequential(
            _Conv(inputs, has.two_in, norm), _Separable(has.two_in, has.two, norm, 3)
        )
        self.branch2 = nn.Sequential(
            _Conv(inputs, has.three_in, norm), _Separable(has.three_in, has.three, norm, 3)
        )
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, padding=1), _Conv(inputs, has.four, norm))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        return torch.cat([branch(x) for branch in branches], 1)


class _Halve(nn.Module):
    """Max pooling of 2×2×2, stride 2, that leaves an axis of length one as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool3d(x, [min(2, size) for size in x.shape[2:]], stride=2)


def _stem_pool(config: "S3D") -> nn.Module:
    if not config.stem_pools:
        return nn.Identity()
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1))


class S3DNetwork(nn.Module):
    """Stem, up to three stages of Inception blocks, pool, 1×1×1 convolution as head."""

    def __init__(self, config: "S3D", classes: int) -> None:
        super().__init__()
        norm = Norm(1e-3, config.bn_momentum)
        width, inputs = config.width, scaled(config.width, 64, STEM)
        self.features = nn.Sequential(
            _Separable(3, width, norm, 7, 2),
            _stem_pool(config),
            _Conv(width, width, norm),
            _Separable(width, inputs, norm, 3),
            _stem_pool(config),
        )
        between = (None, nn.MaxPool3d(3, 2, padding=1), _Halve())
        for stage, pool in zip(mixed(config.depth, width), between, strict=False):
            if pool is not None:
                self.features.append(pool)
            for has in stage.values():
                self.features.append(_Mixed(inputs, has, norm))
                inputs = has.outputs
        self.avgpool = WindowPool((2, 7, 7))
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Conv3d(inputs, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits B×classes of a normalised batch B×3×T×H×W."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)))
        return logits.mean((2, 3, 4))


@register("victim", "s3d")
@dataclass(frozen=True, kw_only=True)
class S3D(Pretrained):
    """S3D, scalable from the published network to one that two CPU cores can train."""

    width: int = 64
    """Channels of the stem; all others follow it. 64 is the published width."""

    depth: tuple[int, ...] = DEPTH
    """Inception blocks of each stage, one to three stages. (2, 5, 2) is the published network."""

    dropout: float = 0.2
    """Share of the pooled features that is dropped in training."""

    stem_pools: bool = True
    """Max pooling in the stem. Without it pictures of a few dozen pixels keep enough of them for
    the stages; it has no weights, so that names and shapes stay as they are."""

    bn_momentum: float = 0.1
    """Weight of each batch in batch norm's running statistics. The published 0.001 suits the many
    steps of a large training: after the few hundred of a small one, the statistics are still mostly
    what they began as, and a network that has learnt everything predicts nothing."""

    # Kinetics-400 statistics that torchvision's S3D was trained with.
    mean = (0.43216, 0.394666, 0.37645)
    std = (0.22803, 0.22145, 0.216989)

    head = "classifier.1"
    penultimate = "avgpool"
    presets: ClassVar[Presets] = {
        "paper": {"bn_momentum": 0.001},
        "small": {"width": 8, "depth": (1, 1), "dropout": 0.0, "stem_pools": False},
    }
    checkpoints: ClassVar[Checkpoints] = {
        "kinetics400": Source("https://download.pytorch.org/models/s3d-d76dad2f.pth", "d76dad2f")
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.width, self.depth, self.dropout, self.bn_momentum)

    @property
    def stages(self) -> tuple[str, ...]:
        """Paths of the last block of each stage."""
        ends = [5 + sum(self.depth[: n + 1]) + n - 1 for n in range(len(self.depth))]
        return tuple(f"features.{end}" for end in ends)

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network with ``classes`` outputs."""
        return S3DNetwork(self, classes)
