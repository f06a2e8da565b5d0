"""The Inception of I3D and S3D: how many channels each block has, at any size.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1; both video networks keep it.
"""

from typing import NamedTuple

from vidoor.victims._layers import scaled


class Channels(NamedTuple):
    """Channels in a block's branches: 1×1; 1×1 then 3×3; the same, narrower; pool then 1×1."""

    one: int
    two_in: int
    two: int
    three_in: int
    three: int
    four: int

    @property
    def outputs(self) -> int:
        """Channels of the block, all branches side by side."""
        return self.one + self.two + self.three + self.four


MIXED = (
    {
        "3b": Channels(64, 96, 128, 16, 32, 32),
        "3c": Channels(128, 128, 192, 32, 96, 64),
    },
    {
        "4b": Channels(192, 96, 208, 16, 48, 64),
        "4c": Channels(160, 112, 224, 24, 64, 64),
        "4d": Channels(128, 128, 256, 24, 64, 64),
        "4e": Channels(112, 144, 288, 32, 64, 64),
        "4f": Channels(256, 160, 320, 32, 128, 128),
    },
    {
        "5b": Channels(256, 160, 320, 32, 128, 128),
        "5c": Channels(384, 192, 384, 48, 128, 128),
    },
)
"""The blocks of each stage, by name, at width 64."""

DEPTH = tuple(len(stage) for stage in MIXED)
STEM = 192
"""Channels that the first stage is given, at width 64."""


def mixed(depth: tuple[int, ...], width: int) -> list[dict[str, Channels]]:
    """The first ``depth[i]`` blocks of stage i, by name, in a network of ``width``."""
    return [
        {
            name: Channels(*(scaled(width, 64, count) for count in channels))
            for name, channels in list(stage.items())[:blocks]
        }
        for stage, blocks in zip(MIXED, depth, strict=False)
    ]


def check(width: int, depth: tuple[int, ...], dropout: float, bn_momentum: float) -> None:
    """ValueError, one line, for a size that there is no network of."""
    if width < 1:
        raise ValueError(f"width must be at least 1 channel, not {width}")
    if not 1 <= len(depth) <= len(DEPTH) or not all(
        1 <= blocks <= most for blocks, most in zip(depth, DEPTH, strict=False)
    ):
        raise ValueError(
            f"depth must hold one to three counts of blocks >= 1, at most {DEPTH}, not {depth}"
        )
    if not (0 <= dropout < 1 and 0 < bn_momentum <= 1):
        raise ValueError(
            f"need dropout in [0, 1) and bn_momentum in (0, 1], not {dropout} and {bn_momentum}"
        )
