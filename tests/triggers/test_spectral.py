"""Options of the spectral triggers, and the published figures of the paper's preset."""

import numpy as np
import pytest
import torch

from vidoor.errors import TriggerError
from vidoor.triggers.spectral import DFT
from vidoor.types import Geometry

PAPER = Geometry(32, 224, 224)


def test_paper_preset_has_the_known_strength_and_padding():
    figures = DFT(delta=50_000).describe(PAPER)
    assert figures["transform_frames"] == 45
    assert figures["rms"] == pytest.approx(1.16, rel=0.03)


def test_paper_pattern_lives_in_the_first_frames():
    energy = np.abs(DFT(delta=50_000).pattern(PAPER).frames) ** 2
    assert energy[:4].sum() / energy.sum() == pytest.approx(0.90, abs=0.02)


def test_peak_is_at_the_first_pixel_and_known_in_closed_form():
    pattern = DFT(delta=50_000).pattern(PAPER).volume()
    assert np.unravel_index(np.abs(pattern).argmax(), pattern.shape) == (0, 0, 0)
    assert pattern[0, 0, 0] == pytest.approx(50_000 * 10 * 25 * 25 / (45 * 224 * 224))


@pytest.mark.parametrize("geometry", [PAPER, Geometry(16, 48, 48), Geometry(7, 33, 50)])
def test_rms_and_delta_say_the_same(geometry):
    by_rms = DFT(rms=1.16)
    by_delta = DFT(delta=float(by_rms.describe(geometry)["delta"]))
    np.testing.assert_allclose(
        by_rms.pattern(geometry).volume(), by_delta.pattern(geometry).volume(), rtol=1e-12
    )
    assert by_rms.pattern(geometry).rms() == pytest.approx(1.16)


def test_a_fraction_and_its_count_give_the_same_pattern():
    a = DFT(delta=1.0, components=25 / 224).pattern(PAPER)
    b = DFT(delta=1.0, components=25).pattern(PAPER)
    np.testing.assert_array_equal(a.rows, b.rows)


def test_one_component_is_not_the_whole_axis():
    geometry = Geometry(4, 16, 16)
    one, all_ = (DFT(delta=1.0, components=value).pattern(geometry) for value in (1, 1.0))
    assert np.abs(one.rows) == pytest.approx(1 / 16)
    assert np.abs(all_.rows[1:]).max() < 1e-12


def test_seeds_draw_other_components_and_axes_are_independent():
    pattern = DFT(delta=1.0).pattern(PAPER)
    assert not np.allclose(pattern.rows, pattern.columns)
    assert not np.allclose(pattern.rows, DFT(delta=1.0, seed=1).pattern(PAPER).rows)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "exactly one of delta and rms"),
        ({"delta": 1.0, "rms": 1.0}, "both arrived"),
        ({"rms": float("nan")}, "finite"),
        ({"delta": -1.0}, "finite number >= 0"),
        ({"rms": 1.0, "transform_frames": 40}, r"band 35\.\.44 does not fit"),
        ({"rms": 1.0, "components": 1.5}, r"\(0, 1\]"),
        ({"rms": 1.0, "components": 0}, "at least 1"),
        ({"rms": 1.0, "count": 0}, "count in 1"),
    ],
)
def test_bad_options_get_one_line(options, line):
    with pytest.raises(ValueError, match=line) as error:
        DFT(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"components": 49}, "48-pixel axis"),
        ({"transform_frames": 45}, "shorter than the clip"),
        ({"rms": 1e308}, "grey levels, and 255 saturate"),
        ({"rms": 1e200}, "grey levels, and 255 saturate"),
    ],
)
def test_options_that_do_not_fit_the_clip_get_one_line(options, line):
    with pytest.raises(TriggerError, match=line):
        DFT(**{"rms": 1.0, **options})(torch.zeros(46, 3, 48, 48, dtype=torch.uint8))
