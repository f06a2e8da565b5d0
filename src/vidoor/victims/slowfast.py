"""SlowFast: one pathway sees few frames with many channels, the other many frames with few.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019. At the defaults this is
SlowFast-R50 8×8 (32 frames, every fourth of them on the slow pathway) with the parameter names and
shapes of PyTorchVideo's ``slowfast_r50``.

Departures: one clip goes in, and the slow pathway takes its frames from it; where the frames are no
multiple of alpha it gets one more, so that both pathways still meet. The head's windows shrink to
the map; wherever the published network runs, the logits are the published ones.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidoor.data.video import sample
from vidoor.registry import register
from vidoor.victims._download import Source
from vidoor.victims._layers import WindowPool
from vidoor.victims.weights import Checkpoints, Presets, Pretrained

FUSED = 2
"""Channels that the fast pathway hands to the slow one, per channel of its own."""

Pathways = tuple[Tensor, Tensor]
"""Slow B×C×⌈T/α⌉×h×w and fast B×C/β×T×h×w."""


def _norm(channels: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(channels, eps=1e-5, momentum=0.1)


class _Stem(nn.Module):
    """Convolution over ``frames`` frames and 7×7 pixels, and a pool: a quarter of the size."""

    def __init__(self, outputs: int, frames: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            3, outputs, (frames, 7, 7), (1, 2, 2), padding=(frames // 2, 3, 3), bias=False
        )
        self.norm = _norm(outputs)
        self.activation = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.activation(self.norm(self.conv(x))))
        return out


class _Bottleneck(nn.Module):
    """1×1 over ``frames`` frames, 3×3, 1×1."""

    def __init__(self, inputs: int, inner: int, outputs: int, frames: int, stride: int) -> None:
        super().__init__()
        self.conv_a = nn.Conv3d(
            inputs, inner, (frames, 1, 1), padding=(frames // 2, 0, 0), bias=False
        )
        self.norm_a = _norm(inner)
        self.act_a = nn.ReLU(inplace=True)
        self.conv_b = nn.Conv3d(
            inner, inner, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False
        )
        self.norm_b = _norm(inner)
        self.act_b = nn.ReLU(inplace=True)
        self.conv_c = nn.Conv3d(inner, outputs, 1, bias=False)
        self.norm_c = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act_a(self.norm_a(self.conv_a(x)))
        x = self.act_b(self.norm_b(self.conv_b(x)))
        out: Tensor = self.norm_c(self.conv_c(x))
        return out


class _Residual(nn.Module):
    """A bottleneck and its shortcut, which is projected where the shape changes."""

    def __init__(self, inputs: int, inner: int, outputs: int, frames: int, stride: int) -> None:
        super().__init__()
        self.branch1_conv = self.branch1_norm = None
        if inputs != outputs or stride != 1:
            self.branch1_conv = nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False)
            self.branch1_norm = _norm(outputs)
        self.branch2 = _Bottleneck(inputs, inner, outputs, frames, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.branch1_conv is not None and self.branch1_norm is not None:
            shortcut = self.branch1_norm(self.branch1_conv(x))
        out: Tensor = self.activation(shortcut + self.branch2(x))
        return out


class _Stage(nn.Module):
    """Residual blocks of one pathway; the first of them takes the stride."""

    def __init__(self, inputs: int, outputs: int, blocks: int, frames: int, stride: int) -> None:
        super().__init__()
        self.res_blocks = nn.Sequential(
            *(
                _Residual(
                    outputs if block else inputs,
                    outputs // 4,
                    outputs,
                    frames,
                    1 if block else stride,
                )
                for block in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_blocks(x)
        return out


class _Fusion(nn.Module):
    """The fast pathway's features, at the slow one's frame rate, beside the slow one's."""

    def __init__(self, channels: int, alpha: int) -> None:
        super().__init__()
        self.conv_fast_to_slow = nn.Conv3d(
            channels, FUSED * channels, (7, 1, 1), (alpha, 1, 1), padding=(3, 0, 0), bias=False
        )
        self.norm = _norm(FUSED * channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Pathways) -> Pathways:
        slow, fast = x
        fused = self.activation(self.norm(self.conv_fast_to_slow(fast)))
        return torch.cat([slow, fused], 1), fast


class _Both(nn.Module):
    """A step of both pathways, and what the fast one then tells the slow one."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: nn.Module) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, x: Pathways) -> Pathways:
        slow, fast = self.multipathway_blocks
        out: Pathways = self.multipathway_fusion((slow(x[0]), fast(x[1])))
        return out


class _Pool(nn.Module):
    """Both pathways, each averaged over time and over windows of 7×7, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = WindowPool((None, 7, 7))

    def forward(self, x: Pathways) -> Tensor:
        return torch.cat([self.pool(pathway) for pathway in x], 1)


