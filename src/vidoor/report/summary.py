"""What a command prints once its runs are complete: a document for programs, a table for people."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table
from rich.text import Text

from vidoor.report.record import PAGE, RESULT
from vidoor.report.tables import read_json
from vidoor.wording import printable

HEADLINE = ("clean_acc", "acc", "asr", "psnr", "ssim")
"""The numbers that a table shows first."""


def summary(folders: Sequence[Path]) -> dict[str, Any]:
    """One JSON document for the runs of one setting: means over the seeds, then every record."""
    records = [read_json(folder / RESULT) for folder in folders]
    document: dict[str, Any] = {"name": records[0]["name"], "n": len(records)}
    document |= {key: _mean(record[key] for record in records) for key in HEADLINE}
    flagged = [record["flagged"] for record in records if record["flagged"]]
    document["flagged"] = (
        {
            "detector": flagged[0]["detector"],
            **{rate: _mean(found[rate] for found in flagged) for rate in ("tpr", "fpr")},
        }
        if flagged
        else None
    )
    if len(records) > 1:
        document["sd"] = {key: _deviation([r[key] for r in records]) for key in HEADLINE}
    document["seconds"] = sum(record["seconds"]["total"] for record in records)
    document["report"] = str(folders[0] / PAGE)
    document["runs"] = [
        {"folder": str(folder), **record} for folder, record in zip(folders, records, strict=True)
    ]
    return document


def _mean(values: Iterable[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) > 1 else None


def headline(document: Mapping[str, Any]) -> Table:
    """The numbers of ``summary`` for a terminal."""
    runs, deviations = document["n"], document.get("sd", {})
    spread = f": mean ± sd over {runs} seeds" if runs > 1 else ""
    table = Table(title=Text(printable(document["name"]) + spread))
    table.add_column("what")
    table.add_column("value", justify="right")
    flagged = document["flagged"] or {}
    rows = [
        ("accuracy, clean model", document["clean_acc"], deviations.get("clean_acc"), 100, " %"),
        ("accuracy, poisoned model (ACC)", document["acc"], deviations.get("acc"), 100, " %"),
        ("attack success rate (ASR, strict)", document["asr"], deviations.get("asr"), 100, " %"),
        ("PSNR of triggered clips", document["psnr"], deviations.get("psnr"), 1, " dB"),
        ("poisoned clips found (TPR)", flagged.get("tpr"), None, 100, " %"),
        ("clean clips accused (FPR)", flagged.get("fpr"), None, 100, " %"),
        ("work, stages side by side", document["seconds"], None, 1, " s"),
    ]
    for what, value, deviation, scale, unit in rows:
        if value is not None:
            spread = "" if deviation is None else f" ± {deviation * scale:.1f}"
            table.add_row(what, f"{value * scale:.1f}{spread}{unit}")
    return table


def listing(title: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """The methods of one group for a terminal."""
    table = Table(title=title, title_justify="left")
    for column in ("kind", "what it is", "options", "presets"):
        table.add_column(column, overflow="fold")
    for method, about in found.items():
        options = ", ".join(f"{k}={v}" for k, v in about["options"].items())
        table.add_row(*map(Text, (method, about["summary"], options, ", ".join(about["presets"]))))
    return table


def states(survey: Mapping[str, Any], *, every: bool) -> str:
    """How far a sweep is, as lines; with ``every`` cell's state, else those of failed ones."""
    lines = [_state(cell) for cell in survey["cells"] if every or cell["state"] == "failed"]
    lines += [f"running  {stage['stage']} (by {stage['by']})" for stage in survey["running"]]
    cells, complete, failed = len(survey["cells"]), survey["complete"], survey["failed"]
    told = f"{survey['name']}: {complete} of {cells} runs complete"
    told += f", {failed} failed" if failed else ""
    return "\n".join([*lines, f"{told}; {_left(survey)}"])


def _state(cell: Mapping[str, Any]) -> str:
    text = f"{cell['state']:<8} {cell['label'] or cell['run']}"
    if cell["state"] == "failed":
        return f"{text}: {cell['stage']}: {cell['problem']}"
    return f"{text} ({cell['missing']} stages to make)" if cell["missing"] else text


def _left(survey: Mapping[str, Any]) -> str:
    missing, unknown = survey["missing"], survey["unknown"]
    if not missing:
        return "nothing is left to make"
    if unknown == missing:
        return f"{missing} of {survey['stages']} stages to make; their cost is not known yet"
    told = (
        f"{missing} of {survey['stages']} stages to make, about {_time(survey['seconds'])} of work"
    )
    workers = survey["workers"]
    told += f", {_time(survey['seconds'] / workers)} with {workers} workers" if workers > 1 else ""
    return f"{told}, and {unknown} stages unlike any so far" if unknown else told


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
