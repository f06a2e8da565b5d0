"""The square, pixel by pixel, and every place that it can take."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch

from vidoor.errors import TriggerError
from vidoor.triggers.badnet import BadNet
from vidoor.types import Geometry


def every_level():
    """One RGB frame of 16×16 that holds each grey level once a channel."""
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)


def test_the_papers_square_is_21_pixels_of_224():
    clip = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    white = (BadNet()(clip) == 255).all(dim=(0, 1)).nonzero()
    assert white.tolist() == [list(place) for place in product(range(21), range(203, 224))]
    assert BadNet().describe(Geometry(32, 224, 224)) == {"side_pixels": 21}


@pytest.mark.parametrize(("height", "width"), [(3, 3), (3, 5), (4, 3), (1, 2), (1, 1)])
def test_every_side_on_small_frames(height, width):
    clip = torch.full((1, 3, height, width), 7, dtype=torch.uint8)
    for side in range(1, min(height, width) + 1):
        out = BadNet(side=side)(clip)
        for row, column in product(range(height), range(width)):
            inside = row < side and column >= width - side
            assert (out[0, :, row, column] == (255 if inside else 7)).all()


@pytest.mark.parametrize("alpha", ["0.1", "0.25", "0.5", "0.85", "1"])
def test_opacity_mixes_every_grey_level_with_white(alpha):
    out = BadNet(side=16, alpha=float(alpha))(every_level()).flatten(2)[0, 0].tolist()
    for level, got in enumerate(out):
        exact = (1 - Fraction(alpha)) * level + Fraction(alpha) * 255
        if exact % 1 != Fraction(1, 2):  # α is not exact in binary, so neither are ties
            assert got == round(exact)
        assert abs(got - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("side", "geometry", "pixels"),
    [
        (21 / 224, (1, 48, 64), 4),
        (21 / 224, (1, 64, 32), 3),
        (0.001, (1, 9, 9), 1),
        (9, (1, 9, 9), 9),
    ],
)
def test_a_fraction_is_of_the_shorter_side(side, geometry, pixels):
    assert BadNet(side=side).describe(Geometry(*geometry)) == {"side_pixels": pixels}


def test_one_pixel_is_not_the_whole_frame():
    assert [BadNet(side=s).describe(Geometry(1, 8, 8))["side_pixels"] for s in (1, 1.0)] == [1, 8]


def test_dynamic_takes_every_place_about_equally_often():
    frames = 1200
    out = BadNet(side=2, temporal="dynamic")(torch.zeros(frames, 3, 3, 4, dtype=torch.uint8))
    assert (out.flatten(1) == 255).sum(1).eq(3 * 4).all()  # one whole square in each frame
    corners = [np.argwhere(frame[0].numpy() == 255).min(axis=0) for frame in out]
    places, often = np.unique(corners, axis=0, return_counts=True)
    assert places.tolist() == [list(place) for place in product(range(2), range(3))]
    assert often.min() > frames / 6 * 0.8


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"side": 0}, "side must be at least 1 pixel, not 0"),
        ({"side": 0.0}, r"side as a fraction must be in \(0, 1\], not 0.0"),
        ({"side": float("nan")}, "fraction"),
        ({"alpha": 1.5}, "alpha must be a number from 0 to 1, not 1.5"),
    ],
)
def test_bad_options_get_one_line(options, line):
    with pytest.raises(ValueError, match=line):
        BadNet(**options)


def test_a_square_larger_than_the_frame_gets_one_line():
    with pytest.raises(TriggerError, match=r"21 pixels does not fit frames of 20×30.*1\.\.20"):
        BadNet(side=21)(torch.zeros(2, 3, 20, 30, dtype=torch.uint8))
