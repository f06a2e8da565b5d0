"""The kernel against transform → add → invert → project, and against the closed form, exhaustively.

`through_the_transform` takes the paper's way through transforms that are checked against other
libraries; `closed_form` is the float64 definition of a byte, written in numpy.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vidoor.errors import TriggerError
from vidoor.triggers import _kernels
from vidoor.triggers._bands import COLUMNS, ROWS
from vidoor.triggers._spectral import spatial_index
from vidoor.triggers.embedding import (
    Pattern,
    _check_clip,
    _check_out,
    _embed_in_torch,
    _plan,
    embed,
)
from vidoor.triggers.spectral import DCT, DFT, DWT, RT
from vidoor.types import Geometry

PAPER = Geometry(32, 224, 224)
TRIGGERS = {name: cls(**cls.presets["paper"]) for name, cls in zip(
    ("dft", "dct", "dwt", "rt"), (DFT, DCT, DWT, RT), strict=True
)}  # fmt: skip


def through_the_transform(clip, trigger):
    """The paper's way: bytes, and the distance of each level to a rounding tie."""
    frames, channels, height, width = clip.shape
    described = trigger.describe(Geometry(frames, height, width))
    band = range(described["first_index"], described["last_index"] + 1)
    index = np.ix_(
        band, spatial_index(trigger, ROWS, height), spatial_index(trigger, COLUMNS, width)
    )
    basis = trigger.basis()
    padded = Geometry(described["transform_frames"], basis.length(height), basis.length(width))
    levels = np.empty(clip.shape)
    for channel in range(channels):
        coefficients = basis.forward(clip[:, channel].numpy().astype(float), padded)
        coefficients[index] += described["delta"]
        volume = basis.inverse(coefficients)[:frames, :height, :width]
        levels[:, channel] = np.abs(volume) if np.iscomplexobj(volume) else volume
    levels = np.clip(levels, 0, 255)
    return np.rint(levels).astype(np.uint8), np.abs(levels - np.floor(levels) - 0.5)


def parts(pattern):
    """Real and imaginary part of the pattern, multiplied out in plain float64 operations."""
    sheet = np.outer(pattern.frames, pattern.rows)[:, :, None]
    columns = pattern.columns
    real = sheet.real * columns.real - sheet.imag * columns.imag
    return real, sheet.real * columns.imag + sheet.imag * columns.real


def closed_form(value, pattern, real, imaginary):
    """What a byte, or an array of them, becomes at every position."""
    level = value + real
    if np.iscomplexobj(pattern.frames):
        level *= level
        level += imaginary
        np.sqrt(level, out=level)
    return np.rint(np.clip(level, 0, 255, out=level), out=level).astype(np.uint8)


def pattern_of(row):
    """A pattern of one frame and one row."""
    one = np.ones(1, row.dtype)
    return Pattern(one, one, row)


def everywhere(pattern):
    """All 256 values at every position, as channels: what the clip, and what each path gives."""
    shape = (pattern.geometry.frames, 256, *pattern.geometry[1:])
    values = torch.arange(256, dtype=torch.uint8)[None, :, None, None].expand(shape).contiguous()
    in_torch = torch.empty_like(values)
    _embed_in_torch(values, _plan(pattern), "clip", in_torch)
    computed, tabled = embed(values, pattern), embed(values, pattern)
    return values.numpy(), computed.numpy(), tabled.numpy(), in_torch.numpy()


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from([DFT, DCT, DWT, RT]),
    geometry=st.tuples(st.integers(1, 50), st.integers(1, 23), st.integers(1, 23)),
    channels=st.integers(1, 3),
    band=st.one_of(
        st.tuples(st.integers(0, 40), st.integers(1, 10)),
        st.tuples(st.floats(0, 0.5), st.floats(0.01, 0.5)),
    ),
    fraction=st.floats(0.05, 1.0),
    # Not a round number of grey levels, which would put whole clips on ties.
    rms=st.floats(0.0, 60.0).map(lambda level: level * 0.98765),
    seed=st.integers(0, 2**31),
)
def test_closed_form_equals_the_transform_byte_for_byte(
    kind, geometry, channels, band, fraction, rms, seed
):
    frames, height, width = geometry
    rng = np.random.default_rng(seed)
    clip = rng.integers(0, 256, (frames, channels, height, width), dtype=np.uint8)
    clip = torch.from_numpy(clip)
    trigger = kind(rms=rms, start=band[0], count=band[1], components=fraction, seed=seed % 97)
    try:
        got = trigger(clip).numpy()
    except TriggerError as error:
        assert any(part in str(error) for part in ("does not fit", "no real part", "touch no"))
        return
    expected, tie = through_the_transform(clip, trigger)
    # Exactly on a tie the transform's own noise decides; everywhere else the bytes are defined.
    defined = tie > 1e-7
    assert defined.mean() > 0.5 or rms == 0
    np.testing.assert_array_equal(got[defined], expected[defined])


