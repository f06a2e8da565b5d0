"""Tables with any field as rows and columns, against hand computations from the numbers put in."""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.errors import VidoorError
from vidoor.report.layout import Mean
from vidoor.report.pivot import Query, summarise, tabulate
from vidoor.report.runs import Run
from vidoor.report.tables import flatten, render

KINDS = {"dft": {"rms": 2.0}, "badnet": {"side": 3}}
RATES = (0.2, 0.05, 0.1)


def run(kind: str, rate: float, seed: int, **more: Any) -> dict[str, Any]:
    """A made-up record; its ASR is a number like no other."""
    trigger = {"kind": kind, **KINDS[kind]}
    asr = 0.3 + rate / 7 + 0.011 * seed + 0.1 * list(KINDS).index(kind) + 0.003 * seed * rate
    return {
        "run_id": f"{kind} {rate} {seed}", "name": "grid", "arm": "", "seed": seed, "asr": asr,
        "trigger": trigger,
        "detectors": {"coherence": {"auroc": asr / 2}}, "mitigations": {"fine-tuning": {"asr": 0}},
        "recipe": {
            "name": "grid", "seed": seed, "trigger": trigger, "poisoning": {"rate": rate},
            "victim": {"width": 8, "pretrained": kind == "dft"},
        },
        **more,
    }  # fmt: skip


def grid(*, without: Sequence[tuple[str, float, int]] = ()) -> list[dict[str, Any]]:
    """Three seeds of every kind and rate, kinds outermost, but for those left out."""
    cells = itertools.product(KINDS, RATES, range(3))
    return [run(*cell) for cell in cells if cell not in without]


def asr_of(records: Sequence[Mapping[str, Any]], kind: str, rate: float) -> list[float]:
    return [r["asr"] for r in records if r["run_id"].startswith(f"{kind} {rate} ")]


BY_RATE = Query(rows=["trigger.kind"], columns=["poisoning.rate"], values=["asr"])


def test_cells_are_means_over_the_runs_that_belong_there() -> None:
    records = grid()
    table = json.loads(render(flatten(records), "json", BY_RATE))
    assert [line["trigger.kind"] for line in table] == ["dft", "badnet"]
    for line, rate in itertools.product(table, RATES):
        found = asr_of(records, line["trigger.kind"], rate)
        at = f"[poisoning.rate={rate}]"
        assert line[f"asr{at}"] == pytest.approx(mean(found), rel=1e-12)
        assert line[f"asr_sd{at}"] == pytest.approx(stdev(found), rel=1e-12)
        assert line[f"asr_n{at}"] == 3
    assert list(table[0])[1::3] == [f"asr[poisoning.rate={rate}]" for rate in sorted(RATES)]


def some_runs() -> list[Run]:
    """Four cells with round numbers, one of them of a single seed, and one cell missing."""
    asrs = {
        ("dft", 0.2): (0.96, 0.98, 1.0), ("dft", 0.05): (0.5,),
        ("badnet", 0.2): (0.9, 0.9, 0.9), ("badnet", 0.1): (0.1, 0.2, 0.3),
    }  # fmt: skip
    return flatten(
        run(*cell, seed, asr=asr, acc=0.75)
        for cell, of in asrs.items()
        for seed, asr in enumerate(of)
    )


NOTE = "Settings that differ and are not shown: trigger.rms, trigger.side, victim.pretrained."


def test_markdown_names_the_value_once_and_an_n_where_it_is_another() -> None:
    assert render(some_runs(), "md", BY_RATE) == (
        "ASR (%) by poisoning.rate, n = 3\n\n"
        "| trigger.kind | 0.05 | 0.1 | 0.2 |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| dft | 50.0 (n = 1) | – | 98.0 ± 2.0 |\n"
        "| badnet | – | 20.0 ± 10.0 | 90.0 ± 0.0 |\n"
        f"\n{NOTE}\n"
    )


