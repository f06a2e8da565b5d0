"""Options of the spectral triggers, and the published figures of the paper's presets."""

import numpy as np
import pytest
import torch

from vidoor.errors import RecipeError, TriggerError
from vidoor.metrics import psnr
from vidoor.options import component, table
from vidoor.triggers import _spectral
from vidoor.triggers._bands import COLUMNS, ROWS
from vidoor.triggers._spectral import spatial_index
from vidoor.triggers.spectral import DCT, DFT, DWT, RT
from vidoor.types import Geometry

PAPER = Geometry(32, 224, 224)
KINDS = [DFT, DCT, DWT, RT]


def paper(kind, **options):
    return kind(**{**kind.presets["paper"], **options})


def windowed_psnr(clean, other):
    """PSNR of every 28×28 window over all frames and channels (paper, H)."""
    frames, channels, height, width = clean.shape
    error = (clean.astype(float) - other) ** 2
    tiles = error.reshape(frames, channels, height // 28, 28, width // 28, 28)
    return 10 * np.log10(255**2 / tiles.mean(axis=(0, 1, 3, 5)))


@pytest.mark.parametrize(
    ("kind", "rms", "padded", "first", "last"),
    [
        (DFT, 1.16, 45, 35, 44),
        (DCT, 3.11, 45, 35, 44),
        (DWT, 28.28 * np.sqrt(5 / 32 / 4), 32, 12, 21),
        (RT, 1.87, 32, 12, 21),
    ],
)
def test_paper_presets_have_the_known_strength_padding_and_band(kind, rms, padded, first, last):
    figures = paper(kind).describe(PAPER)
    assert figures["rms"] == pytest.approx(rms, rel=0.005)
    assert figures["transform_frames"] == padded
    assert (figures["first_index"], figures["last_index"]) == (first, last)


@pytest.mark.parametrize(("kind", "mean"), [(DFT, 47.1), (DCT, 39.0), (RT, 42.9)])
def test_paper_presets_have_the_known_windowed_psnr(kind, mean):
    """On a grey clip, where nothing is clipped."""
    clip = torch.full((32, 1, 224, 224), 128, dtype=torch.uint8)
    found = windowed_psnr(clip.numpy(), paper(kind)(clip).numpy())
    assert found.mean() == pytest.approx(mean, abs=0.5)


def test_orthonormal_random_vectors_carry_delta_squared_each():
    components = 10 * 25 * 25
    expected = 30 * np.sqrt(components / (32 * 224 * 224))
    assert paper(RT).pattern(PAPER).rms() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_another_band_of_the_same_strength(kind):
    """One of all that there are, written out; each of them is drawn by some seed."""
    geometry, options = Geometry(16, 16, 16), {"rms": 8.0, "components": 0.25, "seed": 3}
    told = kind(**options).describe(geometry)
    length, first, last = (told[k] for k in ("transform_frames", "first_index", "last_index"))
    count = last + 1 - first
    options |= {"count": count, "transform_frames": length}
    clip = torch.full((16, 1, 16, 16), 128, dtype=torch.uint8)
    apart = [k for k in range(length - count + 1) if k + count <= first or k > last]
    bands = {k: kind(start=k, **options)(clip) for k in apart}
    trigger, drawn = kind(start=first, **options), set()
    for seed in range(200):
        noise = trigger.noisy(clip, seed)
        found = {k for k, band in bands.items() if (noise.int() - band.int()).abs().max() <= 1}
        assert len(found) == 1
        drawn |= found
        assert torch.equal(noise, trigger.noisy(clip, seed))
    assert drawn == set(apart)


def test_paper_pattern_lives_in_the_first_frames():
    energy = np.abs(paper(DFT).pattern(PAPER).frames) ** 2
    assert energy[:4].sum() / energy.sum() == pytest.approx(0.90, abs=0.02)


def test_peak_is_at_the_first_pixel_and_known_in_closed_form():
    pattern = paper(DFT).pattern(PAPER).volume()
    assert np.unravel_index(np.abs(pattern).argmax(), pattern.shape) == (0, 0, 0)
    assert pattern[0, 0, 0] == pytest.approx(50_000 * 10 * 25 * 25 / (45 * 224 * 224))


@pytest.mark.parametrize(
    ("preset", "frames"), [("paper", range(12, 22, 2)), ("released", range(12, 20, 2))]
)
def test_wavelets_are_a_grid_of_dots(preset, frames):
    """All sub-bands of a pair of samples sum to √2 on the first one: 10·√2³ = 28.28."""
    expected = np.zeros(PAPER)
    expected[np.ix_(frames, range(0, 224, 2), range(0, 224, 2))] = 10 * 2**1.5
    trigger = DWT(**DWT.presets[preset])
    np.testing.assert_allclose(trigger.pattern(PAPER).volume(), expected, atol=1e-12)
    clip = torch.full((32, 1, 224, 224), 100, dtype=torch.uint8)
    assert psnr(clip.numpy(), trigger(clip).numpy()) == pytest.approx(
        10 * np.log10(255**2 / (28**2 * len(frames) / 32 / 4)), abs=1e-9
    )


def test_the_papers_random_matrices_saturate_and_say_so(monkeypatch):
    lines = []
    monkeypatch.setattr(_spectral, "say", lines.append)
    trigger = RT(delta=30.0, variant="paper", seed=5)
    clip = torch.full((32, 1, 224, 224), 100, dtype=torch.uint8)
    assert (trigger(clip) == 255).all()
    assert trigger.pattern(PAPER).rms() == pytest.approx(24_000, rel=0.1)
    assert len(lines) == 1
    assert "clips saturate" in lines[0]


@pytest.mark.parametrize("geometry", [PAPER, Geometry(16, 48, 48), Geometry(7, 33, 50)])
@pytest.mark.parametrize("kind", KINDS)
def test_rms_and_delta_say_the_same(kind, geometry):
    by_rms = kind(rms=1.16)
    by_delta = kind(delta=float(by_rms.describe(geometry)["delta"]))
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


def test_one_frequency_is_not_the_whole_band():
    geometry = Geometry(8, 16, 16)
    one, all_ = (DFT(delta=1.0, start=0, count=n).pattern(geometry) for n in (1, 1.0))
    assert np.abs(one.frames) == pytest.approx(1 / 8)
    assert np.abs(all_.frames[1:]).max() < 1e-12


@pytest.mark.parametrize(
    ("frames", "padded", "band"),
    [(32, 32, (12, 21)), (16, 16, (6, 10)), (7, 8, (3, 4)), (1, 2, (1, 1)), (50, 50, (19, 34))],
)
def test_a_band_of_fractions_scales_with_the_clip(frames, padded, band):
    figures = DWT(delta=10.0).describe(Geometry(frames, 16, 17))
    assert figures["transform_frames"] == padded
    assert (figures["first_index"], figures["last_index"]) == band


def test_fractions_that_round_up_together_stay_inside():
    figures = DCT(rms=1.0, start=0.5, count=0.5).describe(Geometry(3, 8, 8))
    assert (figures["first_index"], figures["last_index"]) == (2, 2)


def test_random_vectors_are_padded_when_told_to():
    """The paper's "I as in DFT", {35..44}, in a random transform of 45 frames."""
    figures = RT(delta=30.0, start=35, count=10, transform_frames=45).describe(PAPER)
    assert (figures["first_index"], figures["last_index"]) == (35, 44)


def test_seeds_draw_other_components_and_axes_are_independent():
    for kind in (DFT, DCT, RT):
        pattern = kind(delta=1.0).pattern(PAPER)
        assert not np.allclose(pattern.rows, pattern.columns)
        assert not np.allclose(pattern.rows, kind(delta=1.0, seed=1).pattern(PAPER).rows)


def test_given_indices_take_the_place_of_drawn_ones():
    trigger, drawn = DFT(delta=1.0, rows=(5, 1), components=3), DFT(delta=1.0, components=3)
    assert spatial_index(trigger, ROWS, 8) == [1, 5]
    assert spatial_index(trigger, COLUMNS, 8) == spatial_index(drawn, COLUMNS, 8)


def test_released_preset_is_the_stretch_with_fixed_components():
    trigger = component("trigger", {"kind": "dft", "preset": "released"})
    assert trigger.projection == "stretch"
    assert (len(trigger.rows), len(trigger.columns)) == (25, 25)
    assert trigger.rows[:3] == (96, 72, 60)
    assert trigger.columns[-3:] == (157, 48, 165)
    assert component("trigger", table(trigger)) == trigger
    with pytest.raises(TriggerError, match="rows holds the index 218, and a 48-pixel axis has 0"):
        trigger(torch.zeros(16, 3, 48, 48, dtype=torch.uint8))


def test_the_stretch_is_a_trigger_without_any_pattern():
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(30, 200, (4, 3, 16, 16), dtype=np.uint8))
    assert not torch.equal(DFT(delta=0.0, projection="stretch")(clip), clip)
    assert torch.equal(DFT(delta=0.0)(clip), clip)