@pytest.mark.parametrize("name", TRIGGERS)
def test_paper_preset_has_no_differing_byte_at_full_size(name):
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(0, 256, (32, 1, 224, 224), dtype=np.uint8))
    expected, _ = through_the_transform(clip, TRIGGERS[name])
    assert (TRIGGERS[name](clip).numpy() != expected).sum() == 0


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_value_at_every_position_of_the_papers_clips(name):
    pattern = TRIGGERS[name].pattern(PAPER)
    real, imaginary = parts(pattern)
    imaginary *= imaginary
    clip = torch.empty(32, 1, 224, 224, dtype=torch.uint8)
    tabled, computed = torch.empty_like(clip), torch.empty_like(clip)
    embed(clip, pattern, out=tabled)  # the next one looks up
    for value in range(256):
        clip.fill_(value)
        embed(clip, pattern, out=tabled)
        embed(clip, replace(pattern), out=computed)
        expected = closed_form(value, pattern, real, imaginary)
        assert (tabled.numpy()[:, 0] != expected).sum() == 0, value
        assert (computed.numpy()[:, 0] != expected).sum() == 0, value


def test_the_table_of_the_papers_dft_has_every_kind_of_entry():
    """So that the exhaustive test above has seen them all."""
    pattern = TRIGGERS["dft"].pattern(PAPER)
    table = _plan(pattern).table
    assert 0 < table.computed.sum() < 32
    assert 0 < len(table.odd) < 0.01 * pattern.volume().size
    assert set(np.diff(table.first)) >= {0, 1, 2, 3}
    assert table.offsets.min() < -1
    assert table.offsets.max() > 3


HALVES = st.integers(-520, 520).map(lambda n: n / 2)
NEAR = st.builds(lambda half, ulps: half + ulps * np.spacing(half), HALVES, st.integers(-3, 3))
LEVELS = st.one_of(HALVES, NEAR, st.floats(-300, 300), st.floats(-2, 2))


@settings(max_examples=60, deadline=None)
@given(
    real=arrays.arrays(float, st.integers(1, 70), elements=LEVELS),
    imaginary=st.sampled_from([0.0, 1e-9, 0.5, 1.0, 3.3, 40.0]),
    magnitude=st.booleans(),
    common=st.sampled_from([0, 700]),
)
def test_every_value_on_and_beside_ties(real, imaginary, magnitude, common):
    # Positions in common keep the share of hard ones low enough for a table.
    row = np.concatenate([real, np.full(common, 0.3)])
    pattern = pattern_of(row + 1j * imaginary if magnitude else row)
    values, *results = everywhere(pattern)
    x = values + row
    expected = np.rint(np.clip(np.sqrt(x * x + imaginary**2) if magnitude else x, 0, 255))
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_halves_round_to_even():
    """By hand: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2; below zero a real pattern clips, a complex bounces."""
    clip = torch.tensor([0, 1, 2, 254, 255], dtype=torch.uint8)[None, None, None]
    real, bounced = np.array([0.5] * 5), np.array([-1.5 + 0j] * 5)
    for _ in range(2):
        assert embed(clip, pattern_of(real)).flatten().tolist() == [0, 2, 2, 254, 255]
        assert embed(clip, pattern_of(bounced)).flatten().tolist() == [2, 0, 0, 252, 254]
        assert embed(clip, pattern_of(bounced.real)).flatten().tolist() == [0, 0, 0, 252, 254]


