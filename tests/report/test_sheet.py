"""The sheet against numpy's transforms, closed forms, and pixels where they must be."""

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from vidoor.report import chart, figures, sheet
from vidoor.report.chart import PLOT, SCALE, TITLE, Chart

Pixels = np.ndarray[Any, Any]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def drawn(clean: Pixels, triggered: Pixels, headline: str = "") -> Pixels:
    return np.asarray(Image.open(io.BytesIO(sheet.sheet(clean, triggered, headline))))


SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


# ---- spectra -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**16))
def test_spectra_are_numpys(shape: tuple[int, ...], seed: int) -> None:
    clean, triggered = noise(*shape, seed=seed), noise(*shape, seed=seed + 1)
    volumes = [clean.astype(float), triggered.astype(float), triggered.astype(float) - clean]
    frames, height, width = shape
    space, time = sheet.spatial(clean, triggered), sheet.temporal(clean, triggered)
    for volume, in_space, in_time in zip(volumes, space, time, strict=True):
        square = np.abs(np.fft.fft2(volume, axes=(1, 2))) ** 2 / (height * width)
        expected = np.fft.fftshift(square.mean((0, 3)))
        np.testing.assert_allclose(in_space, expected, rtol=1e-3, atol=1e-2)
        square = np.abs(np.fft.fft(volume, axis=0)) ** 2 / frames
        np.testing.assert_allclose(in_time, square.mean((1, 2, 3)), rtol=1e-3, atol=1e-2)
        assert in_space.mean() == pytest.approx((volume**2).mean(), rel=1e-4)
        assert in_time.mean() == pytest.approx((volume**2).mean(), rel=1e-4)


def test_stripes_and_blinking_are_where_they_belong() -> None:
    clean = np.full((8, 12, 16, 3), 100, np.uint8)
    stripes = np.rint(40 * np.cos(2 * np.pi * 4 * np.arange(16) / 16))
    triggered = (clean + stripes[:, None]).astype(np.uint8)
    change = sheet.spatial(clean, triggered).change
    expected = np.zeros((12, 16))
    expected[6, [4, 12]] = (40 / 2) ** 2 * 12 * 16
    np.testing.assert_allclose(change, expected, atol=1e-3)
    blinking = clean.copy()
    blinking[::2] += 6  # 3 ± 3
    change = sheet.temporal(clean, blinking).change
    np.testing.assert_allclose(change, [72, 0, 0, 0, 72, 0, 0, 0], atol=1e-4)


def test_what_does_not_change_has_no_power_at_all() -> None:
    clip = noise(5, 30, 40)
    assert not sheet.spatial(clip, clip).change.any()
    assert not sheet.temporal(clip, clip).change.any()
    assert not sheet.by_frame(clip, clip).any()


def test_a_change_of_colour_alone_is_seen() -> None:
    clean = np.full((2, 4, 4, 3), 100, np.uint8)
    triggered = clean + np.array([3, 253, 0], np.uint8)  # 253 wraps to −3: the sum stays
    assert sheet.spatial(clean, triggered).change.mean() == pytest.approx(6)
    np.testing.assert_allclose(sheet.by_frame(clean, triggered), [math.sqrt(6)] * 2)


def test_the_change_of_a_frame_does_not_wrap() -> None:
    clean, triggered = np.zeros((3, 2, 2, 3), np.uint8), np.zeros((3, 2, 2, 3), np.uint8)
    clean[0], triggered[1], triggered[2, 0] = 255, 255, 10
    expected = [255, 255, 10 / math.sqrt(2)]
    np.testing.assert_allclose(sheet.by_frame(clean, triggered), expected)


# ---- the picture -------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "factor"), [(32, 4), (224, 1)])
def test_the_strips_are_on_the_sheet(side: int, factor: int) -> None:
    clean, triggered = noise(16, side, side), noise(16, side, side, seed=1)
    picture = drawn(clean, triggered, "noise")
    strips = map(figures.strip, (clean, triggered, figures.residual(clean, triggered)))
    top = sheet.EDGE + sheet.TITLE + 4 + sheet.NUMBERS
    for row in strips:
        found = picture[top : top + side * factor, sheet.EDGE + sheet.LABELS :][:, : row.shape[1]]
        opaque = row[0, :, 3] > 0
        np.testing.assert_array_equal(found[:, opaque], row[:, opaque, :3])
        assert (found[:, ~opaque] == 255).all()
        top += side * factor + 6


