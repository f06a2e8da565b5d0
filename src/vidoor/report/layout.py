"""A table as text: Markdown and LaTeX for people, CSV and JSON for programs."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Row: TypeAlias = dict[str, Any]
"""One line of a table: field -> Mean, number, string, bool or None; ``n`` is how many seeds."""

Format: TypeAlias = Literal["md", "csv", "latex", "json"]

PERCENT = {"acc", "clean_acc", "asr", "asr_paper", "tpr", "fpr"}
DECIBEL = {"psnr"}
TITLES = {
    "clean_acc": "clean ACC", "acc": "ACC", "asr": "ASR", "asr_paper": "ASR, paper",
    "flagged.tpr": "TPR", "flagged.fpr": "FPR", "psnr": "PSNR", "ssim": "SSIM",
}  # fmt: skip

_MARKDOWN = str.maketrans({"|": r"\|", "\\": r"\\", "<": "&lt;", "\n": " ", "\r": " "})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ", "\r": " "}
)


@dataclass(frozen=True, slots=True)
class Mean:
    """A measurement over ``n`` seeds; ``sd`` is None for a single one."""

    mean: float
    sd: float | None
    n: int


def _raw(table: list[Row]) -> tuple[list[str], list[Row]]:
    """Means spread over plain fields ``x`` and ``x_sd``; the header is the same for all rows."""
    means = {field for row in table for field, value in row.items() if isinstance(value, Mean)}
    header = [name for field in table[0] for name in (field, f"{field}_sd")[: 1 + (field in means)]]
    spread = [
        {field: value.mean if isinstance(value, Mean) else value for field, value in row.items()}
        | {f"{field}_sd": row[field].sd for field in means if isinstance(row[field], Mean)}
        for row in table
    ]
    return header, spread


def _csv(table: list[Row]) -> str:
    header, rows = _raw(table)
    out = io.StringIO()
    writer = csv.DictWriter(out, header)  # its own line ends: it quotes those, and no others
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().replace("\r\n", "\n")


def _json(table: list[Row]) -> str:
    header, rows = _raw(table)
    ordered = [{field: row.get(field) for field in header} for row in rows]
    return json.dumps(ordered, indent=2, ensure_ascii=False, default=str) + "\n"


def _markdown(table: list[Row]) -> str:
    header, *cells = _shown(table, _MARKDOWN)
    rule = ["---:" if right else "---" for right in _numeric(table)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *cells))


def _latex(table: list[Row]) -> str:
    header, *cells = (f"{' & '.join(row)} \\\\\n" for row in _shown(table, _LATEX))
    align = "".join("r" if right else "l" for right in _numeric(table))
    head = f"\\begin{{tabular}}{{{align}}}\n\\toprule\n{header}\\midrule\n"
    return f"{head}{''.join(cells)}\\bottomrule\n\\end{{tabular}}\n"


def _numeric(table: list[Row]) -> list[bool]:
    return [not any(isinstance(row[field], str) for row in table) for field in table[0]]


def _shown(table: list[Row], escapes: Mapping[int, str]) -> list[list[str]]:
    """The header and the cells as escaped text."""
    header = [_title(field) for field in table[0]]
    cells = [[_text(field, value, row["n"]) for field, value in row.items()] for row in table]
    return [[text.translate(escapes) for text in row] for row in (header, *cells)]


def _title(field: str) -> str:
    leaf = field.split(".")[-1]
    unit = " (%)" if leaf in PERCENT else " (dB)" if leaf in DECIBEL else ""
    return TITLES.get(field, field) + unit


def _text(field: str, value: Any, n: int) -> str:
    if value is None:
        return "–"
    if not isinstance(value, Mean):
        return f"{value:g}" if isinstance(value, float) else str(value)
    leaf = field.split(".")[-1]
    scale, digits = (100, "1f") if leaf in PERCENT else (1, "2f" if leaf in DECIBEL else "4g")
    text = f"{scale * value.mean:.{digits}}"
    if value.sd is not None:
        text += f" ± {scale * value.sd:.{digits}}"
    return text if value.n == n else f"{text} (n = {value.n})"


WRITERS: Mapping[str, Callable[[list[Row]], str]] = {
    "md": _markdown, "csv": _csv, "latex": _latex, "json": _json,
}  # fmt: skip
"""How each ``Format`` is written; a table has at least one row, and all have the same fields."""
