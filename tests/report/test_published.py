"""What the paper prints beside what was measured: the right figures beside the right runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidoor import document
from vidoor.errors import VidoorError
from vidoor.report import published, tables
from vidoor.report.tables import Query


def runs(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Made-up runs of SlowFast on shapes with DFT, flat, each with its changes."""
    usual = {
        "name": "made-up", "seed": 0, "recipe.victim.kind": "slowfast", "data.kind": "shapes",
        "recipe.data.kind": "shapes", "recipe.trigger.kind": "dft", "acc": 0.5, "asr": 0.25,
        "asr_paper": 0.75,
    }  # fmt: skip
    return [{**usual, **change} for change in changes]


def test_every_table_is_whole() -> None:
    sizes = {name: len(table.entries) for name, table in published.TABLES.items()}
    assert sizes == {"table1": 4 * 3, "table2": 6 * 6, "table3": 6 * 5, "table5": 4 * 7 + 3}
    for table in published.TABLES.values():
        assert all(len(key) == len(table.fields) for key in table.entries)


def test_the_tables_agree_where_they_print_the_same_thing_twice() -> None:
    first, fifth = published.TABLES["table1"].entries, published.TABLES["table5"].entries
    differ = {key for key in first if first[key] != fifth[key]}
    assert differ == {("s3d", "hmdb51", "dft")}  # 90.4 and 90.5
    none = published.TABLES["table3"].entries["none", "dft"]
    assert none == {k: v for k, v in first["slowfast", "ucf101", "dft"].items() if k in none}


def test_the_text_s_sentences_hold_for_the_tables() -> None:
    """What the paper says of its own figures, where it is so."""
    fifth = published.TABLES["table5"].entries
    drop = {
        key: entry["clean_acc"] - entry["acc"] for key, entry in fifth.items() if len(entry) > 2
    }
    for transform in ("dct", "dwt"):  # F.1: "a drop of around 10 %"
        assert drop["r2plus1d", "hmdb51", transform] == pytest.approx(0.1, abs=0.015)
        assert drop["i3d", "hmdb51", transform] < 0.02
    assert drop["i3d", "hmdb51", "dft"] == pytest.approx(0.07, abs=0.01)
    second = published.TABLES["table2"].entries
    evaded = [second[name, "dft"]["highest_true"] < 2 for name in ("NC-D", "PT-RED", "TABOR")]
    assert all(evaded)
    salient = [second["STRIP", attack]["tpr_at_15"] > 0.9 for attack in published.ATTACKS]
    assert salient == [False, True, True, True, False, False]


def test_what_the_paper_prints_stands_behind_what_was_measured() -> None:
    query = Query(
        rows=("victim.kind",),
        values=("acc", "asr", "asr_paper"),
        paper=("table5", "data.kind=ucf101"),
    )
    flat = runs({}, {"seed": 1}, {"recipe.victim.kind": "custom"})
    text = tables.render(flat, "md", query)
    head, _, slowfast, custom, *_ = text.splitlines()
    assert head == (
        "| victim.kind | ACC (%) | the paper's ACC (%) | ASR (%) | ASR, paper (%) | "
        "the paper's ASR (%) | n |"
    )
    assert slowfast == "| slowfast | 50.0 ± 0.0 | 81 | 25.0 ± 0.0 | 75.0 ± 0.0 | 97.9 | 2 |"
    assert custom == "| custom | 50.0 | – | 25.0 | 75.0 | – | 1 |"
    assert "The paper: Table 5 (RT, TimeSformer: appendix F), data.kind = ucf101." in text
    for line in json.loads(tables.render(flat, "json", query)):
        expected = 0.979 if line["victim.kind"] == "slowfast" else None
        assert line["published.asr"] == expected
    assert "the paper's ACC (\\%)" in tables.render(flat, "latex", query)


def test_it_is_spread_with_the_columns() -> None:
    flat = runs({}, {"recipe.trigger.kind": "dct"})
    query = Query(
        rows=("victim.kind",), columns=("trigger.kind",), values=("asr",),
        paper=("table5", "data.kind=hmdb51"),
    )  # fmt: skip
    head, _, line = tables.render(flat, "md", query).splitlines()[2:5]
    assert head.startswith("| victim.kind | dft · ASR (%) | dft · the paper's ASR (%) | dct · ASR")
    assert line == "| slowfast | 25.0 | 97.6 | 25.0 | 97.1 |"