def test_several_values_stand_side_by_side_under_their_titles() -> None:
    query = Query(rows=["poisoning.rate"], columns=["trigger.kind"], values=["acc", "asr"])
    assert render(some_runs(), "md", query) == (
        "ACC (%), ASR (%) by trigger.kind, n = 3\n\n"
        "| poisoning.rate | dft · ACC (%) | dft · ASR (%) | badnet · ACC (%) | badnet · ASR (%) |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n"
        "| 0.05 | 75.0 (n = 1) | 50.0 (n = 1) | – | – |\n"
        "| 0.1 | – | – | 75.0 ± 0.0 | 20.0 ± 10.0 |\n"
        "| 0.2 | 75.0 ± 0.0 | 98.0 ± 2.0 | 75.0 ± 0.0 | 90.0 ± 0.0 |\n"
        f"\n{NOTE}\n"
    )


def test_latex_has_the_value_over_its_columns() -> None:
    assert render(some_runs(), "latex", BY_RATE) == (
        f"% {NOTE}\n"
        "\\begin{tabular}{lrrr}\n\\toprule\n"
        "& \\multicolumn{3}{c}{ASR (\\%) by poisoning.rate, n = 3} \\\\\n\\cmidrule(lr){2-4}\n"
        "trigger.kind & 0.05 & 0.1 & 0.2 \\\\\n\\midrule\n"
        "dft & 50.0 (n = 1) & – & 98.0 $\\pm$ 2.0 \\\\\n"
        "badnet & – & 20.0 $\\pm$ 10.0 & 90.0 $\\pm$ 0.0 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_cells_without_a_run_are_empty_in_csv_and_null_in_json() -> None:
    dft, badnet = csv.DictReader(io.StringIO(render(some_runs(), "csv", BY_RATE)))
    few, none, all_ = ("[poisoning.rate=0.05]", "[poisoning.rate=0.1]", "[poisoning.rate=0.2]")
    assert (dft[f"asr{few}"], dft[f"asr_sd{few}"], dft[f"asr_n{few}"]) == ("0.5", "", "1")
    assert {dft[f"asr{part}{none}"] for part in ("", "_sd", "_n")} == {""}
    assert badnet[f"asr_n{all_}"] == "3"
    line = json.loads(render(some_runs(), "json", BY_RATE))[0]
    assert {line[f"asr{part}{none}"] for part in ("", "_sd", "_n")} == {None}


def test_fields_of_detectors_and_mitigations_have_their_units() -> None:
    values = [
        "detectors.coherence.auroc", "detectors.coherence.cost.seconds",
        "mitigations.fine-tuning.asr", "mitigations.fine-tuning.cost.memory",
    ]  # fmt: skip
    records = [
        run(
            "dft", 0.1, seed,
            detectors={"coherence": {"auroc": 0.9 + seed / 10, "cost": {"seconds": 1 + seed}}},
            mitigations={"fine-tuning": {"asr": share, "cost": {"memory": 2**20 * (1 + seed)}}},
        )
        for seed, share in ((0, 0.25), (1, 0.75))
    ]  # fmt: skip
    text = render(flatten(records), "md", Query(rows=["trigger.kind"], values=values))
    assert text == (
        "| trigger.kind | detectors.coherence.auroc | detectors.coherence.cost.seconds (s) "
        "| mitigations.fine-tuning.asr (%) | mitigations.fine-tuning.cost.memory (MiB) | n |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| dft | 0.95 ± 0.07071 | 1.5 ± 0.7071 | 50.0 ± 35.4 | 1.5 ± 0.7071 | 2 |\n"
    )


def test_a_setting_that_is_neither_row_nor_column_is_never_averaged_over() -> None:
    runs = flatten(grid())
    differ = "that differ in poisoning.rate fall into one cell"
    with pytest.raises(VidoorError, match=f"^runs {differ}; .* rows or columns .* field=value$"):
        summarise(runs, Query(rows=["trigger.kind"]))
    for query in (
        Query(columns=["trigger.kind"], rows=["name"]),
        Query(rows=["victim.pretrained"]),
    ):
        with pytest.raises(VidoorError, match=differ):
            tabulate(runs, query)
    differ = r"trigger\.kind, trigger\.rms, trigger\.side, victim\.pretrained fall"
    with pytest.raises(VidoorError, match=differ):
        render(runs, "md", Query(rows=["poisoning.rate"]))
    for change in ({"arm": "weak"}, {"name": "other"}, {"asr_variant": "paper"}):
        rows = [*flatten(grid())]
        rows[1] |= change
        with pytest.raises(VidoorError, match=f"differ in {next(iter(change))} fall"):
            summarise(rows, BY_RATE)


def test_many_differences_are_counted_not_listed() -> None:
    runs = flatten(grid()[:2])
    runs[1] |= {f"recipe.training.option{i}": i for i in range(20)}
    with pytest.raises(VidoorError, match=r"option6, training\.option7 and 12 more fall"):
        summarise(runs, Query(rows=["name"]))


def test_where_something_ran_and_what_it_took_is_no_setting() -> None:
    records = [
        run(
            "dft", 0.1, seed, environment={"torch": str(seed), "kind": str(seed)},
            cost={"train clean": {"seconds": seed, "kind": str(seed)}}, seconds={"total": seed},
        )
        for seed in range(3)
    ]  # fmt: skip
    query = Query(values=["cost.train clean.seconds", "environment.torch", "seconds.total"])
    [line] = summarise(flatten(records), query)
    assert line == {
        "name": "grid", "cost.train clean.seconds": Mean(1, 1, 3), "environment.torch": "varies",
        "seconds.total": Mean(1, 1, 3), "n": 3,
    }  # fmt: skip
    by_machine = summarise(flatten(records), Query(rows=["environment.torch"], values=["asr"]))
    assert [line["n"] for line in by_machine] == [1, 1, 1]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["poisoning.rate=0.05"], lambda kind, rate, seed: rate == 0.05),
        (["recipe.poisoning.rate = 5e-2"], lambda kind, rate, seed: rate == 0.05),
        (["trigger.kind=dft", "seed=1"], lambda kind, rate, seed: (kind, seed) == ("dft", 1)),
        (["seed=1", "seed=2"], lambda kind, rate, seed: seed > 0),
        (["victim.pretrained=true"], lambda kind, rate, seed: kind == "dft"),
        (["trigger.rms=–"], lambda kind, rate, seed: kind == "badnet"),
        (["arm="], lambda kind, rate, seed: True),
    ],
)
def test_where_chooses_runs(where: list[str], kept: Callable[..., bool]) -> None:
    query = Query(rows=["trigger.kind", "poisoning.rate", "seed"], values=["asr"], where=where)
    lines = summarise(flatten(grid()), query)
    assert {(line["trigger.kind"], line["poisoning.rate"], line["seed"]) for line in lines} == {
        cell for cell in itertools.product(KINDS, RATES, range(3)) if kept(*cell)
    }


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({"where": ["poisoning.rat=1"]}, "unknown field 'poisoning.rat'; .* 'poisoning.rate'"),
        ({"where": ["seed"]}, "'seed' is no condition; write it as field=value"),
        ({"where": ["seed=7"]}, "no run has seed = '7'; choose from '0', '1', '2'"),
        ({"where": ["seed=1", "seed=one"]}, "no run has seed = 'one'; choose from"),
        ({"where": ["trigger.kind=dft", "trigger.side=3"]}, "no run has trigger.side = '3'"),
        ({"columns": ["mitigations.fine-tunin.asr"]}, "mean 'mitigations.fine-tuning.asr'"),
        ({"rows": ["seed"], "columns": ["recipe.seed"]}, "seed cannot be both row and column"),
        ({"columns": ["asr"], "values": ["asr"]}, "no cell has a value; name values"),
    ],
)
def test_what_was_asked_wrongly_is_one_line(query: dict[str, list[str]], line: str) -> None:
    with pytest.raises(VidoorError, match=line) as caught:
        render(flatten(grid()), "md", Query(**query))
    assert "\n" not in str(caught.value)