ORDERS = [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3)]


@pytest.mark.parametrize("projection", ["clip", "stretch"])
@pytest.mark.parametrize("order", ORDERS)
def test_memory_order_does_not_matter(order, projection):
    clip = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 3, 6, 7), dtype=np.uint8))
    pattern = DFT(rms=5.0).pattern(Geometry(5, 6, 7))
    back = tuple(order.index(axis) for axis in range(4))
    strided = clip.permute(order).contiguous().permute(back)
    cut = torch.zeros(8, 4, 9, 9, dtype=torch.uint8)[1:6, :3, 2:8, 1:8].copy_(clip)
    expected = embed(clip, pattern, projection=projection)
    for same in (strided, cut, clip):
        result = embed(same, pattern, projection=projection)
        assert torch.equal(result, expected)
        assert result.is_contiguous()


@pytest.mark.parametrize("projection", ["clip", "stretch"])
def test_a_batch_is_its_clips(projection):
    rng = np.random.default_rng(2)
    batch = torch.from_numpy(rng.integers(0, 256, (4, 5, 3, 6, 7), dtype=np.uint8))
    pattern = DFT(rms=9.0).pattern(Geometry(5, 6, 7))
    expected = torch.stack([embed(clip, pattern, projection=projection) for clip in batch])
    assert torch.equal(embed(batch, pattern, projection=projection), expected)
    last = batch.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert torch.equal(embed(last, pattern, projection=projection), expected)
    assert embed(batch[:0], pattern, projection=projection).shape == (0, 5, 3, 6, 7)


@pytest.mark.parametrize("projection", ["clip", "stretch"])
@pytest.mark.parametrize("name", TRIGGERS)
def test_torch_gives_the_same_bytes(name, projection):
    rng = np.random.default_rng(3)
    batch = torch.from_numpy(rng.integers(0, 256, (2, 32, 3, 56, 60), dtype=np.uint8))
    pattern = replace(TRIGGERS[name], delta=None, rms=4.0).pattern(Geometry(32, 56, 60))
    out = torch.empty_like(batch)
    _embed_in_torch(batch, _plan(pattern), projection, out)
    assert torch.equal(out, embed(batch, pattern, projection=projection))


def test_out_is_written_and_returned():
    clip = torch.full((2, 3, 4, 5), 7, dtype=torch.uint8)
    pattern = DWT(delta=10.0).pattern(Geometry(2, 4, 5))
    out = torch.empty_like(clip)
    assert embed(clip, pattern, out=out) is out
    assert torch.equal(out, embed(clip, pattern))


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(2, 3, 4, 5),
        torch.zeros(2, 3, 4, 6, dtype=torch.uint8),
        torch.zeros(2, 4, 5, 3, dtype=torch.uint8).permute(0, 3, 1, 2),
        None,
    ],
)
def test_an_out_that_cannot_hold_the_result_gets_one_line(out):
    clip = torch.full((2, 3, 4, 5), 7, dtype=torch.uint8)
    with pytest.raises(ValueError, match="out must be contiguous uint8 of 2×3×4×5 on cpu"):
        _check_out(clip if out is None else out, clip)


@pytest.mark.parametrize(
    ("clip", "line"),
    [
        (torch.zeros(2, 3, 4, 5), "uint8 clips"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), "not torch.uint8 of 3×4×5"),
        (torch.zeros(3, 3, 4, 5, dtype=torch.uint8), "for 2×4×5 clips, not 3×4×5"),
    ],
)
def test_a_clip_that_does_not_fit_gets_one_line(clip, line):
    with pytest.raises(TriggerError, match=line):
        _check_clip(clip, DWT(delta=1.0).pattern(Geometry(2, 4, 5)))