class _Head(nn.Module):
    """Logits of every window, averaged."""

    def __init__(self, inputs: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.proj = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.proj(self.dropout(x).permute(0, 2, 3, 4, 1))
        return logits.mean((1, 2, 3))


class SlowFastNetwork(nn.Module):
    """Stems, up to four stages of residual blocks, pool, linear head; see ``SlowFast``."""

    def __init__(self, config: "SlowFast", classes: int) -> None:
        super().__init__()
        self.alpha, alpha, beta = config.alpha, config.alpha, config.beta
        inputs, pool = config.width, config.stem_pools
        stems = _Stem(inputs, 1, pool), _Stem(inputs // beta, 5, pool)
        steps: list[nn.Module] = [_Both(*stems, _Fusion(inputs // beta, alpha))]
        for stage, blocks in enumerate(config.depth):
            outputs = config.width * 4 * 2**stage
            stride = 2 if stage else 1
            fused = inputs + FUSED * (inputs // beta)
            last = stage + 1 == len(config.depth)
            steps.append(
                _Both(
                    # The slow pathway looks along time in its later stages alone.
                    _Stage(fused, outputs, blocks, 3 if stage >= 2 else 1, stride),
                    _Stage(inputs // beta, outputs // beta, blocks, 3, stride),
                    nn.Identity() if last else _Fusion(outputs // beta, alpha),
                )
            )
            inputs = outputs
        head = _Head(inputs + inputs // beta, classes, config.dropout)
        self.blocks = nn.ModuleList([*steps, _Pool(), head])

    def forward(self, x: Tensor) -> Tensor:
        """Logits B×classes of a normalised batch B×3×T×H×W."""
        frames = x.shape[2]
        slow = x[:, :, sample(frames, -(-frames // self.alpha))]
        pathways = (slow, x)
        *blocks, head = self.blocks
        for block in blocks:
            pathways = block(pathways)
        logits: Tensor = head(pathways)
        return logits


@register("victim", "slowfast")
@dataclass(frozen=True, kw_only=True)
class SlowFast(Pretrained):
    """SlowFast, scalable from the published R50 8×8 to a network that two CPU cores can train."""

    width: int = 64
    """Channels of the slow stem, a multiple of ``beta``. 64 is the published width."""

    depth: tuple[int, ...] = (3, 4, 6, 3)
    """Residual blocks of each stage, one to four stages. (3, 4, 6, 3) is R50."""

    alpha: int = 4
    """Frames of the fast pathway per frame of the slow one."""

    beta: int = 8
    """Channels of the slow pathway per channel of the fast one (the paper writes β = 1/8)."""

    dropout: float = 0.5
    """Share of the pooled features that is dropped in training."""

    stem_pools: bool = True
    """Max pooling in the stem. Without it pictures of a few dozen pixels keep enough of them for
    the stages; it has no weights, so that names and shapes stay as they are."""

    # Kinetics statistics that PyTorchVideo's SlowFast was trained with.
    mean = (0.45, 0.45, 0.45)
    std = (0.225, 0.225, 0.225)

    presets: ClassVar[Presets] = {
        "paper": {},
        "small": {
            "width": 8,
            "depth": (1, 1, 1),
            "alpha": 2,
            "beta": 1,
            "dropout": 0.0,
            "stem_pools": False,
        },
    }
    checkpoints: ClassVar[Checkpoints] = {
        "kinetics400": Source(
            "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOWFAST_8x8_R50.pyth"
        )
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 1 or self.beta < 1:
            raise ValueError(f"alpha and beta must be at least 1, not {self.alpha} and {self.beta}")
        if self.width < 1 or self.width % self.beta:
            raise ValueError(
                f"width must be a multiple of beta = {self.beta}, not {self.width}: the fast "
                "pathway has width / beta channels"
            )
        if not 1 <= len(self.depth) <= 4 or min(self.depth) < 1:
            raise ValueError(f"depth must hold one to four counts of blocks >= 1, not {self.depth}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def head(self) -> str:
        """Path of the classifying layer."""
        return f"blocks.{len(self.depth) + 2}.proj"

    @property
    def penultimate(self) -> str:
        """Path of the pool, whose output the head reads: both pathways side by side."""
        return f"blocks.{len(self.depth) + 1}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Paths of the slow pathway's stages; ``….multipathway_blocks.1`` are the fast one's."""
        return tuple(f"blocks.{n + 1}.multipathway_blocks.0" for n in range(len(self.depth)))

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network with ``classes`` outputs."""
        return SlowFastNetwork(self, classes)
