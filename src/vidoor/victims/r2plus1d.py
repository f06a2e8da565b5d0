"""R(2+1)D: residual blocks whose 3-D convolutions are split into space, then time.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018.
At ``width=64, depth=(2, 2, 2, 2)`` this is R(2+1)D-18 with the parameter names and shapes of
torchvision's ``r2plus1d_18``; smaller values give the same architecture at a smaller size.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from vidoor.registry import register
from vidoor.victims._download import Source
from vidoor.victims.weights import Checkpoints, Presets, Pretrained

STEM_MIDDLE = 45
"""Channels between the two halves of the stem at width 64 (the published network's choice)."""


class _Conv2Plus1D(nn.Sequential):
    """A 1×3×3 then a 3×1×1 convolution with about the parameters of one 3×3×3 convolution."""

    def __init__(self, inputs: int, outputs: int, middle: int, stride: int) -> None:
        super().__init__(
            nn.Conv3d(
                inputs, middle, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False
            ),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False),
        )


class _Block(nn.Module):
    """Two factorised convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # Both convolutions share one middle width, as in the published network.
        middle = (inputs * outputs * 27) // (inputs * 9 + 3 * outputs)
        self.conv1 = nn.Sequential(
            _Conv2Plus1D(inputs, outputs, middle, stride),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            _Conv2Plus1D(outputs, outputs, middle, 1), nn.BatchNorm3d(outputs)
        )
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            None
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.conv2(self.conv1(x)) + shortcut)
        return out


class R2Plus1DNetwork(nn.Module):
    """Stem, up to four stages of residual blocks, global average pool, linear head."""

    def __init__(self, width: int, depth: tuple[int, ...], classes: int) -> None:
        super().__init__()
        middle = max(1, STEM_MIDDLE * width // 64)
        self.stem = nn.Sequential(
            nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        inputs = width
        for stage, blocks in enumerate(depth):
            outputs = width * 2**stage
            layers = []
            for block in range(blocks):
                layers.append(_Block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.stages = tuple(f"layer{stage + 1}" for stage in range(len(depth)))
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits B×classes of a normalised batch B×3×T×H×W."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        out: Tensor = self.fc(self.avgpool(x).flatten(1))
        return out


@register("victim", "r2plus1d")
@dataclass(frozen=True, kw_only=True)
class R2Plus1D(Pretrained):
    """R(2+1)D, scalable from the published R(2+1)D-18 to a network that two CPU cores can train."""

    width: int = 64
    """Channels of the first stage; each later stage doubles them. 64 is the published width."""

    depth: tuple[int, ...] = (2, 2, 2, 2)
    """Residual blocks of each stage, one to four stages. (2, 2, 2, 2) is R(2+1)D-18."""

    # Kinetics-400 statistics of torchvision's R(2+1)D-18, so that its weights see their own inputs.
    mean = (0.43216, 0.394666, 0.37645)
    std = (0.22803, 0.22145, 0.216989)

    head = "fc"
    penultimate = "avgpool"
    presets: ClassVar[Presets] = {
        "paper": {},
        "small": {"width": 8, "depth": (1, 1, 1)},
    }
    checkpoints: ClassVar[Checkpoints] = {
        "kinetics400": Source(
            "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth", "91a641e6"
        )
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 2:
            raise ValueError(f"width must be at least 2 channels, not {self.width}")
        if not 1 <= len(self.depth) <= 4 or min(self.depth) < 1:
            raise ValueError(f"depth must hold one to four counts of blocks >= 1, not {self.depth}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Paths of the stages."""
        return tuple(f"layer{stage + 1}" for stage in range(len(self.depth)))

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network with ``classes`` outputs."""
        return R2Plus1DNetwork(self.width, self.depth, classes)