def test_stretch_is_the_definition():
    rng = np.random.default_rng(4)
    clip = rng.integers(40, 200, (6, 3, 20, 21), dtype=np.uint8)
    clip[2, 1] = 77  # a flat frame
    pattern = DFT(rms=3.0).pattern(Geometry(6, 20, 21))
    for strength in (0.0, 1.0):
        scaled = Pattern(strength * pattern.frames, pattern.rows, pattern.columns)
        real, imaginary = parts(scaled)
        x = clip + real[:, None]
        levels = np.sqrt(x * x + (imaginary * imaginary)[:, None])
        low = levels.min((2, 3), keepdims=True)
        contrast = levels.max((2, 3), keepdims=True) - low
        expected = np.trunc(255 * (levels - low) / np.where(contrast > 0, contrast, 1))
        result = embed(torch.from_numpy(clip), scaled, projection="stretch").numpy()
        np.testing.assert_array_equal(result, expected)
        assert (result != clip).mean() > 0.9
        assert (result[2, 1] == 0).all() == (strength == 0)


@pytest.mark.parametrize("clip", ["a", "b"])
def test_stretch_is_the_released_embedding(shared_data, clip):
    """Within a level, since it truncates: where the pattern is zero, noise of the FFT decides."""
    golden = np.load(shared_data / "golden" / "released.npz")
    rows, columns = (tuple(golden[f"{clip}_{axis}"].tolist()) for axis in "XY")
    delta = float(golden[f"{clip}_delta_dft"])
    trigger = DFT(delta=delta, projection="stretch", rows=rows, columns=columns)
    frames = torch.from_numpy(golden[f"{clip}_clip"]).permute(0, 3, 1, 2)
    result = trigger(frames).permute(0, 2, 3, 1).numpy().astype(int)
    difference = np.abs(result - golden[f"{clip}_dft_stretch"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


@pytest.mark.parametrize(
    ("name", "clip", "options"),
    [
        ("dct", "a", {"delta": 50.0}),
        ("dct", "b", {"delta": 50.0}),
        ("dwt", "a", DWT.presets["released"]),
    ],
)
def test_real_bases_are_the_released_embedding_but_for_its_truncation(
    shared_data, name, clip, options
):
    golden = np.load(shared_data / "golden" / "released.npz")
    rows, columns = (tuple(golden[f"{clip}_{axis}"].tolist()) for axis in "XY")
    drawn = {"rows": rows, "columns": columns} if name == "dct" else {}
    trigger = type(TRIGGERS[name])(**options, **drawn)
    frames = torch.from_numpy(golden[f"{clip}_clip"]).permute(0, 3, 1, 2)
    result = trigger(frames).permute(0, 2, 3, 1).numpy().astype(int)
    assert set(np.unique(result - golden[f"{clip}_{name}"])) == {0, 1}


def test_only_the_second_clip_of_a_pattern_is_looked_up():
    clip = torch.zeros(5, 1, 6, 7, dtype=torch.uint8)
    pattern = Pattern(np.ones(5), np.ones(6), np.ones(7))
    embed(clip, pattern)
    assert "table" not in vars(_plan(pattern))
    embed(clip, pattern)
    assert "table" in vars(_plan(pattern))


def test_a_large_clip_is_computed(monkeypatch):
    monkeypatch.setattr("vidoor.triggers.embedding.LARGEST_TABLE", 5 * 6 * 7 - 1)
    monkeypatch.setattr(_kernels, "survey", None)
    clip = torch.zeros(3, 5, 1, 6, 7, dtype=torch.uint8)
    result = embed(clip, DFT(rms=5.0).pattern(Geometry(5, 6, 7)))
    assert torch.equal(result[0], result[2])


@pytest.mark.parametrize("name", TRIGGERS)
def test_rms_equals_the_written_out_volume(name):
    pattern = TRIGGERS[name].pattern(Geometry(19, 20, 31))
    direct = np.sqrt(np.mean(pattern.volume().real ** 2))
    assert pattern.rms() == pytest.approx(direct, rel=1e-12)
