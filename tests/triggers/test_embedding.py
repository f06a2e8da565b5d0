"""The closed form against transform → add → invert → magnitude → clip → round, byte for byte."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.triggers.embedding import Pattern, embed
from vidoor.triggers.spectral import COLUMNS, DFT, ROWS, spatial_index
from vidoor.types import Frames, Geometry


def through_the_transform(clip: Frames, trigger: DFT) -> tuple[np.ndarray, np.ndarray]:
    """The paper's way on numpy's FFT: bytes, and distance of each magnitude to a rounding tie."""
    frames, channels, height, width = clip.shape
    length = trigger.transform_frames or max(frames, trigger.start + trigger.count)
    rows = spatial_index(trigger, ROWS, height)
    columns = spatial_index(trigger, COLUMNS, width)
    band = range(trigger.start, trigger.start + trigger.count)
    levels, ties = np.empty(clip.shape, np.uint8), np.empty(clip.shape)
    for channel in range(channels):
        padded = np.zeros((length, height, width))
        padded[:frames] = clip[:, channel].numpy()
        spectrum = np.fft.fftn(padded)
        spectrum[np.ix_(band, rows, columns)] += trigger.delta
        magnitude = np.clip(np.abs(np.fft.ifftn(spectrum)[:frames]), 0, 255)
        levels[:, channel] = np.rint(magnitude)
        ties[:, channel] = np.abs(magnitude - np.floor(magnitude) - 0.5)
    return levels, ties


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 50),
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    channels=st.integers(1, 3),
    start=st.integers(0, 40),
    count=st.integers(1, 10),
    fraction=st.floats(0.05, 1.0),
    level=st.floats(0.0, 60.0),
    seed=st.integers(0, 2**31),
)
def test_closed_form_equals_the_transform_byte_for_byte(
    frames, height, width, channels, start, count, fraction, level, seed
):
    clip = torch.from_numpy(
        np.random.default_rng(seed).integers(
            0, 256, (frames, channels, height, width), dtype=np.uint8
        )
    )
    size = max(frames, start + count) * height * width
    trigger = DFT(delta=level * size, start=start, count=count, components=fraction, seed=seed % 97)
    expected, tie = through_the_transform(clip, trigger)
    # Exactly on a tie the FFT's own noise decides; everywhere else the bytes are defined.
    defined = tie > 1e-7
    assert defined.mean() > 0.5 or level == 0
    np.testing.assert_array_equal(trigger(clip).numpy()[defined], expected[defined])


def test_paper_preset_has_no_differing_byte_at_full_size():
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(0, 256, (32, 3, 224, 224), dtype=np.uint8))
    trigger = DFT(delta=50_000)
    expected, _ = through_the_transform(clip, trigger)
    assert (trigger(clip).numpy() != expected).sum() == 0


def test_memory_order_does_not_matter():
    rng = np.random.default_rng(1)
    last = torch.from_numpy(rng.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8))
    trigger = DFT(rms=5.0)
    strided = last.permute(0, 3, 1, 2)
    assert torch.equal(trigger(strided), trigger(strided.contiguous()))


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_values_stay_in_range_and_round_half_to_even(value):
    clip = torch.full((1, 1, 1, 3), value, dtype=torch.uint8)
    row = np.array([0.5, 1.5, 300.0], complex)
    out = embed(clip, Pattern(np.ones(1, complex), np.ones(1, complex), row)).flatten().tolist()
    assert out == [min(255, round(value + 0.5)), min(255, round(value + 1.5)), 255]


def test_rms_equals_the_written_out_volume():
    pattern = DFT(delta=3e4, seed=3).pattern(Geometry(9, 20, 31))
    direct = np.sqrt(np.mean(pattern.volume().real ** 2))
    assert pattern.rms() == pytest.approx(direct, rel=1e-12)
