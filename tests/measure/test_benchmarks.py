"""What can be measured: names, lazy loading, what is printed and kept."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vidoor.errors import RecipeError, VidoorError
from vidoor.measure import benchmarks
from vidoor.measure.benchmarks import BENCHMARKS, Benchmark
from vidoor.report.layout import Column, Table

ROWS: list[dict[str, Any]] = [
    {"trigger": "a", "clips": 3, "gain": 0.5},
    {"trigger": "b", "clips": 3, "gain": 1.0, "more": 7},
]


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A benchmark ``weigh`` in a module of its own, as a new one would be added."""
    module = ModuleType("vidoor.measure.weighing")
    vars(module)["weigh"] = lambda clips=None: {"rows": ROWS, "own": clips is not None}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    about = "what each trigger weighs (takes --clips)"
    monkeypatch.setitem(BENCHMARKS, "weigh", Benchmark("weighing", "weigh", about))
    return module


def test_unknown_ones_and_clips_that_nobody_asked_for_get_one_line() -> None:
    with pytest.raises(RecipeError, match="unknown benchmark 'survivol'; valid: embed"):
        benchmarks.measure("survivol")
    with pytest.raises(RecipeError, match="embed takes no clips; leave out --clips"):
        benchmarks.measure("embed", Path("clips"))


def test_the_help_names_each_with_what_it_measures() -> None:
    lines = benchmarks.listing().splitlines()
    assert [line.partition(":")[0] for line in lines] == list(BENCHMARKS)
    assert {"embed", "survival", "imperceptibility"} <= set(BENCHMARKS)


def test_naming_them_loads_nothing_heavy() -> None:
    code = "import sys, vidoor.measure.benchmarks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_new_one_is_one_line(weighed: ModuleType) -> None:
    measured = benchmarks.measure("weigh", Path("mine"))
    assert measured.document == {"rows": ROWS, "own": True}
    assert benchmarks.text(measured).startswith("| quantity | value |")
    table = Table([Column("a", "A")], [["x"]], 1, 1)
    vars(weighed)["tables"] = lambda document: [table, table]
    text = benchmarks.text(benchmarks.measure("weigh"))
    assert text == "| A |\n| --- |\n| x |\n\n| A |\n| --- |\n| x |\n"


def test_numbers_without_a_table_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vidoor.measure.timing")
    vars(module)["time"] = lambda: {"ratio": 2.5, "warm": {"ratio": 1.5}}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(BENCHMARKS, "time", Benchmark("timing", "time", "time"))
    text = benchmarks.text(benchmarks.measure("time"))
    assert text.endswith("| ratio | 2.5 |\n| warm.ratio | 1.5 |\n")


def test_what_is_kept(weighed: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "weigh"
    for _ in range(2):
        measured = benchmarks.measure("weigh", tmp_path, folder)
    kept = {"README.md", "table.md", "table.csv", "records"}
    assert {path.name for path in folder.iterdir()} == kept
    record = json.loads((folder / "records" / "weigh.json").read_text())
    assert record["rows"] == ROWS and record["benchmark"] == "weigh"
    assert record["environment"]["vidoor"]
    lines = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert lines[0] == {"trigger": "a", "clips": "3", "gain": "0.5", "more": ""}
    assert lines[1]["more"] == "7"
    assert (folder / "table.md").read_text() == benchmarks.text(measured)
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# weigh\n\nWhat each trigger weighs.\n")
    assert "    vidoor bench weigh --clips CLIPS --save RESULT\n" in readme
    assert str(tmp_path) not in readme
    assert benchmarks.text(measured) in readme and "3 clips, on " in readme


def test_a_folder_of_other_things_is_refused_before_anything_is_measured(
    weighed: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    vars(weighed)["weigh"] = pytest.fail
    with pytest.raises(VidoorError, match=r"holds thesis\.txt"):
        benchmarks.measure("weigh", None, tmp_path)
