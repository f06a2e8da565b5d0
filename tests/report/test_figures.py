import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidoor.report import figures


def decoded(uri: str) -> np.ndarray[Any, Any]:
    head, body = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def drawn(div: str) -> list[dict[str, Any]]:
    """The traces of a plotly div, decoded as a browser would."""
    start = re.search(r"Plotly\.newPlot\(\s*\"[\w-]+\",\s*", div)
    assert start is not None
    traces, _ = json.JSONDecoder().raw_decode(div, start.end())
    return list(traces)


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.integers(1, 500))
def test_the_chosen_frames_are_spread_from_first_to_last(frames: int) -> None:
    picked = figures.chosen(frames)
    assert len(picked) == min(8, frames)
    assert picked[0] == 0 and (picked[-1] == frames - 1 or frames == 1)
    gaps = np.diff(picked)
    assert (gaps > 0).all() and (gaps.size == 0 or gaps.max() - gaps.min() <= 1)


def test_a_difference_is_amplified_around_mid_grey() -> None:
    clean = np.array([[[[0, 255, 100]]]], np.uint8)
    triggered = np.array([[[[255, 0, 102]]]], np.uint8)
    assert figures.residual(clean, triggered).ravel().tolist() == [255, 0, 148]
    assert (figures.residual(clean, clean) == 128).all()


def test_a_pattern_is_scaled_to_its_bulk_and_not_to_its_peak() -> None:
    pattern = np.tile([1.0, -1.0, 0.0], 1000).reshape(3, 20, 50)
    pattern[0, 0, 0], pattern[0, 0, 1] = 1000.0, np.nan
    levels = figures.grey(pattern)
    assert levels[0, 0, 0] == 255 and levels[0, 0, 1] == 128
    assert set(levels.ravel().tolist()) == {1, 128, 255}
    assert (figures.grey(np.zeros((2, 3, 3))) == 128).all()


@pytest.mark.parametrize(("height", "width", "factor"), [(48, 48, 3), (56, 80, 2), (224, 224, 1)])
def test_a_strip_holds_the_chosen_frames_pixel_for_pixel(
    height: int, width: int, factor: int
) -> None:
    clip = np.random.default_rng(1).integers(0, 256, (16, height, width, 3), np.uint8)
    strip = decoded(figures.filmstrip(clip))
    frames = strip[::factor, strip[0, :, 3] > 0, :3].reshape(height, 8, width, factor, 3)
    assert strip.shape[0] == factor * height
    for place, frame in enumerate(figures.chosen(16)):
        for repeat in range(factor):
            np.testing.assert_array_equal(frames[:, place, :, repeat], clip[frame])


def test_the_curves_are_accuracy_and_attack_success_in_percent() -> None:
    history = {
        "clean": [{"epoch": 1, "acc": 0.5}, {"epoch": 2, "acc": 0.75}],
        "poisoned": [{"epoch": 1, "acc": 0.25, "asr": None}, {"epoch": 2, "acc": 0.5, "asr": 1.0}],
    }
    lines = {line["name"]: (line["x"], line["y"]) for line in drawn(figures.curves(history))}
    assert lines == {
        "ACC, clean model": ([1, 2], [50.0, 75.0]),
        "ACC, poisoned model": ([1, 2], [25.0, 50.0]),
        "ASR, poisoned model": ([2], [100.0]),
    }
    assert figures.curves({}) == "" and figures.curves({"clean": []}) == ""


def test_every_finite_score_is_in_its_groups_histogram() -> None:
    values = np.concatenate([np.linspace(0, 1, 95), [np.nan], np.linspace(4, 5, 4)])
    truth = np.arange(100) >= 96
    ids = [f"clip {i}" for i in range(100)]
    div = figures.scores("s", ids, values, truth, 3.0)
    clean, planted = drawn(div)
    assert (clean["name"], planted["name"]) == ("clean (96)", "planted (4)")
    assert (sum(clean["customdata"]), sum(planted["customdata"])) == (95, 4)
    assert sum(planted["y"]) == pytest.approx(100)
    above = [x for x, n in zip(planted["x"], planted["customdata"], strict=True) if n]
    assert min(above) > 3.9
    assert "threshold 3" in div
    assert "threshold" not in figures.scores("s", ids, values, truth, float("inf"))
    assert [bars["name"] for bars in drawn(figures.scores("s", ids, values))] == ["judged (100)"]
    assert figures.scores("s", ["a"], np.array([np.nan])) == ""


def test_a_few_names_are_drawn_one_by_one_and_stay_text() -> None:
    ids = ["<b>up</b>", '</script><a href="http://x">', "up"]
    div = figures.scores("s", ids, np.array([1.0, np.nan, 3.0]), np.array([True, False, False]), 2)
    clean, planted = drawn(div)
    assert (planted["x"], planted["y"]) == ([0], [1.0])
    assert (clean["x"], clean["y"]) == ([1, 2], [None, 3.0])
    assert planted["customdata"] == ["&lt;b&gt;up&lt;/b&gt;"]
    assert "<" not in json.dumps([clean, planted])
    assert div.count("</script>") == div.count("<script")
    layout = div.replace("\\u003c", "<").replace("\\u0026", "&")
    assert "&lt;a href" in layout and "<a href" not in layout
