"""Line charts of a sweep: what is asked for, where it is drawn, and what is refused."""

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import numpy as np
import pytest
from PIL import Image

from vidoor.errors import RecipeError, VidoorError
from vidoor.report import lines, saved
from vidoor.report.plot import COLOURS, LEFT, PLOT, TOP, WIDTH, Line, Plot, png, svg

SVG = "{http://www.w3.org/2000/svg}"
FIGURE = {"kind": "lines", "x": "poisoning.rate", "y": "asr", "lines": ["victim.kind"]}


def runs() -> list[dict[str, Any]]:
    """Two victims, three rates, two seeds: made-up numbers."""
    return [
        {
            "name": "made-up", "seed": seed, "recipe.poisoning.rate": rate,
            "recipe.victim.kind": victim, "asr": base + rate + seed / 10,
        }
        for victim, base in (("slowfast", 0.2), ("r2plus1d", 0.3))
        for rate in (0.4, 0.1, 0.2)
        for seed in (0, 1)
    ]  # fmt: skip


def figure(**changes: Any) -> lines.Figure:
    return lines.figures({"figure": {"one": FIGURE | changes}})["one"]


def test_a_line_is_the_means_of_its_runs_by_rising_x() -> None:
    plot = lines.plot(runs(), figure(title="A title"))
    assert [line.name for line in plot.lines] == ["slowfast", "r2plus1d"]
    for line, base in zip(plot.lines, (20, 30), strict=True):
        xs, means, deviations = zip(*line.points, strict=True)
        assert xs == (0.1, 0.2, 0.4)
        assert means == pytest.approx([base + 15, base + 25, base + 45])
        assert deviations == pytest.approx([np.std([0, 10], ddof=1)] * 3)
    assert (plot.title, plot.x, plot.y, plot.span) == (
        "A title", "poisoning.rate", "ASR (%)", (0, 100)
    )  # fmt: skip
    assert plot.note == "Mean and sd over 2 seeds."


def test_what_the_paper_prints_is_beside_its_victims() -> None:
    plot = lines.plot(runs(), figure(paper="fig3a", log=True))
    points = {line.name: list(line.published) for line in plot.lines}
    assert np.allclose(points["slowfast"], [(0.2, 97.9)])
    assert np.allclose(points["r2plus1d"], [(0.01, 80), (0.2, 99.4)])
    assert "section 4.6.1" in plot.note


def test_epochs_are_an_axis() -> None:
    curve = {f"epochs.{e}.epoch": e for e in (1, 2, 10)}
    curve |= {f"epochs.{e}.asr": e / 10 for e in (1, 2, 10)}
    flat = [run | curve for run in runs() if run["recipe.poisoning.rate"] == 0.1]
    plot = lines.plot(flat, figure(x="epoch", each=["epochs"]))
    assert [(x, y) for x, y, _ in plot.lines[0].points] == [(1, 10), (2, 20), (10, 100)]


PLOT_OF_TWO = Plot(
    "Title <&>", "x", "y",
    [
        Line("a", [(1, 0, None), (10, 50, 10), (100, 100, None)], [(10, 20)]),
        Line("b", [(1, 100, None)]),
    ],
    (0, 100), log=True, note="A note.",
)  # fmt: skip


def polygons(plot: Plot) -> list[tuple[float, float, str]]:
    """Middle and fill of every mark, read back from the SVG."""
    found = []
    for element in Tree.fromstring(svg(plot)).iter(f"{SVG}polygon"):
        corners = [tuple(map(float, pair.split(","))) for pair in element.get("points", "").split()]
        x, y = np.mean([np.min(corners, 0), np.max(corners, 0)], 0)
        found.append((float(x), float(y), element.get("fill", "")))
    return found