def test_numbers_ascend_and_text_stands_as_it_came() -> None:
    rates = (0.2, 1e-3, 0.05, 10.0, 9.0)
    runs = flatten(
        run(kind, rate, 0) for rate, kind in zip(rates, ["dft", "badnet"] * 3, strict=False)
    )
    lines = summarise(runs, Query(rows=["poisoning.rate", "trigger.kind"]))
    assert [line["poisoning.rate"] for line in lines] == sorted(rates)
    lines = summarise(runs, Query(rows=["trigger.kind", "poisoning.rate"]))
    assert [(line["trigger.kind"], line["poisoning.rate"]) for line in lines] == [
        ("dft", 0.05), ("dft", 0.2), ("dft", 9.0), ("badnet", 1e-3), ("badnet", 10.0),
    ]  # fmt: skip
    header = render(runs, "csv", Query(columns=["trigger.kind"], values=["asr"])).splitlines()[0]
    assert re.findall("asr.trigger.kind=(.*?)]", header) == ["dft", "badnet"]


def test_beside_columns_the_rows_are_what_the_columns_do_not_settle() -> None:
    runs = flatten(grid())
    table = tabulate(runs, Query(columns=["trigger.kind"]))
    assert [column.field for column in table.columns[: table.keys]] == ["name", "poisoning.rate"]
    for one in runs:
        del one["arm"]
        one["recipe.arm"] = "strong" if one["recipe.trigger.kind"] == "dft" else "weak"
    table = tabulate(runs, Query(columns=["poisoning.rate"]))
    assert [column.field for column in table.columns[: table.keys]] == ["name", "arm"]
    table = tabulate(runs, Query())
    assert [column.field for column in table.columns[: table.keys]] == [
        "name", "arm", "trigger.kind", "trigger.rms", "trigger.side", "poisoning.rate",
        "victim.pretrained",
    ]  # fmt: skip


