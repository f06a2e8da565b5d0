"""Triggers that vary: against the transform, against the fixed trigger, and clip by clip."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.errors import RecipeError, TriggerError
from vidoor.options import component
from vidoor.triggers._bands import COLUMNS, ROWS
from vidoor.triggers._spectral import spatial_index
from vidoor.triggers.adaptive import WINDOW, Adaptive, _generator
from vidoor.triggers.spectral import DFT
from vidoor.types import Geometry

ALL = ["phase", "half", "offset", "shift", "phases", "texture"]
DRAWN = ALL[:-1]
SHAPE = 9, 3, 16, 20


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))


def geometry(clip):
    return Geometry(clip.shape[0], *clip.shape[-2:])


def components(trigger, shape):
    """Length of the transform, and the indices of I along each axis."""
    told = trigger.describe(shape)
    band = range(told["first_index"], told["last_index"] + 1)
    rows, columns = (spatial_index(trigger, *at) for at in ((ROWS, shape[1]), (COLUMNS, shape[2])))
    return told["transform_frames"], (np.array(band), np.array(rows), np.array(columns))


def changed(clip, trigger, coefficients):
    """The paper's way: transform, add, invert, magnitude, clip, round; and where no tie decides."""
    frames = len(clip)
    volume = clip.permute(1, 0, 2, 3).numpy().astype(float)
    sizes = (len(coefficients), *clip.shape[-2:])
    spectrum = np.fft.fftn(volume, s=sizes, axes=(1, 2, 3)) + coefficients
    levels = np.abs(np.fft.ifftn(spectrum, axes=(1, 2, 3)))[:, :frames].clip(0, 255)
    defined = np.abs(levels - np.floor(levels) - 0.5) > 1e-7
    order = 1, 0, 2, 3
    return np.rint(levels).astype(np.uint8).transpose(order), defined.transpose(order)


def agree(got, expected, defined):
    assert defined.mean() > 0.5
    np.testing.assert_array_equal(got.numpy()[defined], expected[defined])


OPTIONS = st.fixed_dictionaries(
    {
        "rms": st.floats(0.5, 30.0).map(lambda level: level * 0.98765),
        "start": st.integers(0, 12),
        "count": st.integers(1, 5),
        "components": st.floats(0.05, 0.6),
        "seed": st.integers(0, 99),
    }
)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(2, 14), st.integers(2, 14))


@settings(max_examples=60, deadline=None)
@given(OPTIONS, SHAPES, st.integers(0, 2**31))
def test_a_phase_is_one_of_the_coefficients_that_are_added(options, shape, seed):
    clip, trigger = noise(*shape, seed=seed), Adaptive(vary="phase", **options)
    try:
        got = trigger(clip)
    except TriggerError as error:
        assert "no real part" in str(error)
        return
    length, index = components(trigger, geometry(clip))
    phase = np.exp(2j * np.pi * _generator(clip, trigger.seed).random())
    added = np.zeros((length, *shape[2:]), complex)
    added[np.ix_(*index)] = trigger.describe(geometry(clip))["delta"] * phase
    agree(got, *changed(clip, trigger, added))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["offset", "shift"]), OPTIONS, SHAPES, st.integers(0, 2**31))
def test_a_shift_is_that_of_the_clip_the_other_way(vary, options, shape, seed):
    """Triggered as ever after the clip was turned back, and turned again."""
    clip, trigger = noise(*shape, seed=seed), Adaptive(vary=vary, **options)
    try:
        got = trigger(clip)
    except TriggerError as error:
        assert "no real part" in str(error)
        return
    drawn = _generator(clip, trigger.seed).integers(geometry(clip)).tolist()
    shifts = drawn if vary == "shift" else [drawn[0], 0, 0]
    axes = 0, 2, 3
    back = torch.roll(clip, [-s for s in shifts], axes)
    length, index = components(trigger, geometry(clip))
    added = np.zeros((length, *shape[2:]), complex)
    added[np.ix_(*index)] = trigger.describe(geometry(clip))["delta"]
    expected, defined = (np.roll(each, shifts, axes) for each in changed(back, trigger, added))
    agree(got, expected, defined)


def spectrum(trigger, clip):
    """Coefficients of the clip's own pattern, for clips that are as long as the transform."""
    return np.fft.fftn(trigger.drawn(clip).volume())


EXACT = {"rms": 2.0, "components": 6, "seed": 3}
UNPADDED = 45, 1, 28, 36  # as long as the default band needs: spectra are exact