def test_marks_are_where_the_numbers_are() -> None:
    marks = [mark for mark in polygons(PLOT_OF_TWO) if mark[0] < LEFT + WIDTH]
    left, middle, right = LEFT + 12, LEFT + WIDTH / 2, LEFT + WIDTH - 12
    expected = [
        (left, TOP + PLOT, COLOURS[0]), (middle, TOP + PLOT / 2, COLOURS[0]),
        (right, TOP, COLOURS[0]), (middle, TOP + PLOT * 0.8, "#ffffff"), (left, TOP, COLOURS[1]),
    ]  # fmt: skip
    assert [mark[2] for mark in marks] == [each[2] for each in expected]
    assert np.allclose([m[:2] for m in marks], [e[:2] for e in expected], atol=0.1)


def test_the_png_shows_what_the_svg_says() -> None:
    picture = np.asarray(Image.open(io.BytesIO(png(PLOT_OF_TWO))).convert("RGB"))
    size = Tree.fromstring(svg(PLOT_OF_TWO)).attrib
    assert picture.shape[:2] == (int(size["height"]), int(size["width"]))
    for x, y, fill in polygons(PLOT_OF_TWO):
        if y not in (TOP, TOP + PLOT):  # half of these marks lies on the frame
            colour = [int(fill[i : i + 2], 16) for i in (1, 3, 5)]
            assert np.abs(picture[round(y), round(x)].astype(int) - colour).max() < 40
    assert png(PLOT_OF_TWO) == png(PLOT_OF_TWO)


def test_text_of_recipes_is_inert() -> None:
    told = [element.text for element in Tree.fromstring(svg(PLOT_OF_TWO)).iter(f"{SVG}text")]
    assert "Title <&>" in told
    odd = Plot("a\x00b\ud800c", "x", "y", PLOT_OF_TWO.lines, (0, 100))
    assert Tree.fromstring(svg(odd)).find(f"{SVG}text").text == "a?b?c"


def test_they_are_saved_beside_the_table(tmp_path: Path, record: Any) -> None:
    folders = []
    for seed, rate in ((0, 0.1), (0, 0.2)):
        folder = tmp_path / "runs" / f"run{rate}"
        folder.mkdir(parents=True)
        recipe = {"poisoning": {"rate": rate}}
        changed = {**record, "seed": seed, "run_id": folder.name, "recipe": recipe}
        (folder / "result.json").write_text(json.dumps(changed))
        folders.append(folder)
    recipe = {
        "name": "kept", "table": {"rows": ["poisoning.rate"], "values": ["asr"]},
        "figure": {"one": {**FIGURE, "title": "One"}},
    }  # fmt: skip
    for _ in range(2):  # and again
        saved.save(tmp_path / "kept", recipe, folders)
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names == {*saved.NAMES, "one.svg", "one.png"}
    assert "![One](one.png)" in (tmp_path / "kept" / "README.md").read_text()
    with pytest.raises(VidoorError, match=r"holds one\.\w+, which is no part"):
        saved.check(tmp_path / "kept")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"kind": "frames"}, "of a sweep has the kind 'lines', not 'frames'"),
        ({"xx": "a"}, "unknown key 'xx'"),
        ({"x": ""}, "needs x and y"),
        ({"x": 3}, "figure.one.x: input should be a valid string, not 3"),
        ({"log": 1}, "figure.one.log: input should be a valid boolean, not 1"),
        ({"lines": "arm"}, "figure.one.lines: input should be a valid array, not 'arm'"),
        ({"paper": "fig3"}, "unknown paper 'fig3'"),
    ],
)
def test_figures_that_are_none_get_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError, match=line):
        figure(**changes)
    for document in ({"figure": 3}, {"figure": {"one": 3}}, {"figure": {"../one": FIGURE}}):
        with pytest.raises(RecipeError):
            lines.figures(document)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"x": "victim.kind", "lines": []}, "'slowfast' cannot be an x, which is a number"),
        ({"x": "rate"}, "unknown field 'rate'"),
        ({"x": "seed", "log": True}, "0 cannot be an x, which is a number > 0"),
    ],
)
def test_what_cannot_be_drawn_gets_one_line(changes: dict[str, Any], line: str) -> None:
    flat = [run for run in runs() if run["recipe.poisoning.rate"] == 0.1]
    with pytest.raises(VidoorError, match=line):
        lines.plot(flat, figure(**changes))
