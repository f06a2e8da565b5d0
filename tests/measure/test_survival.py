"""What a codec leaves of a trigger, against least squares and codecs that are known functions."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.data import video
from vidoor.errors import DataError
from vidoor.measure import survival
from vidoor.measure.survival import CONDITIONS, Condition
from vidoor.report.layout import WRITERS
from vidoor.triggers.badnet import BadNet
from vidoor.triggers.spectral import DFT
from vidoor.types import Geometry

STRONG = DFT(rms=12.0)


def scene(seed=0, size=(40, 48)):
    """A smooth moving clip with a little noise."""
    rng = np.random.default_rng(seed)
    t, y, x = np.ogrid[:6, : size[0], : size[1]]
    waves = [80 * np.sin(x / 9 + t / 3 + seed) + 0 * y, 60 * np.cos(y / 7 - t / 4) + 0 * x]
    planes = np.stack([128 + waves[0], 128 + waves[1], 128 + (waves[0] + waves[1]) / 2], 1)
    noisy = planes + rng.normal(0, 2, planes.shape)
    return torch.from_numpy(noisy.round().clip(0, 255).astype(np.uint8))


def clips_of(seed):
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (5, 3, 3, 5, 7), dtype=np.uint8)
    return [torch.from_numpy(clip) for clip in clips]


@settings(deadline=None)
@given(st.integers(0, 2**16))
def test_the_numbers_are_those_of_least_squares(seed):
    clean, triggered, coded, coded_triggered, again = clips_of(seed)
    pattern = np.random.default_rng(seed).normal(size=(3, 5, 7))
    found = survival.compare(clean, triggered, coded, coded_triggered, again, pattern)
    r = (triggered.double() - clean.double()).numpy().ravel()
    q = (again.double() - coded.double()).numpy().ravel()
    d = (coded_triggered.double() - coded.double()).numpy().ravel()
    p = np.stack([pattern] * 3, axis=1).ravel()
    (gain,), *_ = np.linalg.lstsq(r[:, None], d, rcond=None)
    assert found["gain"] == pytest.approx(gain)

    def cosine(a, b):
        return a / np.linalg.norm(a) @ (b / np.linalg.norm(b))

    (gain,), *_ = np.linalg.lstsq(q[:, None], d, rcond=None)
    assert found["coded_gain"] == pytest.approx(gain)
    assert found["correlation"] == pytest.approx(cosine(r, d))
    assert found["coded_correlation"] == pytest.approx(cosine(q, d))
    assert found["pattern_correlation"] == pytest.approx(cosine(p, d))
    assert found["rms"] == pytest.approx(np.sqrt(np.mean(r**2)))
    assert found["coded_rms"] == pytest.approx(np.sqrt(np.mean(d**2)))
    assert found["rms_ratio"] == pytest.approx(found["gain"] / found["correlation"])
    error = coded_triggered.double() - clean.double()
    assert found["psnr"] == pytest.approx(10 * math.log10(255**2 / error.square().mean()))
    assert found["psnr_to_coded"] == pytest.approx(10 * math.log10(255**2 / np.mean(d**2)))


@settings(deadline=None)
@given(st.integers(0, 2**16))
def test_lossless_is_one_exactly(seed):
    clean, triggered, *_ = clips_of(seed)
    found = survival.compare(clean, triggered, clean, triggered, triggered)
    assert found["gain"] == found["correlation"] == found["rms_ratio"] == 1.0
    assert found["coded_gain"] == found["coded_correlation"] == 1.0
    assert found["rms"] == found["coded_rms"]


def test_codecs_that_are_known():
    clean = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    checker = torch.tensor([8, -8] * 48).reshape(2, 3, 4, 4)
    triggered = (clean + checker).to(torch.uint8)
    half = (clean + checker // 2).to(torch.uint8)
    halved = survival.compare(clean, triggered, clean, half, triggered)
    assert (halved["gain"], halved["correlation"], halved["rms_ratio"]) == (0.5, 1.0, 0.5)
    assert (halved["rms"], halved["coded_rms"]) == (8.0, 4.0)
    shift = survival.compare(clean, triggered, clean + 7, triggered + 7, triggered + 7)
    assert (shift["gain"], shift["correlation"], shift["rms_ratio"]) == (1.0, 1.0, 1.0)
    assert shift["psnr"] == pytest.approx(10 * math.log10(255**2 / (8**2 + 7**2)))
    other = survival.compare(
        clean, triggered, clean, clean + 8, triggered
    )  # orthogonal, and as strong
    assert (other["gain"], other["correlation"], other["rms_ratio"]) == (0.0, 0.0, 1.0)
    gone = survival.compare(clean, triggered, clean, clean, triggered)
    assert gone["gain"] == gone["rms_ratio"] == 0 and math.isnan(gone["correlation"])
    none = survival.compare(clean, clean, clean, triggered, clean)
    assert math.isnan(none["gain"]) and math.isnan(none["rms_ratio"])


def test_ffv1_loses_nothing_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for trigger in (STRONG, BadNet()):
        found = survival.survival(scene(), trigger, "ffv1")
        assert found["gain"] == found["correlation"] == found["rms_ratio"] == 1.0
    assert "pattern_correlation" not in found
    assert list(tmp_path.iterdir()) == []


def test_a_lossless_clip_holds_the_pattern_but_for_its_rounding():
    clip = scene() // 2 + 64  # far from 0 and 255
    found = survival.survival(clip, STRONG, "ffv1")
    z = STRONG.pattern(Geometry(6, 40, 48)).volume()[:, None]
    added = np.rint(np.minimum(np.abs(clip.numpy() + z), 255)) - clip.numpy()
    p = np.broadcast_to(z.real, added.shape)
    cosine = (added * p).sum() / np.sqrt((added**2).sum() * (p**2).sum())
    assert found["pattern_correlation"] == pytest.approx(cosine)


def test_it_measures_what_video_writes_and_reads(tmp_path):
    clip, decoded = scene(), []
    for name, each in (("a", clip), ("b", STRONG(clip))):
        video.write(tmp_path / f"{name}.mkv", each, codec="h264", quality=30)
        decoded.append(video.read(tmp_path / f"{name}.mkv"))
    pattern = STRONG.pattern(Geometry(6, 40, 48)).volume().real
    expected = survival.compare(clip, STRONG(clip), *decoded, STRONG(decoded[0]), pattern)
    assert survival.survival(clip, STRONG, "h264", 30) == expected
    assert survival.survival(clip, STRONG, "h264", 30) == expected


def test_less_survives_at_worse_quality():
    found = [survival.survival(scene(), DFT(rms=3.0), "h264", crf)["gain"] for crf in (5, 25, 45)]
    assert found[0] > found[1] > found[2]
    assert found[0] > 0.8 and found[2] < 0.4
    usual, given = (survival.survival(scene(), STRONG, "mpeg4", q) for q in (None, 3))
    assert usual == given
    assert Condition("mpeg4", 3) in CONDITIONS


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (3, 40)])
@pytest.mark.parametrize("codec", ["ffv1", "h264", "mpeg4"])
def test_any_size_and_a_single_frame(size, codec):
    found = survival.survival(scene(size=size)[:1], BadNet(), codec)
    assert found["rms"] > 0 and found["correlation"] > 0.8


@pytest.mark.parametrize(
    ("codec", "quality", "line"),
    [
        ("h265", None, "unknown codec 'h265'; valid: ffv1, h264, mpeg4; did you mean 'h264'?"),
        ("h264", 52, "quality 52 does not fit h264; valid: 0..51"),
        ("h264", -1, "quality -1 does not fit h264; valid: 0..51"),
        ("mpeg4", 0, "quality 0 does not fit mpeg4; valid: 1..31"),
        ("ffv1", 1, "quality 1 does not fit ffv1; valid: none, it is lossless"),
    ],
)
def test_what_does_not_fit_gets_one_line(tmp_path: Path, monkeypatch, codec, quality, line):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DataError) as caught:
        survival.survival(scene(), STRONG, codec, quality)
    assert str(caught.value) == line
    assert list(tmp_path.iterdir()) == []


def test_a_survey_averages_over_clips_in_the_order_asked():
    clips, triggers = [scene(1), scene(2)], {"weak": DFT(rms=4.0), "square": BadNet()}
    conditions = [Condition("mpeg4", 9), Condition("ffv1")]
    rows = survival.survey(clips, triggers, conditions)
    asked = [(row["trigger"], row["codec"], row["quality"]) for row in rows]
    expected = [("weak", "mpeg4", 9), ("weak", "ffv1", None)]
    assert asked == [*expected, ("square", "mpeg4", 9), ("square", "ffv1", None)]
    for row in rows:
        kind = triggers[row["trigger"]]
        each = [survival.survival(clip, kind, row["codec"], row["quality"]) for clip in clips]
        assert row["clips"] == 2
        for name in each[0]:
            values = [numbers[name] for numbers in each]
            assert row[name] == pytest.approx(np.mean(values))
            assert row[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))
    (alone,) = survival.survey(clips[:1], {"weak": DFT(rms=4.0)}, conditions[1:])
    assert alone["gain"] == 1.0 and alone["gain_sd"] is None


def test_a_survey_is_a_table():
    rows = survival.survey(
        [scene()], {"weak": DFT(rms=4.0)}, [CONDITIONS[0], Condition("h264", 40)]
    )
    text = WRITERS["md"](survival.table(rows))
    head, _, line = text.splitlines()[2:]
    assert head == "| trigger | ffv1 | h264 40 |"
    assert line == f"| weak | 1.00 | {rows[1]['gain']:.2f} |"


def test_a_codec_that_smooths_takes_nothing_from_a_warp():
    """What a shift by one pixel changes shrinks with the texture; the shift itself is all there."""
    clip = scene()

    def smooth(frames):
        sharp = frames.float()
        return ((sharp.roll(1, -1) + 2 * sharp + sharp.roll(-1, -1)) / 4).round().to(torch.uint8)

    def shift(frames):
        return frames.roll(1, -1)

    coded, triggered = smooth(clip), shift(clip)
    found = survival.compare(clip, triggered, coded, smooth(triggered), shift(coded))
    assert found["coded_gain"] == found["coded_correlation"] == 1.0
    assert found["gain"] < 0.9


def test_the_benchmark_is_a_table_for_each_number(tmp_path, monkeypatch):
    video.write(tmp_path / "scene.mkv", scene())
    monkeypatch.setattr(survival, "published", lambda: {"weak": DFT(rms=4.0)})
    monkeypatch.setattr(survival.survey, "__defaults__", (CONDITIONS[:2],))
    document = survival.benchmark(tmp_path)
    assert [row["codec"] for row in document["rows"]] == ["ffv1", "h264"]
    assert document["quarantined"] == []
    texts = [WRITERS["md"](table) for table in survival.tables(document)]
    assert len(texts) == len(survival.SHOWN)
    for text, (value, head) in zip(texts, survival.SHOWN.items(), strict=True):
        assert text.startswith(head)
        assert f"| weak | 1.00 | {document['rows'][1][value]:.2f} |" in text
