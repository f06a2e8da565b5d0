"""Windows of a pattern against the pattern written out; rows against what they are averages of."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor import imperceptibility, metrics
from vidoor.bench.samples import PAPER, published
from vidoor.data.shapes import Shapes
from vidoor.measure import visible
from vidoor.report import paper
from vidoor.report.layout import WRITERS
from vidoor.triggers.badnet import BadNet
from vidoor.triggers.embedding import Pattern
from vidoor.triggers.spectral import DCT, DFT
from vidoor.types import Geometry


def clips(count: int = 2):
    source = Shapes(train=8, test=8, frames=4, size=(40, 60)).open(0).test
    return [source.read(index) for index in range(count)]


def by_hand(volume, side):
    """PSNR of every window of Re(volume), window by window."""
    _, height, width = volume.shape
    rows, columns = (max(1, length // side) for length in (height, width))
    short = min(side, height), min(side, width)
    return [
        [
            10 * math.log10(255**2 / np.mean(part.real**2))
            for column in range(columns)
            for part in [
                volume[
                    :,
                    row * short[0] : (row + 1) * short[0],
                    column * short[1] : (column + 1) * short[1],
                ]
            ]
        ]
        for row in range(rows)
    ]


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(1, 20)] * 3), st.integers(2, 9), st.booleans(), st.integers(0, 2**16)
)
def test_windows_of_a_pattern_are_those_of_its_volume(shape, side, is_complex, seed):
    rng = np.random.default_rng(seed)
    factors = [rng.normal(3, 9, n) + is_complex * 1j * rng.normal(0, 9, n) for n in shape]
    pattern = Pattern(*(factor if is_complex else factor.real for factor in factors))
    expected = by_hand(pattern.volume(), side)
    np.testing.assert_allclose(visible.pattern_windows(pattern, side), expected, rtol=1e-6)


def test_a_clip_of_middle_greys_shows_the_pattern_but_for_its_rounding():
    trigger = DCT(rms=9.0)
    clean = np.full((8, 3, 56, 84), 128, np.uint8)
    other = trigger(torch.from_numpy(clean)).numpy()
    found = imperceptibility.psnr_windows(clean, other)
    expected = visible.pattern_windows(trigger.pattern(Geometry(8, 56, 84)))
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_row_averages_clips_and_has_the_papers_figures_beside_it():
    found, triggers = (
        clips(),
        {"badnet": BadNet(side=9), "dft, mild": DFT(rms=2.0), "own": BadNet()},
    )
    rows = visible.survey(found, triggers)
    assert [row["trigger"] for row in rows] == list(triggers)
    for row, trigger in zip(rows, triggers.values(), strict=True):
        pairs = [(clip.numpy(), trigger(clip).numpy()) for clip in found]
        assert row["clips"] == 2
        for name, function in (
            ("psnr", metrics.psnr),
            ("ssim", metrics.ssim),
            ("flicker", imperceptibility.flicker),
            ("relative_flicker", imperceptibility.relative_flicker),
        ):
            assert row[name] == pytest.approx(np.mean([function(*pair) for pair in pairs]))
        for measure, spread in imperceptibility.localised(pairs).items():
            for name, value in spread.items():
                assert row[f"{measure}_{name}"] == pytest.approx(value)
    assert rows[0]["ssim_min_paper"] == 0.1727
    assert rows[1]["psnr_mean_paper"] == 42.87
    assert rows[2]["psnr_mean_paper"] is None


def test_draws_are_quantiles_over_seeds():
    geometry = Geometry(12, 56, 56)
    trigger = DFT(rms=3.0, components=5)
    rows = visible.draws({"dft": trigger, "mine": trigger}, geometry, 5)
    assert [row["measure"] for row in rows] == ["rms", "min", "max", "mean"] * 2
    least = []
    for seed in range(5):
        volume = DFT(rms=3.0, components=5, seed=seed).pattern(geometry).volume()
        least.append(np.min(by_hand(volume, 28)))
    row = rows[1]
    assert row["least"] == pytest.approx(min(least))
    assert row["median"] == pytest.approx(sorted(least)[2])
    assert row["largest"] == pytest.approx(max(least))
    assert row["least"] < row["p5"] < row["p95"] < row["largest"]
    assert row["measured"] == 42.1 and rows[5]["measured"] is None
    assert rows[0]["least"] == pytest.approx(3.0) == rows[0]["largest"]


@pytest.mark.parametrize("kind", ["dft", "dct", "rt"])
def test_patterns_are_as_strong_as_another_program_found_them(kind):
    """It transformed, added, inverted, clipped and rounded; to the digits that it printed."""
    expected = visible.MEASURED[kind]["rms"]
    assert published()[kind].pattern(PAPER).rms() == pytest.approx(expected, abs=0.0051)


def test_the_papers_tables_are_told_beside_ours():
    rows = visible.survey(clips(1), {"dft": DFT(rms=2.0), "mine": BadNet()})
    document = {"rows": rows, "draws": visible.draws({"dft": DFT(rms=2.0)}, PAPER, 2)}
    texts = [WRITERS["md"](table) for table in visible.tables(document)]
    dft = rows[0]
    four = f"| dft | {dft['psnr_min']:.1f} | {dft['wrapped_psnr_min']:.1f} | 41.6 |"
    assert f"{four} {dft['ssim_min']:.3f} | 0.972 |" in texts[0]
    assert f"| {dft['psnr_mean']:.2f} | {dft['wrapped_psnr_mean']:.2f} | 42.87 |" in texts[1]
    assert f"| {dft['ssim_std']:.4f} | 0.0045 |" in texts[2]
    assert f"| {dft['flicker']:.2f} | {dft['relative_flicker']:.3f} |" in texts[3]
    assert "| dft | RMS, grey levels | 2.00 | 2.00 | 2.00 | 2.00 | 2.00 | 1.16 |" in texts[4]
    assert "| – |" in texts[0].splitlines()[-1]  # of a trigger that the paper has not
    assert set(paper.TABLE_4["psnr"]) <= set(published())
