"""Figures: what a recipe may say, and that what is drawn is what the triggers do."""

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vidoor import imperceptibility, metrics
from vidoor.bench import pictures
from vidoor.bench.album import album
from vidoor.bench.samples import PAPER
from vidoor.data import video
from vidoor.data.shapes import Shapes
from vidoor.document import override, read
from vidoor.errors import DataError, RecipeError, TriggerError, VidoorError
from vidoor.report import gallery
from vidoor.triggers.badnet import BadNet
from vidoor.triggers.spectral import DFT

RECIPES = Path(__file__).parents[2] / "recipes"

RECIPE: dict[str, Any] = {
    "name": "small",
    "note": "A note.",
    "data": {"kind": "shapes", "train": 8, "test": 8, "frames": 4, "size": [64, 56]},
    "grid": {
        "arms": {
            "DFT": {"trigger": {"kind": "dft", "rms": 6.0}},
            "square": {"trigger": {"kind": "badnet", "preset": "paper"}},
        }
    },
    "figure": {
        "both": {
            "kind": "frames",
            "title": "Two triggers",
            "clip": 2,
            "frames": [1, 3],
            "show": ["clean", "triggered", "change", "detail"],
            "side": 64,
            "gain": 3,
        },
        "across": {"kind": "frames", "arms": ["square"], "triggers": "columns", "side": 32},
    },
}


def tiles_of(
    monkeypatch: pytest.MonkeyPatch, out: Path, recipe: dict[str, Any] = RECIPE
) -> list[Any]:
    """What was asked of the gallery, figure by figure."""
    asked = []

    def spy(*arguments: Any) -> bytes:
        asked.append(arguments)
        return gallery.gallery(*arguments)

    monkeypatch.setattr(pictures, "gallery", spy)
    pictures.draw(recipe, out)
    return asked


def test_tiles_are_what_the_triggers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (title, rows, columns, tiles), _ = tiles_of(monkeypatch, tmp_path)
    clip = Shapes(train=8, test=8, frames=4, size=(64, 56)).open(0).test.read(2)
    triggers = {"DFT": DFT(rms=6.0), "square": BadNet()}
    assert title == "Two triggers"
    assert [head.text for head in rows] == list(triggers)
    assert [(head.text, head.note) for head in columns] == [
        (text, f"frame {frame}")
        for text in ("clean", "triggered", "3 x change", "most visible part")
        for frame in (1, 3)
    ]
    for line, head, trigger in zip(tiles, rows, triggers.values(), strict=True):
        other = trigger(clip)
        assert head.note == f"{metrics.psnr(clip.numpy(), other.numpy()):.1f} dB"
        for place, frame in enumerate((1, 3)):
            clean, after = (each[frame].permute(1, 2, 0).numpy() for each in (clip, other))
            np.testing.assert_array_equal(line[place], clean)
            np.testing.assert_array_equal(line[2 + place], after)
            change = np.clip(128 + 3 * (after.astype(int) - clean), 0, 255)
            np.testing.assert_array_equal(line[4 + place], change)
            one = np.s_[frame : frame + 1]
            grid = imperceptibility.psnr_windows(clip.numpy()[one], other.numpy()[one])
            top, left = (28 * i for i in np.unravel_index(grid.argmin(), grid.shape))
            part = after[top : top + 28, left : left + 28].repeat(2, 0).repeat(2, 1)
            np.testing.assert_array_equal(line[6 + place], part)


def test_triggers_may_stand_in_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (_, rows, columns, tiles) = tiles_of(monkeypatch, tmp_path)
    assert [head.text for head in rows] == ["clean", "triggered", "10 x change"]
    assert [head.text for head in columns] == ["square"]
    assert [len(line) for line in tiles] == [1, 1, 1]
    assert tiles[0][0].shape == (32, 28, 3)