def test_a_name_means_the_recipes_field_where_there_are_two() -> None:
    runs = flatten(grid()[:6])  # two rates
    for one in runs:
        one["poisoning.rate"] = "what came of it"
    table = json.loads(render(runs, "json", Query(columns=["poisoning.rate"], values=["asr"])))
    assert [set(line) for line in table] == [
        {"name"} | {f"asr{p}[poisoning.rate={r}]" for p in ("", "_sd", "_n") for r in (0.05, 0.2)}
    ]


def test_values_that_read_alike_keep_columns_of_their_own() -> None:
    runs = flatten(grid()[:4:3])
    for one, value in zip(runs, ("1", 1), strict=True):
        one["recipe.poisoning.rate"] = value
    [line] = json.loads(render(runs, "json", Query(columns=["poisoning.rate"], values=["asr"])))
    assert (line["asr[poisoning.rate=1]"], line["asr[poisoning.rate='1']"]) == (
        runs[1]["asr"], runs[0]["asr"],
    )  # fmt: skip


def test_a_value_that_is_a_setting_is_shown_as_it_is() -> None:
    runs = flatten(grid()[:3])
    for one in runs:
        one |= {"recipe.detector.strip.fpr": 0.015, "environment.threads": 2}
    shown = ["poisoning.rate", "victim.pretrained", "environment.threads", "detector.strip.fpr"]
    query = Query(rows=["trigger.kind"], values=shown)
    assert tabulate(runs, query).lines == [["dft", 0.2, True, 2, 0.015, 3]]
    assert render(runs, "md", query) == (
        f"| trigger.kind | {' | '.join(shown)} (%) | n |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| dft | 0.2 | true | 2 | 1.5 | 3 |\n"
    )