def test_detectors_and_mitigations_go_by_the_paper_s_names() -> None:
    flat = runs(
        {"detectors.NC-D.highest_true": 3.0, "detectors.NC-D.tpr_at_15": 0.5,
         "detectors.STRIP.tpr_at_15": 0.5, "detectors.AC, ICA.tpr": 0.5, "detectors.mine.tpr": 1.0,
         "mitigations.FP, paper.asr": 0.5, "mitigations.FP, random.asr": 0.5}
    )  # fmt: skip
    query = Query(
        rows=("detector",), values=("highest_true", "tpr_at_15", "tpr"), each=("detectors",),
        paper=("table2",),
    )  # fmt: skip
    found = {line["detector"]: line for line in json.loads(tables.render(flat, "json", query))}
    assert found["NC-D"]["published.highest_true"] == 0.1
    assert found["STRIP"]["published.tpr_at_15"] == 0.257
    assert found["AC, ICA"]["published.tpr"] == 0.0
    assert found["mine"]["published.tpr"] is None
    query = Query(rows=("mitigation",), values=("asr",), each=("mitigations",), paper=("table3",))
    told = json.loads(tables.render(flat, "json", query))
    assert {line["mitigation"]: line["published.asr"] for line in told} == {
        "none": 0.979, "FP, paper": 0.868, "FP, random": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("paper", "line"),
    [
        (["tabel5"], "unknown table of the paper 'tabel5'.*did you mean 'table5'"),
        (["table5", "data.kind"], "'data.kind' is no condition"),
        (["table5", "data=ucf101"], "unknown field of the paper's table5 'data'"),
        (["table5", "data.kind=ucf11"], "unknown data.kind of the paper's table5 'ucf11'"),
        (["table5"], "the paper's table5 has nothing of these runs.*data.kind=ucf101"),
    ],
)
def test_what_the_paper_does_not_have_gets_one_line(paper: list[str], line: str) -> None:
    with pytest.raises(VidoorError, match=line) as error:
        tables.render(runs({}), "md", Query(values=("asr",), paper=paper))
    assert "\n" not in str(error.value)


def test_a_run_counts_once_for_each_epoch(record: Any) -> None:
    query = Query(rows=("epoch",), values=("asr",), each=("epochs",))
    told = json.loads(tables.render(tables.flatten([record]), "json", query))
    curve = record["curves"]["poisoned"]
    assert [(line["epoch"], line["asr"]) for line in told] == [
        (point["epoch"], point["asr"]) for point in curve
    ]


def test_names_with_dots_are_one_name(record: Any) -> None:
    mitigations = {"σ 1": {"asr": 0.1}, "σ 1.5": {"asr": 0.2}}
    flat = tables.flatten([{**record, "mitigations": mitigations}])
    query = Query(rows=("mitigation",), values=("asr",), each=("mitigations",))
    told = {
        line["mitigation"]: line["asr"] for line in json.loads(tables.render(flat, "json", query))
    }
    assert told == {"none": 1.0, "σ 1": 0.1, "σ 1.5": 0.2}


PARTS = {
    "fig3a": ("4.6.1", "poisoning.rate"),
    "fig3b": ("4.6.2", "trigger.start"),
    "fig3c": ("4.6.4", "trigger.rms"),
    "fig3d": ("4.6.3", "trigger.components"),
}
"""What the caption of Fig. 3 calls its parts: "(a) poisoning ratio (b) frequencies for adding
perturbation (c) perturbation magnitude (d) the number of perturbed components"."""


def test_the_parts_of_fig_3_are_those_of_its_caption() -> None:
    for name, (section, _) in PARTS.items():
        assert f"section {section}" in published.FIGURES[name].claim


def test_recipes_draw_what_that_part_of_fig_3_draws() -> None:
    recipes = Path(__file__).parents[2] / "recipes" / "paper"
    drawn: dict[str, set[str]] = {}
    for path in recipes.glob("fig3*.toml"):
        for figure in document.read(path)["figure"].values():
            if figure.get("paper"):
                drawn.setdefault(figure["paper"], set()).add(figure["x"])
                assert path.stem.startswith(figure["paper"])
    assert drawn == {name: {field} for name, (_, field) in PARTS.items()}


def test_a_caption_says_what_names_do_not_tell() -> None:
    for name in ("table2", "table3"):
        assert "settings and attacks here need not be the paper's" in published.TABLES[name].caption


def test_figures_of_the_paper_name_victims_that_there_are() -> None:
    for drawn in published.FIGURES.values():
        assert {*drawn.points} <= {*published.VICTIMS}
        assert drawn.claim.endswith(").")