@settings(deadline=None, max_examples=20)
@given(SHAPES, st.booleans())
def test_any_clip_can_be_drawn(shape: tuple[int, ...], same: bool) -> None:
    clean = noise(*shape)
    picture = drawn(clean, clean if same else noise(*shape, seed=1))
    assert picture.shape[1] >= sheet.LEAST and picture.shape[2] == 3


def test_large_frames_are_shrunk_and_a_fine_change_is_not_wiped_out() -> None:
    clean = np.full((2, 300, 513, 3), 100, np.uint8)
    triggered = clean.copy()
    triggered[:, ::3, ::3] += 5  # a dot in nine pixels
    picture = drawn(clean, triggered)
    assert picture.shape[1] == sheet.LEAST + 2 * sheet.EDGE
    left = sheet.EDGE + sheet.LABELS
    bottom = sheet.EDGE + sheet.NUMBERS + 3 * 100 + 12
    assert (picture[bottom - 100 : bottom, left : left + 171] == 128 + 5 * figures.GAIN).all()
    assert (picture[bottom - 312 : bottom - 212, left : left + 171] == 100).all()


def test_every_letter_has_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's font lacks many signs, and draws a box for them."""
    texts = []

    def write(draw: Any, at: Any, text: str, *rest: Any, **options: Any) -> None:
        texts.append(text)

    monkeypatch.setattr(chart, "write", write)
    monkeypatch.setattr(sheet, "write", write)
    sheet.sheet(noise(9, 30, 30), noise(9, 30, 30, seed=1))
    font = ImageFont.load_default(13)
    missing = bytes(font.getmask("\uffff"))
    letters = set("".join(texts)) - {" "}
    assert len(texts) > 20 and len(letters) > 20
    assert [letter for letter in letters if bytes(font.getmask(letter)) == missing] == []


# ---- charts ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e5))
def test_ticks_are_round_few_and_inside(low: float, span: float) -> None:
    found = chart.ticks(low, low + span)
    assert 1 <= len(found) <= 7
    assert low - 1e-6 * span <= found[0] and found[-1] <= low + span * (1 + 1e-6)
    if len(found) > 1:
        steps = np.diff(found)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
        mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-3
    assert chart.ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert chart.ticks(-0.5, 1.5, 1) == [0, 1]


def test_bars_are_as_high_as_their_numbers_and_none_is_lost() -> None:
    red = (255, 0, 0)
    axes = Chart(400, "", (-0.5, 3.5), (0, 10))
    axes.bars(np.array([10.0, 5.0, 0.0, 2.5]), "#ff0000")
    picture = np.asarray(axes.picture)
    for place, share in enumerate((1, 0.5, 0, 0.25)):
        across = SCALE + round(axes.size[0] * (place + 0.5) / 4)
        height = (picture[:, across] == red).all(-1).sum()
        assert height == pytest.approx(share * PLOT, abs=1)
    many = np.zeros(10_000)
    many[7_777] = 1.0
    axes = Chart(400, "", (-0.5, len(many) - 0.5), (0, 1))
    axes.bars(many, "#ff0000")
    (columns,) = np.nonzero((np.asarray(axes.picture)[TITLE + PLOT // 2] == red).all(-1))
    assert columns.size > 0
    assert (columns - SCALE) / axes.size[0] == pytest.approx(0.7777, abs=0.01)


def test_a_line_goes_through_its_points() -> None:
    axes = Chart(300, "", (0, 1), (0, 1))
    assert (axes.place(0, 1), axes.place(1, 0)) == ((0, 0), axes.size)
    axes.line([0.0, 1.0], [0.0, 1.0], "#ff0000")
    picture = np.asarray(axes.picture)
    for part in (0.0, 0.25, 0.5, 1.0):
        across, down = axes.place(part, part)
        assert picture[TITLE + min(round(down), PLOT - 1), SCALE + round(across)].tolist()[0] == 255
        assert picture[TITLE + min(round(down), PLOT - 1), SCALE + round(across)].tolist()[1] < 99
    assert (picture[TITLE + 10, SCALE + 10] == 255).all()  # the far corner


def test_a_single_point_is_seen() -> None:
    axes = Chart(300, "", (0, 1), (0, 1))
    axes.line([0.5], [0.5], "#ff0000")
    across, down = axes.place(0.5, 0.5)
    assert np.asarray(axes.picture)[TITLE + round(down), SCALE + round(across)].tolist() == [
        255,
        0,
        0,
    ]
