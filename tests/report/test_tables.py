import csv
import io
import json
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor import SCHEMA
from vidoor.errors import VidoorError
from vidoor.report import tables
from vidoor.report.pivot import Query, summarise
from vidoor.report.runs import Run

ASR = Query(values=["asr"])


def write_run(folder: Path, seed: int, asr: float, trigger: str = "dft", **more: Any) -> Path:
    """A made-up finished run; the numbers are invented."""
    folder.mkdir(parents=True)
    record = {
        "schema": SCHEMA, "run_id": folder.name, "name": "grid", "seed": seed,
        "acc": 0.975, "asr": asr, "asr_variant": "strict", "psnr": 43.0 + seed,
        "flagged": {"detector": "d", "tpr": 1.0},
        "curves": {"clean": [{"epoch": 1, "acc": 0.5}]},
        "recipe": {
            "name": "grid", "seed": seed, "trigger": {"kind": trigger, "rms": 1.16},
            "poisoning": {"rate": 0.2, "sources": [1, 2]},
        },
        "environment": {"torch": f"2.{seed}", "threads": 1 + seed, "kind": f"machine {seed}"},
        "cost": {"train clean": {"forward": 9, "seconds": 1.5 + seed, "memory": 2**20 * seed}},
        "seconds": {"total": 3.0 + seed}, **more,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, asr in enumerate((0.96, 0.98, 1.0)):
        write_run(tmp_path / "runs" / f"dft-{seed}", seed, asr)
    write_run(tmp_path / "runs" / "dwt-0", 0, 0.5, "dwt")
    (tmp_path / "runs" / "unfinished").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("not a run")
    return tmp_path / "runs"


def rows_of(runs: Path) -> list[Run]:
    return tables.flatten(tables.load(runs))


def test_finished_runs_are_loaded_in_order_and_others_skipped(runs: Path) -> None:
    assert [(r["recipe"]["trigger"]["kind"], r["seed"]) for r in tables.load(runs)] == [
        ("dft", 0), ("dft", 1), ("dft", 2), ("dwt", 0),
    ]  # fmt: skip
    assert [record["seed"] for record in tables.load(runs / "dft-2")] == [2]


def test_a_row_is_flat_and_keeps_the_lists_of_the_recipe_only(runs: Path) -> None:
    row = rows_of(runs)[0]
    assert row["flagged.tpr"] == 1.0 and row["recipe.trigger.kind"] == "dft"
    assert row["recipe.poisoning.sources"] == "[1, 2]"
    assert not any(field.startswith("curves") for field in row)
    assert not any(isinstance(value, dict | list) for value in row.values())


def test_markdown_shows_mean_sd_and_n_over_seeds(runs: Path) -> None:
    assert tables.render(rows_of(runs)) == (
        "| name | trigger.kind | ACC (%) | ASR (%) | TPR (%) | PSNR (dB) | n |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| grid | dft | 97.5 ± 0.0 | 98.0 ± 2.0 | 100.0 ± 0.0 | 44.00 ± 1.00 | 3 |\n"
        "| grid | dwt | 97.5 | 50.0 | 100.0 | 43.00 | 1 |\n"
    )


def test_latex_is_a_booktabs_table(runs: Path) -> None:
    query = Query(rows=["trigger.kind"], values=["flagged.detector", "asr"])
    text = tables.render(rows_of(runs), "latex", query)
    assert text == (
        "\\begin{tabular}{llrr}\n\\toprule\n"
        "trigger.kind & flagged.detector & ASR (\\%) & n \\\\\n\\midrule\n"
        "dft & d & 98.0 $\\pm$ 2.0 & 3 \\\\\n"
        "dwt & d & 50.0 & 1 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_csv_and_json_are_unrounded(runs: Path) -> None:
    query = Query(rows=["trigger.kind"], values=["asr"])
    text = tables.render(rows_of(runs), "csv", query)
    dft, dwt = csv.DictReader(io.StringIO(text))
    values = [0.96, 0.98, 1.0]
    assert float(dft["asr"]) == pytest.approx(mean(values))
    assert float(dft["asr_sd"]) == pytest.approx(stdev(values))
    assert (dft["n"], dwt["asr"], dwt["asr_sd"], dwt["n"]) == ("3", "0.5", "", "1")
    assert json.loads(tables.render(rows_of(runs), "json", query))[1] == {
        "trigger.kind": "dwt", "asr": 0.5, "asr_sd": None, "n": 1,
    }  # fmt: skip


def test_different_settings_are_never_averaged(runs: Path) -> None:
    rows = rows_of(runs)
    assert [row["n"] for row in summarise(rows, ASR)] == [3, 1]
    for row, change in zip(rows, ({}, {"asr_variant": "paper"}, {"name": "other"}), strict=False):
        row.update(change)
    assert [row["n"] for row in summarise(rows, ASR)] == [1, 1, 1, 1]
    rows = rows_of(runs)
    rows[0]["arm"] = "weak"
    assert [row["n"] for row in summarise(rows, ASR)] == [1, 2, 1]
    rows = rows_of(runs)
    rows[1]["recipe.poisoning.sources"] = "[1, 3]"
    assert [row["n"] for row in summarise(rows, ASR)] == [2, 1, 1]


def test_a_copy_of_a_run_counts_once(runs: Path) -> None:
    write_run(runs / "a-copy", 2, 1.0, run_id="dft-2")
    assert [row["n"] for row in summarise(rows_of(runs))] == [3, 1]
    for path in runs.glob("*/result.json"):  # records that do not know their id
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "run_id": None}))
    assert [row["n"] for row in summarise(rows_of(runs))] == [3, 1]


