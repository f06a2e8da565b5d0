"""Results that are kept: what the folder holds, that it can be made again, and what is refused."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vidoor.errors import VidoorError
from vidoor.report import saved, tables

RECIPE: dict[str, Any] = {
    "name": "kept",
    "note": "made-up runs",
    "grid": {"seeds": 2},
    "runtime": {"out": "elsewhere"},
    "table": {"rows": ["name"], "values": ["asr"], "finding": "Nothing was measured."},
}


@pytest.fixture
def runs(tmp_path: Path, record: Any) -> list[Path]:
    """Two made-up runs that differ in their seed."""
    folders = []
    for seed in range(2):
        folder = tmp_path / "runs" / f"run{seed}"
        folder.mkdir(parents=True)
        changed = {**record, "seed": seed, "run_id": folder.name, "asr": 0.5 + seed / 4}
        (folder / "result.json").write_text(json.dumps(changed))
        folders.append(folder)
    return folders


def test_a_result_holds_recipe_records_table_and_sentence(tmp_path: Path, runs: list[Path]) -> None:
    folder = tmp_path / "results" / "kept"
    saved.save(folder, RECIPE, runs)
    assert {path.name for path in folder.iterdir()} == set(saved.NAMES)
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    assert recipe == {key: value for key, value in RECIPE.items() if key != "runtime"}
    for run in runs:
        kept = folder / "records" / f"{run.name}.json"
        assert json.loads(kept.read_text()) == json.loads((run / "result.json").read_text())
    flat = tables.flatten(map(tables.read, runs))
    assert (folder / "table.md").read_text() == tables.render(flat, "md", saved.query(RECIPE))
    assert tables.load(folder) == tables.load(tmp_path / "runs")
    text = (folder / "README.md").read_text()
    for part in ("# kept", "made-up runs", "Nothing was measured.", "62.5 ± 17.7", "2 runs"):
        assert part in text


def test_a_result_that_is_saved_again_loses_what_is_gone(tmp_path: Path, runs: list[Path]) -> None:
    folder = tmp_path / "kept"
    saved.save(folder, RECIPE, runs)
    saved.save(folder, RECIPE, runs[:1])
    assert [path.name for path in (folder / "records").iterdir()] == ["run0.json"]


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, runs: list[Path]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(VidoorError, match=r"holds thesis\.txt, which is no part of a result"):
        saved.save(tmp_path / "mine", RECIPE, runs)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(VidoorError, match="is a file"):
        saved.check(tmp_path / "mine" / "thesis.txt")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (3, "table must be a table"),
        ({"row": ["arm"]}, "did you mean 'rows'"),
        ({"rows": "arm"}, r"table\.rows: input should be a valid array, not 'arm'"),
        ({"finding": ["a"]}, r"table\.finding must be a sentence"),
        ({"paper": ["table7"]}, "unknown table of the paper 'table7'"),
    ],
)
def test_layouts_that_are_none_get_one_line(table: Any, line: str) -> None:
    with pytest.raises(VidoorError, match=line):
        saved.query({"table": table})