class TestSpectra:
    def test_phases_leave_the_magnitudes(self):
        trigger, seen = Adaptive(vary="phases", **EXACT), []
        for seed in range(3):
            clip = noise(*UNPADDED, seed=seed)
            coefficients = spectrum(trigger, clip)
            whole = np.fft.fftn(DFT(**EXACT).pattern(geometry(clip)).volume())
            np.testing.assert_allclose(np.abs(coefficients), np.abs(whole), atol=1e-6)
            _, index = components(trigger, geometry(clip))
            seen.append(np.angle(coefficients[np.ix_(*index)]))
        # Separable: second differences across two axes vanish, and clips differ.
        mixed = np.exp(1j * np.diff(np.diff(seen[0], axis=0), axis=1))
        np.testing.assert_allclose(mixed, 1, atol=1e-9)
        assert np.std(np.exp(1j * seen[0])) > 0.5
        assert np.abs(np.exp(1j * seen[0]) - np.exp(1j * seen[1])).max() > 0.5

    def test_half_is_half_of_the_rows_and_columns_with_all_the_power(self):
        trigger, seen = Adaptive(vary="half", **EXACT), set()
        for seed in range(4):
            clip = noise(*UNPADDED, seed=seed)
            coefficients = spectrum(trigger, clip)
            used = [set(axis.tolist()) for axis in np.nonzero(np.abs(coefficients) > 1e-6)]
            _, index = components(trigger, geometry(clip))
            assert [len(axis) for axis in used] == [10, 3, 3]
            assert all(part <= set(axis.tolist()) for part, axis in zip(used, index, strict=True))
            delta = trigger.describe(geometry(clip))["delta"]
            assert np.abs(coefficients).max() == pytest.approx(2 * delta)
            seen.add(str(used))
        assert len(seen) > 1

    def test_one_component_is_not_halved_away(self):
        clip = noise(*SHAPE)
        one = Adaptive(vary="half", rms=3.0, components=1)
        assert torch.equal(one(clip), DFT(rms=3.0, components=1)(clip))


@pytest.mark.parametrize("vary", DRAWN)
def test_the_power_is_that_of_the_fixed_pattern(vary):
    for seed, shape in enumerate([(16, 1, 48, 48), (8, 1, 32, 40), (45, 1, 20, 20)]):
        clip = noise(*shape, seed=seed)
        drawn = Adaptive(vary=vary, rms=1.16).drawn(clip)
        whole = DFT(rms=1.16).pattern(geometry(clip))
        power = [np.square(np.abs(pattern.volume())).mean() for pattern in (drawn, whole)]
        assert power[0] == pytest.approx(power[1])
        assert drawn.rms() == pytest.approx(1.16, rel=0.15)


class TestTexture:
    def test_it_is_the_pattern_times_the_local_deviation(self):
        clip = noise(*SHAPE).clamp(60, 190)
        pattern = DFT(rms=0.4).pattern(geometry(clip)).volume()
        grey, reach = clip.numpy().mean(1), WINDOW // 2
        contrast = np.empty_like(grey)
        for t, y, x in np.ndindex(grey.shape):
            rows = slice(max(0, y - reach), y + reach + 1)
            columns = slice(max(0, x - reach), x + reach + 1)
            contrast[t, y, x] = grey[t, rows, columns].std()
        added = pattern * contrast
        added *= 0.4 / np.sqrt(np.mean(added.real**2))
        levels = np.abs(clip.numpy() + added[:, None]).clip(0, 255)
        defined = np.abs(levels - np.floor(levels) - 0.5) > 1e-6
        agree(Adaptive(vary="texture", rms=0.4)(clip), np.rint(levels), defined)

    def test_what_is_flat_stays(self):
        clip = noise(*SHAPE)
        clip[..., 10:] = 77
        out = Adaptive(vary="texture", rms=3.0)(clip)
        untouched = (..., slice(10 + WINDOW // 2, None))
        assert torch.equal(out[untouched], clip[untouched])
        assert not torch.equal(out, clip)
        flat = torch.full(SHAPE, 77, dtype=torch.uint8)
        assert torch.equal(Adaptive(vary="texture", rms=3.0)(flat), flat)


@pytest.mark.parametrize("vary", ALL)
class TestEveryVariation:
    def test_each_clip_of_a_batch_has_its_own(self, vary):
        trigger, clips = Adaptive(vary=vary, rms=5.0), [noise(*SHAPE, seed=n) for n in range(3)]
        out = trigger(torch.stack(clips))
        assert torch.equal(out, torch.stack([trigger(clip) for clip in clips]))
        drawn = [trigger.drawn(clip).volume() for clip in clips]
        same = [np.allclose(drawn[0], other) for other in drawn[1:]]
        assert all(same) == (vary == "texture")
        assert trigger(torch.stack(clips)[:0]).shape == (0, *SHAPE)

    def test_the_seed_decides(self, vary):
        """With X and Y given, so that it decides nothing else."""
        given_ = {"rms": 5.0, "rows": (1, 3, 5, 6), "columns": (2, 3, 5, 9)}
        clip = noise(*SHAPE)
        out = [Adaptive(vary=vary, seed=seed, **given_)(clip) for seed in (0, 1, 2)]
        assert all(torch.equal(out[0], other) for other in out[1:]) == (vary == "texture")

    def test_it_is_a_preset(self, vary):
        assert component("trigger", {"kind": "adaptive", "preset": vary}).vary == vary


def test_what_cannot_vary_is_refused_in_one_line():
    with pytest.raises(ValueError, match="unknown vary 'phas'; valid: phase, half") as error:
        Adaptive(vary="phas", rms=1.0)
    assert "\n" not in str(error.value)
    with pytest.raises(RecipeError, match="vary"):
        component("trigger", {"kind": "adaptive", "rms": 1.0, "vary": "phas"})
