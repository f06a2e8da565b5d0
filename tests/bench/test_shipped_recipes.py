"""Every recipe that comes along can be run as it is, as far as that can be told beforehand."""

from pathlib import Path

import pytest

from vidoor import document
from vidoor.bench.plan import plan
from vidoor.report import saved

RECIPES = Path(__file__).parents[2] / "recipes"
FOREIGN = {"arid6"}
"""Those about clips that do not come with the project."""

recipes = [path for path in sorted(RECIPES.glob("*.toml")) if path.stem not in FOREIGN]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in recipes])
def test_it_can_be_planned(path, tmp_path):
    recipe = document.read(path)
    assert recipe["name"] == path.stem
    cells = plan(recipe, tmp_path)
    assert len({cell.stage.folder for cell in cells}) == len(cells) > 0
    saved.query(recipe)
    assert not list(tmp_path.iterdir())
