"""``vidoor figures`` and ``vidoor bench`` as a user meets them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

RECIPE = """
[data]
kind = "shapes"
train = 8
test = 8
frames = 4
size = [48, 48]
[grid.arms.DFT]
trigger = { kind = "dft", rms = 6.0 }
[figure.one]
kind = "frames"
"""


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_figures_are_drawn_and_told(vidoor_command: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "figures.toml"
    recipe.write_text(RECIPE)
    done = vidoor_command("figures", recipe, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (figure,) = json.loads(done.stdout)["figures"]
    assert (tmp_path / "out" / figure["file"]).read_bytes().startswith(b"\x89PNG")
    done = vidoor_command(
        "figures", recipe, "--out", tmp_path / "out", "--set", "figure.one.gain=3"
    )
    assert done.stdout.split() == [str(tmp_path / "out" / "one.png")]
    wrong = ("--out", tmp_path / "new", "--set", "figure.one.frame=[1]")
    assert "did you mean 'frames'" in one_line(vidoor_command("figures", recipe, *wrong))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bench", "survivl"], "did you mean 'survival'"),
        (["bench", "embed", "--clips", "."], "takes no clips"),
        (["bench", "survival", "--clips", "absent"], "no such file or folder"),
        (["bench", "imperceptibility", "--clips", "."], "holds no video"),
        (["bench", "embed", "--save", "file"], "is a file"),
        (["figures", "absent.toml", "--out", "o"], "absent.toml"),
    ],
)
def test_what_cannot_be_done_gets_one_line(
    vidoor_command: Any, tmp_path: Path, arguments: list[str], line: str
) -> None:
    (tmp_path / "file").write_text("")
    assert line in one_line(vidoor_command(*arguments, cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_lists_what_can_be_measured(vidoor_command: Any) -> None:
    text = vidoor_command("bench", "--help").stdout
    for name in ("embed:", "survival:", "imperceptibility:"):
        assert name in text
