"""S3D against its published figures: parameters, names, sizes of every stage, pools, head."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published import lacking, parameters, published, shapes
from torch import nn

from vidoor.victims import victim as victims
from vidoor.victims._layers import WindowPool
from vidoor.victims.s3d import S3D

NAMES = {
    "features.0.0.0.weight": (64, 3, 1, 7, 7),
    "features.0.0.1.running_mean": (64,),
    "features.0.1.0.weight": (64, 64, 7, 1, 1),
    "features.2.0.weight": (64, 64, 1, 1, 1),
    "features.3.0.0.weight": (192, 64, 1, 3, 3),
    "features.3.1.1.bias": (192,),
    "features.5.branch0.0.weight": (64, 192, 1, 1, 1),
    "features.5.branch1.0.0.weight": (96, 192, 1, 1, 1),
    "features.5.branch1.1.0.0.weight": (128, 96, 1, 3, 3),
    "features.5.branch1.1.1.0.weight": (128, 128, 3, 1, 1),
    "features.6.branch2.1.1.1.running_var": (96,),
    "features.8.branch3.1.0.weight": (64, 480, 1, 1, 1),
    "features.12.branch2.1.0.0.weight": (128, 32, 1, 3, 3),
    "features.14.branch0.0.weight": (256, 832, 1, 1, 1),
    "features.15.branch1.1.0.0.weight": (384, 192, 1, 3, 3),
    "features.15.branch3.1.1.weight": (128,),
    "classifier.1.weight": (400, 1024, 1, 1, 1),
    "classifier.1.bias": (400,),
}


def test_s3d_has_the_published_parameters_and_names():
    victim = published(S3D())
    assert parameters(victim) == 8_320_048
    assert lacking(victim, NAMES) == {}


def test_sizes_are_the_published_ones():
    """Inception's: the frames halve in the stem and twice after it, the picture five times."""
    victim = published(S3D())
    assert victim.stages == ("features.6", "features.12", "features.15")
    layers = ["features.0", "features.1", "features.3", "features.4", *victim.stages, "avgpool"]
    assert shapes(victim, layers, 64, 224, 224) == [
        (64, 32, 112, 112),
        (64, 32, 56, 56),
        (192, 32, 56, 56),
        (192, 32, 28, 28),
        (480, 32, 28, 28),
        (832, 16, 14, 14),
        (1024, 8, 7, 7),
        (1024, 7, 1, 1),
    ]


@given(st.integers(2, 5), st.integers(7, 9), st.integers(7, 9))
def test_windows_are_the_published_ones_where_they_fit(frames, height, width):
    x = torch.randn(1, 2, frames, height, width)
    assert torch.equal(WindowPool((2, 7, 7))(x), nn.AvgPool3d((2, 7, 7), 1)(x))


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_windows_shrink_where_they_do_not_fit(frames, height, width):
    pooled = WindowPool((None, 7, 7))(x := torch.randn(1, 2, frames, height, width))
    assert pooled.shape == (1, 2, 1, 1, 1)
    torch.testing.assert_close(pooled.flatten(), x.mean((0, 2, 3, 4)))


@pytest.mark.parametrize("size", [(4, 6, 7), (5, 7, 6), (2, 2, 2)])
def test_the_last_pool_is_the_published_one_where_that_works(size):
    pool, x = S3D(width=4).build(2).features[13], torch.randn(1, 2, *size)
    assert torch.equal(pool(x), nn.MaxPool3d(2, 2)(x))


def test_statistics_follow_a_short_training_unless_told_otherwise():
    """The share of a running mean that is still what it began as, after 100 steps."""
    for momentum, left in ((0.1, 0.9**100), (0.001, 0.999**100)):
        victim = victims.build(S3D(width=4, depth=(1,), bn_momentum=momentum), 2, 0).train()
        norm = victim.network.features[0][0][1]
        norm.running_mean.fill_(1)
        with torch.no_grad():
            for _ in range(100):
                norm(torch.zeros(2, 4, 1, 2, 2))
        torch.testing.assert_close(norm.running_mean, torch.full((4,), left), rtol=1e-3, atol=0)
    assert S3D.presets["paper"]["bn_momentum"] == 0.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"depth": (3,)}, "depth must hold one to three counts"),
        ({"depth": (2, 5, 2, 1)}, "depth must hold one to three counts"),
        ({"dropout": -0.1}, "need dropout in"),
        ({"bn_momentum": 0.0}, "bn_momentum in"),
    ],
)
def test_impossible_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        S3D(**options)