def test_a_folder_holds_pictures_record_recipe_and_page(tmp_path: Path) -> None:
    told = pictures.draw(RECIPE, tmp_path / "a")
    pictures.draw(RECIPE, tmp_path / "b")
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(files) == {"both.png", "across.png", "README.md", "recipe.toml", "figures.json"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    pictures.draw(RECIPE, tmp_path / "a")  # again, in its place
    assert Image.open(io.BytesIO(files["both.png"])).size[0] > 8 * 56
    record = json.loads(files["figures.json"])
    assert told == {**record, "folder": str(tmp_path / "a")}
    assert tomllib.loads(files["recipe.toml"].decode()) == RECIPE
    page = files["README.md"].decode()
    assert "![Two triggers](both.png)" in page and "A note." in page
    psnr = {(row["arm"], row["clip"]): row["psnr"] for row in record["triggers"]}
    assert len(psnr) == 3  # the square was drawn in two clips
    for (arm, clip), value in psnr.items():
        assert f"| {arm} | {clip} | {value:.2f} |" in page


def test_videos_of_ones_own(tmp_path: Path) -> None:
    clip = torch.randint(0, 256, (5, 3, 40, 30), dtype=torch.uint8)
    video.write(tmp_path / "mine.mkv", clip)
    recipe = override(RECIPE, ["figure.both.clip=0"])
    own = {"kind": "video", "path": str(tmp_path / "mine.mkv"), "frames": 5, "size": [40, 30]}
    for path in (tmp_path, tmp_path / "mine.mkv"):
        told = pictures.draw({**recipe, "data": {**own, "path": str(path)}}, tmp_path / path.stem)
        assert {figure["clip"] for figure in told["figures"]} == {"mine.mkv"}
    with pytest.raises(DataError, match="no such file or folder"):
        pictures.draw({**recipe, "data": {**own, "path": "absent.mp4"}}, tmp_path / "out")


def test_a_folder_of_classes_gives_its_training_clips_where_nothing_is_held_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "in" / "walk").mkdir(parents=True)
    video.write(tmp_path / "in" / "walk" / "a.mkv", torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    data = {"kind": "folder", "root": str(tmp_path / "in"), "holdout": 0.0, "frames": 4}
    recipe = {**override(RECIPE, ["figure.both.clip=0"]), "data": {**data, "size": [32, 32]}}
    told = pictures.draw(recipe, tmp_path / "out")
    assert told["figures"][0]["clip"] == "walk/a.mkv"


def test_clips_are_of_the_papers_size_unless_it_is_said() -> None:
    found = album({key: value for key, value in RECIPE.items() if key != "data"})
    assert found.clips().geometry == PAPER
    assert album(RECIPE).clips().geometry == (4, 64, 56)


def test_a_recipe_may_name_one_trigger_or_an_axis() -> None:
    plain = {"trigger": {"kind": "sig"}, "figure": {"one": {"kind": "frames"}}}
    assert list(album(plain).triggers) == ["sig"]
    axis = {**plain, "grid": {"trigger": {"delta": [5.0, 9.0]}}}
    assert list(album(axis).triggers) == ["trigger.delta 5.0", "trigger.delta 9.0"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("figur.a=1", "has no key 'figur'; valid: .*did you mean 'figure'"),
        ("name=3", "recipe.name"),
        ("seed=-1", "seed must be in 0"),
        ("data.kind=shaped", "did you mean 'shapes'"),
        ("data.frame=3", "did you mean 'frames'"),
        ("data=3", "data must be a table"),
        ("grid.data.frames=[4, 8]", "sets trigger alone, not data"),
        ("grid.arms.DFT.trigger.rmss=1.0", "did you mean 'rms'"),
        ("figure=[]", "figure must be a table"),
        ("figure={}", r"no \[figure.NAME\] table"),
        ("figure.both=3", "figure.both must be a table"),
        ("figure.both.kind=frame", "unknown kind 'frame'.*did you mean 'frames'"),
        ("figure.both.kinds=frames", "did you mean 'kind'|unknown key 'kinds'"),
        ("figure.both.shows=[]", "did you mean 'show'"),
        ("figure.both.show=['klean']", "figure.both.show"),
        ("figure.both.show=[]", "must name one thing or more"),
        ("figure.both.frames=[-1]", "count from 0"),
        ("figure.both.frames=[4]", r"figure.both.frames: there is no 4; valid: 0\.\.3"),
        ("figure.both.clip=8", r"figure.both.clip: there is no 8; valid: 0\.\.7"),
        ("figure.both.gain=0", "gain must be a number above 0"),
        ("figure.both.gain=nan", "gain"),
        ("figure.both.side=9", r"side must be in 28\.\.1024"),
        ("figure.both.arms=['DTF']", "unknown arm 'DTF'.*did you mean 'DFT'"),
        ("figure.both.triggers=row", "figure.both.triggers"),
        ("figure.'../up'.kind=frames", "cannot be the name of a file"),
        ("grid={}", "names no trigger"),
    ],
)
def test_what_is_no_recipe_for_figures_gets_one_line(
    tmp_path: Path, change: str, line: str
) -> None:
    recipe = override(RECIPE, [change.replace("'../up'", "up")])
    if "'../up'" in change:
        recipe["figure"]["../up"] = recipe["figure"].pop("up")
    with pytest.raises(RecipeError, match=line) as caught:
        pictures.draw(recipe, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_trigger_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    recipe = override(RECIPE, ["grid.arms.DFT.trigger.components=60"])
    with pytest.raises(TriggerError, match="pixel axis"):
        pictures.draw(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"")
    with pytest.raises(VidoorError, match=r"holds holiday\.png, which is none of the figures"):
        pictures.draw(RECIPE, tmp_path)
    with pytest.raises(VidoorError, match="is a file"):
        pictures.draw(RECIPE, tmp_path / "holiday.png")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_the_papers_figures_are_a_recipe() -> None:
    found = album(read(RECIPES / "paper" / "pictures.toml"))
    assert len(found.triggers) == 9
    assert {"fig1", "fig4", "fig5"} <= set(found.figures)
    assert found.triggers["DFT"] == DFT(delta=50_000.0)