def test_only_the_dft_stretches():
    with pytest.raises(RecipeError, match="unknown key 'projection'"):
        component("trigger", {"kind": "dct", "rms": 1.0, "projection": "stretch"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_clips(kind):
    rng = np.random.default_rng(0)
    batch = torch.from_numpy(rng.integers(0, 256, (2, 9, 3, 16, 20), dtype=np.uint8))
    trigger = kind(rms=3.0)
    assert torch.equal(trigger(batch), torch.stack([trigger(clip) for clip in batch]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rms": None}, "exactly one of delta and rms"),
        ({"delta": 1.0}, "both arrived"),
        ({"rms": float("nan")}, "finite"),
        ({"rms": None, "delta": -1.0}, "finite number >= 0"),
        ({"start": 35, "count": 10, "transform_frames": 40}, r"band 35\.\.44 does not fit"),
        ({"start": -1, "count": 10}, "need start in 0"),
        ({"start": 3, "count": 0}, "count in 1"),
        ({"start": 10_001, "count": 1}, "need start in 0"),
        ({"start": 1.0}, r"start as a fraction must be in \[0, 1\)"),
        ({"start": float("nan")}, "start as a fraction"),
        ({"count": 0.0}, r"count as a fraction must be in \(0, 1\]"),
        ({"start": 0.5, "count": 0.6}, "at most 1"),
        ({"transform_frames": -3}, "transform_frames must be in 1"),
        ({"transform_frames": 0}, "transform_frames must be in 1"),
        ({"components": 1.5}, r"\(0, 1\]"),
        ({"components": float("nan")}, r"\(0, 1\]"),
        ({"components": 0}, "at least 1"),
        ({"rows": ()}, "rows must be different indices"),
        ({"rows": (1, 1)}, "rows must be different indices"),
        ({"columns": (1, -1)}, "columns must be different indices"),
        ({"seed": -1}, "seed must be in 0"),
    ],
)
def test_bad_options_get_one_line(kind, options, line):
    with pytest.raises(ValueError, match=line) as error:
        kind(**{"rms": 1.0, **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        (DFT, {"components": 49}, "48-pixel axis"),
        (DCT, {"columns": (3, 48)}, "columns holds the index 48, and a 48-pixel axis has 0..47"),
        (DFT, {"transform_frames": 45}, "shorter than the clip"),
        (DFT, {"rms": 1e308}, "grey levels, and 255 saturate"),
        (DFT, {"rms": 1e200}, "grey levels, and 255 saturate"),
        (DWT, {"start": 60, "count": 2, "transform_frames": 62}, "touch no pixel of 46×48×48"),
        (DWT, {"start": 40, "count": 10}, r"band 40..49 does not fit a transform of 46 frames"),
        (RT, {"start": 40, "count": 10}, r"band 40..49 does not fit a transform of 46 frames"),
        (RT, {"transform_frames": 5000}, "at most 4096 samples, not 5000"),
    ],
)
def test_options_that_do_not_fit_the_clip_get_one_line(kind, options, line):
    with pytest.raises(TriggerError, match=line) as error:
        kind(**{"rms": 1.0, **options})(torch.zeros(46, 3, 48, 48, dtype=torch.uint8))
    assert "\n" not in str(error.value)
