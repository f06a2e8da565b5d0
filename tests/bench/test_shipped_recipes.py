"""Every recipe that comes along can be run as it is, as far as that can be told beforehand."""

import re
from pathlib import Path

import pytest
import trees

from vidoor import document
from vidoor.bench.album import album
from vidoor.bench.plan import plan
from vidoor.report import lines, saved

RECIPES = Path(__file__).parents[2] / "recipes"
FOREIGN = {"arid6"}
"""Those about clips that do not come with the project."""

every = [path for path in sorted(RECIPES.rglob("*.toml")) if path.stem not in FOREIGN]
pictures = [path for path in every if path.stem == "pictures"]
full = [path for path in every if path.stem.endswith("-full")]
recipes = [path for path in every if path not in (*pictures, *full)]


def cases(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


def check(recipe, path, out):
    assert recipe["name"] == path.stem
    cells = plan(recipe, out)
    assert len({cell.stage.folder for cell in cells}) == len(cells) > 0
    saved.query(recipe)
    lines.figures(recipe)
    assert not out.exists()


@pytest.mark.parametrize("path", cases(recipes))
def test_it_can_be_planned(path, tmp_path):
    check(document.read(path), path, tmp_path / "runs")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The published data sets in miniature: their layout and enough clips to poison 1 % of."""
    root = tmp_path_factory.mktemp("sets")
    trees.ucf101(root / "data" / "ucf101", groups=30)
    trees.hmdb51(root / "data" / "hmdb51")
    trees.gsl(root / "data" / "gsl", signers=6)
    return root


@pytest.mark.parametrize("path", cases(full))
def test_at_the_paper_s_size_it_can_be_planned(path, sets, tmp_path, monkeypatch):
    monkeypatch.chdir(sets)
    recipe = document.read(path)
    for data in recipe["grid"].get("data", []):
        if data["kind"] == "gsl":
            assert data["classes"] == 50
            data["classes"] = 0  # the miniature has six
    check(recipe, path, tmp_path / "runs")


@pytest.mark.parametrize("path", cases(pictures))
def test_its_pictures_can_be_drawn(path):
    assert document.read(path)["name"] == path.stem
    assert album(document.read(path)).figures


def test_no_two_recipes_have_one_name():
    assert len({path.stem for path in every}) == len(every)


def test_the_index_of_the_paper_names_every_recipe_and_its_result():
    folder = RECIPES / "paper"
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")][2:]
    named = {name for row in rows for name in re.findall(r"`(\S+?)`", row[1] + row[3])}
    shipped = {path.stem for path in folder.glob("*.toml")} - {path.stem for path in pictures}
    assert named == shipped | {"detectors", "mitigations"}
    for row in rows:
        [(name, link)] = re.findall(r"\[(\S+)\]\((\S+)\)", row[4])
        assert (folder / link).exists()
        assert name in row[1]
