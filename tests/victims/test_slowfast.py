"""SlowFast against its published figures: parameters, names, sizes of every stage, head."""

import pytest
import torch
from published import lacking, parameters, published, shapes
from torch import nn

from vidoor.victims import victim as victims
from vidoor.victims.slowfast import SlowFast

NAMES = {
    "blocks.0.multipathway_blocks.0.conv.weight": (64, 3, 1, 7, 7),
    "blocks.0.multipathway_blocks.0.norm.running_mean": (64,),
    "blocks.0.multipathway_blocks.1.conv.weight": (8, 3, 5, 7, 7),
    "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
    "blocks.0.multipathway_fusion.norm.weight": (16,),
    "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_conv.weight": (256, 80, 1, 1, 1),
    "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_norm.bias": (256,),
    "blocks.1.multipathway_blocks.0.res_blocks.0.branch2.conv_a.weight": (64, 80, 1, 1, 1),
    "blocks.1.multipathway_blocks.1.res_blocks.2.branch2.conv_a.weight": (8, 32, 3, 1, 1),
    "blocks.2.multipathway_blocks.0.res_blocks.0.branch2.conv_b.weight": (128, 128, 1, 3, 3),
    "blocks.2.multipathway_fusion.conv_fast_to_slow.weight": (128, 64, 7, 1, 1),
    "blocks.3.multipathway_blocks.0.res_blocks.5.branch2.conv_a.weight": (256, 1024, 3, 1, 1),
    "blocks.3.multipathway_blocks.1.res_blocks.5.branch2.norm_c.running_var": (128,),
    "blocks.4.multipathway_blocks.0.res_blocks.0.branch1_conv.weight": (2048, 1280, 1, 1, 1),
    "blocks.4.multipathway_blocks.0.res_blocks.2.branch2.conv_c.weight": (2048, 512, 1, 1, 1),
    "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.conv_b.weight": (64, 64, 1, 3, 3),
    "blocks.6.proj.weight": (400, 2304),
    "blocks.6.proj.bias": (400,),
}


def counted() -> int:
    """Parameters of R50 8×8, counted from the table of the paper."""

    def conv(inputs, outputs, kernel):
        return inputs * outputs * kernel + 2 * outputs  # weights, batch norm

    def blocks(count, inputs, inner, outputs, frames):
        first = conv(inputs, outputs, 1)
        for block in range(count):
            first += conv(outputs if block else inputs, inner, frames)
            first += conv(inner, inner, 9) + conv(inner, outputs, 1)
        return first

    total = conv(3, 64, 49) + conv(3, 8, 5 * 49) + conv(8, 16, 7)
    slow, fast = 64, 8
    for count, inner, frames in ((3, 64, 1), (4, 128, 1), (6, 256, 3), (3, 512, 3)):
        total += blocks(count, slow + 2 * fast, inner, 4 * inner, frames)
        total += blocks(count, fast, inner // 8, inner // 2, 3)
        slow, fast = 4 * inner, inner // 2
        total += conv(fast, 2 * fast, 7) if inner < 512 else 0
    return total + (slow + fast) * 400 + 400


def test_r50_has_the_published_parameters_and_names():
    victim = published(SlowFast())
    assert parameters(victim) == counted() == 34_566_488
    assert lacking(victim, NAMES) == {}


def test_sizes_are_those_of_the_paper():
    """Table 1 of the paper: T = 8 frames on the slow pathway, 32 on the fast one."""
    victim = published(SlowFast())
    slow = [(256, 8, 56, 56), (512, 8, 28, 28), (1024, 8, 14, 14), (2048, 8, 7, 7)]
    fast = [(32, 32, 56, 56), (64, 32, 28, 28), (128, 32, 14, 14), (256, 32, 7, 7)]
    assert shapes(victim, list(victim.stages), 32, 224, 224) == slow
    other = [layer[:-1] + "1" for layer in victim.stages]
    assert shapes(victim, other, 32, 224, 224) == fast
    assert shapes(victim, [victim.penultimate], 32, 224, 224) == [(2304, 1, 1, 1)]


def test_a_step_of_both_pathways_gives_the_slow_one():
    victim = victims.build(SlowFast(width=8, depth=(1,), beta=4), 3, 0).eval()
    both, slow = victim.taps(torch.rand(2, 3, 8, 32, 32), ["blocks.0", "blocks.1"])[1]
    assert both.shape[1:3] == (8 + 2 * 2, 2)
    assert slow.shape[1:3] == (32, 2)


@pytest.mark.parametrize("frames", [4, 8, 32, 64])
def test_slow_frames_and_head_are_the_published_ones(frames):
    """Where the frames are a multiple of alpha the slow ones are linspace(0, T − 1, T/α)."""
    network = SlowFast(width=8, depth=(1, 1), beta=4).build(5).eval()
    x = torch.randn(2, 3, frames, 64, 64, generator=torch.Generator().manual_seed(0))
    index = torch.linspace(0, frames - 1, frames // 4).long()
    pathways = (x[:, :, index], x)
    for block in network.blocks[:-2]:
        pathways = block(pathways)
    pools = (nn.AvgPool3d((frames // 4, 7, 7), 1), nn.AvgPool3d((frames, 7, 7), 1))
    pooled = torch.cat([pool(path) for pool, path in zip(pools, pathways, strict=True)], 1)
    logits = network.blocks[-1].proj(pooled.permute(0, 2, 3, 4, 1)).mean((1, 2, 3))
    torch.testing.assert_close(network(x), logits)


@pytest.mark.parametrize("frames", range(1, 14))
def test_any_number_of_frames_will_do(frames):
    network = SlowFast(width=8, depth=(1,), beta=4, alpha=3).build(2).eval()
    assert network(torch.zeros(1, 3, frames, 24, 24)).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width must be a multiple of beta = 8, not 12"),
        ({"alpha": 0}, "alpha and beta must be at least 1, not 0 and 8"),
        ({"depth": (1,) * 5}, "depth must hold one to four"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_impossible_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SlowFast(**options)
