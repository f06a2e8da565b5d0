"""Windows against scikit-image on every window cut out; flicker against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vidoor import imperceptibility, metrics
from vidoor.report import paper

CAP = 10 * math.log10(255**2 / 1e-5)

SIZES = st.tuples(st.integers(1, 3), st.just(3), st.integers(3, 40), st.integers(3, 40))


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def corners(length, side):
    """Where windows begin, found by walking; and how long they are."""
    if length < side:
        return [0], length
    return [at for at in range(length) if at % side == 0 and at + side <= length], side


def windows(clip, side):
    """Every window of a clip, row by row."""
    (tops, height), (lefts, width) = (corners(length, side) for length in clip.shape[2:])
    return [[clip[:, :, top : top + height, left : left + width] for left in lefts] for top in tops]


@settings(deadline=None)
@given(SIZES, st.integers(3, 30), st.integers(0, 2**16))
def test_psnr_of_a_window_is_that_of_the_window_cut_out(shape, side, seed):
    clean, other = noise(shape, seed), noise(shape, seed + 1)
    found = imperceptibility.psnr_windows(clean, other, side=side)
    expected = [
        [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(*rows, strict=True)]
        for rows in zip(windows(clean, side), windows(other, side), strict=True)
    ]
    np.testing.assert_allclose(found, expected)


@settings(deadline=None, max_examples=30)
@given(SIZES, st.integers(3, 30), st.integers(0, 2**16))
def test_ssim_of_a_window_is_that_of_the_window_cut_out(shape, side, seed):
    clean, other = noise(shape, seed), noise(shape, seed + 1)
    found = imperceptibility.ssim_windows(clean, other, side=side)
    reach = min(7, side, *shape[2:])
    reach -= reach % 2 == 0
    expected = [
        [
            np.mean([
                structural_similarity(x, y, channel_axis=0, win_size=reach, data_range=255)
                for x, y in zip(a, b, strict=True)
            ])
            for a, b in zip(*rows, strict=True)
        ]
        for rows in zip(windows(clean, side), windows(other, side), strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_one_window_is_the_whole_of_a_small_frame():
    clean, other = noise((2, 3, 20, 27), 1), noise((2, 3, 20, 27), 2)
    assert imperceptibility.psnr_windows(clean, other).shape == (1, 1)
    assert imperceptibility.psnr_windows(clean, other).item() == pytest.approx(
        metrics.psnr(clean, other)
    )
    assert imperceptibility.ssim_windows(clean, other).item() == pytest.approx(
        metrics.ssim(clean, other)
    )


def test_a_constant_change_is_seen_where_it_is_and_the_rest_is_capped():
    clean = np.full((2, 3, 60, 90), 100, np.uint8)
    other = clean.copy()
    other[:, :, 28:56, 56:84] += 5
    other[:, :, 56:] = other[:, :, :, 84:] = 255  # no window reaches there
    expected = np.full((2, 3), CAP)
    expected[1, 2] = 20 * math.log10(255 / 5)
    np.testing.assert_allclose(imperceptibility.psnr_windows(clean, other), expected)
    similar = imperceptibility.ssim_windows(clean, other)
    constant = (0.01 * 255) ** 2  # SSIM of flat windows is its luminance term alone
    expected = np.ones((2, 3))
    expected[1, 2] = (2 * 100 * 105 + constant) / (100**2 + 105**2 + constant)
    np.testing.assert_allclose(similar, expected)
    assert round(CAP, 2) == 98.13


def test_windows_too_small_for_ssim_have_none():
    clip = noise((1, 3, 2, 60))
    assert np.isnan(imperceptibility.ssim_windows(clip, clip)).all()
    assert imperceptibility.ssim_windows(clip, clip).shape == (1, 2)


def test_wrapped_squares_are_those_of_a_counter_of_256():
    clean, other = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    found = imperceptibility.wrapped_psnr_windows(
        clean[None, None].copy(), other[None, None].copy(), side=256
    )
    mean = (
        sum((a - b) % 256 * ((a - b) % 256) % 256 for a in range(256) for b in range(256)) / 2**16
    )
    assert found.item() == pytest.approx(10 * math.log10(255**2 / mean))


def test_wrapping_explains_the_papers_figure_for_stripes():
    stripes = np.rint(20 * np.sin(2 * np.pi * 6 * np.arange(224) / 224))
    clean = np.full((1, 3, 224, 224), 128, np.uint8)
    other = (clean + stripes).astype(np.uint8)
    found = imperceptibility.localised([(clean, other)])
    assert found["psnr"]["mean"] == pytest.approx(10 * math.log10(255**2 / 200), abs=0.05)
    printed = paper.TABLE_6["psnr"]["sig"]["mean"]
    assert found["wrapped_psnr"]["mean"] == pytest.approx(printed, abs=0.5)
    assert found["psnr"]["mean"] < printed - 3


@pytest.mark.parametrize("measure", ["psnr", "ssim"])
def test_one_changed_window_of_64_gives_the_papers_badnet_column(measure):
    """The paper's grid and its kind of deviation, from its own four figures."""
    printed = paper.TABLE_6[measure]["badnet"]
    grid = np.full((8, 8), printed["max"])
    grid[0, 7] = printed["min"]
    assert imperceptibility.spread(grid) == pytest.approx(printed, rel=2e-3)
    assert grid.std(ddof=1) != pytest.approx(printed["std"], rel=2e-3)