def test_the_note_tells_of_settings_that_are_not_shown() -> None:
    runs = flatten(grid())
    values = ["asr", "trigger.rms", "trigger.side"]
    query = Query(rows=["trigger.kind", "poisoning.rate"], values=values)
    note = "\nSettings that differ and are not shown: victim.pretrained.\n"
    assert render(runs, "md", query).endswith(" |\n" + note)
    assert "Settings that differ" not in render(runs)


def test_an_option_that_is_none_is_as_good_as_absent() -> None:
    runs = flatten(grid()[:3])
    runs[1]["recipe.training.clip"] = None
    assert [line["n"] for line in summarise(runs)] == [3]


cells = st.tuples(st.sampled_from(list(KINDS)), st.sampled_from(RATES), st.integers(0, 3))
fields = st.permutations(["trigger.kind", "poisoning.rate", "seed"])


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.sets(cells, min_size=1), st.data())
def test_a_table_holds_the_cells_of_the_summary(cells: set[Any], data: st.DataObject) -> None:
    order = data.draw(st.permutations(sorted(cells)))
    runs = flatten(run(*cell) for cell in order)
    averaged = data.draw(st.booleans())
    keys = [field for field in data.draw(fields) if not (averaged and field == "seed")]
    split = data.draw(st.integers(0, len(keys) - 1))
    values = ["asr", "detectors.coherence.auroc"]
    summary = summarise(runs, Query(rows=keys, values=values))
    query = Query(rows=keys[:split], columns=keys[split:], values=values)
    table = tabulate(runs, query)
    spread = [cell for line in table.lines for cell in line[table.keys :] if cell is not None]
    stacked = [line[value] for line in summary for value in values]
    assert sorted(spread, key=repr) == sorted(stacked, key=repr)
    assert sum(cell.n for cell in spread) == 2 * len(cells)
    assert len({column.at for column in table.columns[table.keys :]}) == len(
        {tuple(line[field] for field in keys[split:]) for line in summary}
    )


def test_a_run_counts_once_for_each_of_its_methods() -> None:
    def one(seed: int) -> dict[str, Any]:
        detectors = {
            "NC, log": {"alarm": seed == 0, "auroc": seed / 4, "control": {"alarm": False}},
            "STRIP": {"alarm": True, "auroc": 1.0},
        }
        purified = {"acc": 0.5 + seed / 8, "asr": 0.0, "cost": {"seconds": seed}}
        mitigations = {"jpeg": purified}
        return run("dft", 0.2, seed, acc=0.75, detectors=detectors, mitigations=mitigations)

    runs = flatten(map(one, range(3)))
    values = ["alarm", "auroc", "control.alarm"]
    lines = summarise(runs, Query(each=["detectors"], rows=["detector"], values=values))
    assert [line["detector"] for line in lines] == ["NC, log", "STRIP"]
    assert lines[0]["alarm"].mean == pytest.approx(1 / 3)
    assert lines[0]["auroc"] == Mean(0.25, 0.25, 3)
    assert lines[0]["control.alarm"] == Mean(0, 0, 3)
    assert (lines[1]["alarm"].mean, lines[1]["control.alarm"]) == (1, None)
    query = Query(each=["mitigations"], rows=["mitigation"], values=["acc", "asr", "cost.seconds"])
    untouched, jpeg = summarise(runs, query)
    assert (untouched["mitigation"], untouched["acc"]) == ("none", Mean(0.75, 0, 3))
    assert untouched["asr"].mean == pytest.approx(mean(asr_of(grid(), "dft", 0.2)))
    assert (jpeg["acc"], jpeg["asr"]) == (Mean(0.625, 0.125, 3), Mean(0, 0, 3))
    assert jpeg["cost.seconds"] == Mean(1, 1, 3)
    with pytest.raises(VidoorError, match="unknown part 'victims'"):
        summarise(runs, Query(each=["victims"]))
