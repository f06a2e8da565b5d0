"""The closed form against colour conversion → DCT → add → invert → convert back → round."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from skimage.color import rgb2ycbcr, ycbcr2rgb

from vidoor.triggers.fttrojan import COLOUR, FTtrojan
from vidoor.types import Geometry

FULL_RANGE = 255 / 224
"""scikit-image's colour differences span 16..240, those of JPEG and OpenCV 0..255."""


def through_the_transform(frame, delta, frequencies, side):
    """One frame C×H×W in float64, in blocks of ``side``, zero-padded to whole ones."""
    _, height, width = frame.shape
    planes = rgb2ycbcr(np.moveaxis(frame, 0, -1))
    for plane in (1, 2):
        padded = np.zeros([-(-n // s) * s for n, s in zip((height, width), side, strict=True)])
        padded[:height, :width] = (planes[..., plane] - 128) * FULL_RANGE
        for top in range(0, padded.shape[0], side[0]):
            for left in range(0, padded.shape[1], side[1]):
                block = np.s_[top : top + side[0], left : left + side[1]]
                spectrum = dctn(padded[block], norm="ortho")
                for k in frequencies:
                    spectrum[k, k] += delta
                padded[block] = idctn(spectrum, norm="ortho")
        planes[..., plane] = padded[:height, :width] / FULL_RANGE + 128
    return np.clip(255 * np.moveaxis(ycbcr2rgb(planes), -1, 0), 0, 255)


@pytest.mark.parametrize(
    ("variant", "geometry", "side"),
    [
        ("paper", (2, 224, 224), (224, 224)),
        ("paper", (2, 48, 65), (48, 65)),
        ("paper", (2, 16, 50), (32, 50)),
        ("original", (2, 224, 224), (32, 32)),
        ("original", (2, 48, 65), (32, 32)),
        ("original", (2, 16, 17), (32, 32)),
    ],
)
@pytest.mark.parametrize("delta", [30.0, 900.0])
def test_it_is_the_transform(variant, geometry, side, delta):
    frames, height, width = geometry
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (frames, 3, height, width), dtype=np.uint8)
    trigger = FTtrojan(variant=variant, delta=delta)
    out = trigger(torch.from_numpy(clip)).numpy()
    exact = np.stack([through_the_transform(frame, delta, (15, 31), side) for frame in clip])
    clear = np.abs(exact - np.floor(exact) - 0.5) > 0.02  # of a tie: skimage's matrix has 3 digits
    np.testing.assert_array_equal(out[clear], np.rint(exact)[clear])
    assert np.abs(out - exact).max() <= 0.53
    figures = trigger.describe(Geometry(*geometry))
    assert (figures["transform_height"], figures["transform_width"]) == side


def test_its_colour_is_that_of_both_planes_and_has_no_luminance():
    grey = rgb2ycbcr(np.full((1, 1, 3), 0.5))
    tinted = ycbcr2rgb(grey + np.array([0, 1, 1]) / FULL_RANGE) - ycbcr2rgb(grey)
    np.testing.assert_allclose(COLOUR, 255 * tinted[0, 0], atol=1e-4)
    assert np.dot(COLOUR, [0.299, 0.587, 0.114]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("variant", ["paper", "original"])
@pytest.mark.parametrize("geometry", [(3, 224, 224), (3, 64, 96), (3, 40, 20)])
def test_rms_is_that_of_the_pattern(variant, geometry):
    frames, height, width = geometry
    grey = torch.full((frames, 3, height, width), 128, dtype=torch.uint8)
    trigger = FTtrojan(variant=variant, delta=400.0)
    change = trigger(grey).double() - 128
    rms = trigger.describe(Geometry(*geometry))["rms"]
    assert float(change.square().mean().sqrt()) == pytest.approx(rms, rel=0.02)


@pytest.mark.parametrize("variant", ["paper", "original"])
def test_dynamic_perturbs_as_many_frequencies_in_each_frame(variant):
    side = 32 if variant == "original" else 64
    delta = 10.0 * side
    grey = torch.full((60, 3, 64, 64), 128, dtype=torch.uint8)
    trigger = FTtrojan(variant=variant, delta=delta, temporal="dynamic")
    red = (trigger(grey)[:, 0].double().numpy() - 128) / COLOUR[0]
    spectra = np.round(dctn(red[:, :side, :side], axes=(1, 2), norm="ortho") / delta, 1)
    found = [tuple(map(tuple, np.argwhere(spectrum))) for spectrum in spectra]
    assert all(len(pairs) == 2 for pairs in found)
    assert (spectra[spectra != 0] == 1).all()
    drawn = {pair for pairs in found for pair in pairs}
    assert len(drawn) > 100
    assert (0, 0) not in drawn
    assert max(max(pair) for pair in drawn) == 31


def test_a_constant_is_never_drawn():
    """Up to index 1 three pairs are left, and each shows up."""
    clip = torch.full((60, 3, 8, 8), 128, dtype=torch.uint8)
    out = FTtrojan(frequencies=(1,), temporal="dynamic", delta=100.0)(clip)
    assert len({frame.numpy().tobytes() for frame in out}) == 3
    assert (out.double().mean((2, 3)) - 128).abs().max() < 0.5


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"variant": "orginal"}, "unknown variant 'orginal'; valid: paper, original; did you mean"),
        ({"frequencies": ()}, r"frequencies must be different indices, not \(\)"),
        ({"frequencies": (3, 3)}, r"frequencies must be different indices, not \(3, 3\)"),
        ({"frequencies": (0, 3)}, r"frequencies must be in 1..9999 \(paper\), not \(0, 3\)"),
        ({"frequencies": (10_000,)}, "frequencies must be in 1..9999"),
        ({"frequencies": (32,), "variant": "original"}, r"in 1..31 \(original\), not \(32,\)"),
        ({"delta": 1e9}, r"delta must be a number from 0 to 1e\+06, not 1000000000.0"),
    ],
)
def test_bad_options_get_one_line(options, line):
    with pytest.raises(ValueError, match=line) as error:
        FTtrojan(**options)
    assert len(str(error.value).splitlines()) == 1