def test_the_papers_table_4_is_the_minimum_of_its_table_6():
    for measure, digits in (("psnr", 1), ("ssim", 3)):
        assert paper.TABLE_4[measure].keys() == paper.TABLE_6[measure].keys()
        for kind, value in paper.TABLE_4[measure].items():
            window = paper.TABLE_6[measure][kind]
            assert value == pytest.approx(window["min"], abs=0.51 * 10**-digits)
            assert window["min"] < window["mean"] < window["max"]


def test_each_window_is_averaged_over_the_clips_first():
    clean = np.full((1, 3, 28, 56), 100, np.uint8)
    left, right = clean.copy(), clean.copy()
    left[..., :28] += 1
    right[..., 28:] += 10
    one, ten = 20 * math.log10(255), 20 * math.log10(25.5)
    found = imperceptibility.localised([(clean, left), (clean, right)])["psnr"]
    low, high = (ten + CAP) / 2, (one + CAP) / 2
    expected = {"min": low, "max": high, "mean": (low + high) / 2, "std": (high - low) / 2}
    assert found == pytest.approx(expected)


# ---- flicker -----------------------------------------------------------------------------------


def test_what_stands_still_does_not_flicker():
    clean = noise((4, 3, 9, 11)) // 2
    assert imperceptibility.flicker(clean, clean + noise((1, 3, 9, 11), 1) // 2) == 0


def test_flicker_of_known_changes():
    clean = np.full((5, 3, 6, 7), 100, np.uint8)
    signs = np.array([1, -1, 1, -1, 1])[:, None, None, None]
    assert imperceptibility.flicker(clean, (clean + 9 * signs).astype(np.uint8)) == 18
    ramp = (clean + 3 * np.arange(5)[:, None, None, None]).astype(np.uint8)
    assert imperceptibility.flicker(clean, ramp) == 3
    assert imperceptibility.flicker(ramp, ramp) == 0
    assert imperceptibility.motion(ramp) == 3
    assert imperceptibility.relative_flicker(ramp, clean) == 1
    assert math.isnan(imperceptibility.relative_flicker(clean, ramp))  # nothing to compare with


def test_flicker_does_not_wrap():
    clean = np.zeros((2, 3, 4, 4), np.uint8)
    other = clean.copy()
    clean[0], other[1] = 255, 255
    assert imperceptibility.flicker(clean, other) == 510


def test_flicker_equals_a_loop_over_samples():
    clean, other = noise((3, 2, 4, 5), 3), noise((3, 2, 4, 5), 4)
    squares = []
    for place in np.ndindex(2, 2, 4, 5):
        t, rest = place[0], place[1:]
        now, then = ((t, *rest), (t + 1, *rest))
        change = int(other[then]) - int(clean[then]) - int(other[now]) + int(clean[now])
        squares.append(change**2)
    expected = math.sqrt(sum(squares) / len(squares))
    assert imperceptibility.flicker(clean, other) == pytest.approx(expected)
    still = np.zeros_like(clean)
    assert imperceptibility.motion(clean) == imperceptibility.flicker(still, clean)


def test_one_frame_cannot_flicker():
    clip = noise((1, 3, 4, 4))
    assert math.isnan(imperceptibility.flicker(clip, clip))
    assert math.isnan(imperceptibility.motion(clip))
    assert math.isnan(imperceptibility.relative_flicker(clip, clip))