def test_two_runs_that_differ_in_nothing_are_never_one(runs: Path) -> None:
    write_run(runs / "other", 2, 0.1)
    with pytest.raises(VidoorError, match=r"^runs 'dft-2' and 'other' have the same .* seed 2"):
        tables.render(rows_of(runs))
    rows = rows_of(runs)
    rows[2]["run_id"] = rows[4]["run_id"] = None
    with pytest.raises(VidoorError, match="same settings and the same seed 2"):
        tables.render(rows)


@pytest.mark.parametrize("field", ["trigger.seed", "detector.coherence.seed", "training.seeds"])
def test_a_methods_own_seed_is_a_setting(runs: Path, field: str) -> None:
    rows = rows_of(runs)[:3]
    for row, own in zip(rows, (4, 4, 5), strict=True):
        row.update({"seed": 0 if own == 5 else row["seed"], f"recipe.{field}": own})
    text = tables.render(rows)
    assert text.startswith(f"| name | {field} | ACC (%)")
    assert (
        "| grid | 4 | 97.5 ± 0.0 | 97.0 ± 1.4 |" in text and "| grid | 5 | 97.5 | 100.0 |" in text
    )


def test_the_place_of_a_run_and_of_its_clips_is_no_setting(runs: Path) -> None:
    rows = rows_of(runs)[:3]
    for place, row in enumerate(rows):
        row |= {"recipe.runtime.out": f"out{place}", "recipe.runtime.device": f"d{place}"}
        row |= {"recipe.runtime.deep.threads": place, "recipe.data.root": f"clips{place}"}
    assert [row["n"] for row in summarise(rows)] == [3]
    assert tables.render(rows).startswith("| name | ACC (%)")
    rows[2]["data.content"] = "other clips"
    assert [row["n"] for row in summarise(rows)] == [2, 1]


def test_numbers_that_have_no_mean_are_not_averaged(runs: Path) -> None:
    rows = rows_of(runs)[:3]
    for row, loss in zip(rows, (float("inf"), float("-inf"), 10**400), strict=True):
        row["loss"] = loss
    shown = {"name": "grid", "loss": "varies", "n": 3}
    assert summarise(rows, Query(values=["loss"])) == [shown]


def test_a_value_that_some_seeds_lack_says_so(runs: Path) -> None:
    rows = rows_of(runs)
    rows[0]["asr"] = None
    query = Query(rows=["trigger.kind"], values=["asr", "poisoning.rate"])
    text = tables.render(rows, "md", query)
    assert "| dft | 99.0 ± 1.4 (n = 2) | 0.2 | 3 |" in text
    rows[3]["asr"] = None
    assert "| dwt | – | 0.2 | 1 |" in tables.render(rows, "md", query)


def test_what_the_user_got_wrong_is_one_line(runs: Path, tmp_path: Path) -> None:
    rows = rows_of(runs)
    for part in ("rows", "columns", "values"):
        with pytest.raises(VidoorError, match=r"unknown field 'asrr'; .* did you mean 'asr'"):
            tables.render(rows, "md", Query(**{part: ["asrr"]}))
    with pytest.raises(VidoorError, match="unknown table format 'tex'; valid: md"):
        tables.render(rows, "tex")
    with pytest.raises(VidoorError, match="no finished run"):
        tables.render([])
    with pytest.raises(VidoorError, match="is no folder"):
        tables.load(tmp_path / "absent")
    (runs / "dwt-0" / "result.json").write_text('{"schema": 0}')
    with pytest.raises(VidoorError, match=r"dwt-0/result\.json has schema 0"):
        tables.load(runs)
    assert tables.load(runs / "unfinished") == []


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"arm": 1}, "arm: input should be an instance of str, not 1"),
        ({"recipe": []}, r"recipe: .* not \[\]"),
        ({"environment": "linux"}, "environment: .* not 'linux'"),
        ({"mitigations": {"nad": {"asr": 1.5}}}, r"mitigations\.nad\.asr: .* not 1\.5"),
        ({"cost": {"train clean": {"memory": 1.5}}}, r"cost\.train clean\.memory: .* not 1\.5"),
        ({"cost": {"data": {"forward": -1}}}, r"cost\.data\.forward: .* not -1"),
        ({"seconds": {"detect": -1.0}}, r"seconds\.detect: .* not -1\.0"),
    ],
)
def test_a_damaged_part_is_named(tmp_path: Path, part: dict[str, Any], said: str) -> None:
    with pytest.raises(VidoorError, match=rf"result\.json is damaged, {said}; run"):
        tables.read(write_run(tmp_path / "run", 0, 0.5, **part))


def test_a_record_may_lack_its_recipe(tmp_path: Path) -> None:
    for seed, part in enumerate(({"recipe": None, "cost": None, "mitigations": None}, {})):
        write_run(tmp_path / str(seed), seed, 0.5, **part)
    assert [line["n"] for line in summarise(rows_of(tmp_path))] == [1, 1]


hostile = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(hostile)
def test_any_name_stays_in_its_cell(name: str) -> None:
    rows: list[Run] = [{"name": name, "seed": s, "asr": s / 2} for s in (0, 1)]
    parsed = list(csv.DictReader(io.StringIO(tables.render(rows, "csv"), newline="")))
    shown = [(row["name"], row["asr"], row["n"]) for row in parsed]
    assert shown == [(name.replace("\r\n", "\n"), "0.25", "2")]
    assert json.loads(tables.render(rows, "json"))[0]["name"] == name
    markdown = tables.render(rows).split("\n")
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in markdown] == [4, 4, 4, 0]
    assert "<" not in markdown[2]
    latex = tables.render(rows, "latex").split("\n")
    assert len(latex) == 8
    assert len(re.findall(r"(?<!\\)&", latex[4])) == 2
    assert not re.search(r"(?<!\\)[%#_~^]", latex[4])
