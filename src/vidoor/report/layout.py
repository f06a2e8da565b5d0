"""A table as text: Markdown and LaTeX for people, CSV and JSON for programs."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from vidoor.report.record import is_number

Format: TypeAlias = Literal["md", "csv", "latex", "json"]


@dataclass(frozen=True, slots=True)
class Mean:
    """A measurement over ``n`` seeds; ``sd`` is None for a single one."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Unit:
    """How people read a number: times ``scale``, in ``digits`` (a format), and the unit's name."""

    name: str
    scale: float
    digits: str


_PERCENT = Unit("%", 100, ".1f")
UNITS = {
    **dict.fromkeys(("acc", "clean_acc", "asr", "asr_paper", "tpr", "fpr"), _PERCENT),
    **dict.fromkeys(("tpr_at_1", "tpr_at_5", "tpr_at_15", "alarm", "top"), _PERCENT),
    "psnr": Unit("dB", 1, ".2f"),
    "seconds": Unit("s", 1, ".4g"),
    "memory": Unit("MiB", 2**-20, ".4g"),
}
"""Units of measurements, by the last part of their field."""

TITLES = {
    "clean_acc": "clean ACC", "acc": "ACC", "asr": "ASR", "asr_paper": "ASR, paper",
    "flagged.tpr": "TPR", "flagged.fpr": "FPR", "psnr": "PSNR", "ssim": "SSIM",
    "control.asr": "clean victim's ASR",
}  # fmt: skip

PUBLISHED = "published."
"""What the field of a measurement begins with that the paper prints."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of settings, or of measurements if it has a ``unit`` or cells that are a Mean."""

    field: str
    title: str
    """What people call it."""

    unit: Unit | None = None
    at: str = ""
    """What programs call the part of the runs that it is about; "" for all of them."""


@dataclass(frozen=True, slots=True)
class Table:
    """One or more ``lines`` of one cell per column: Mean, number, string, bool or None (empty)."""

    columns: Sequence[Column]
    lines: Sequence[Sequence[Any]]
    keys: int
    """How many columns, the first ones, say what a line is about."""

    n: int | None = None
    """The seeds of every cell that does not say otherwise; None where the last column has them."""

    head: str = ""
    """What stands above the columns, after the keys."""

    note: str = ""


_MARKDOWN = str.maketrans({"|": r"\|", "\\": r"\\", "<": "&lt;", "\n": " ", "\r": " "})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}"}
    | {"\n": " ", "\r": " "}
)


def measure(field: str, label: str = "", at: str = "") -> Column:
    """The column of a measurement, whose title is ``label`` or else the field's own."""
    return Column(field, label or title(field), UNITS.get(field.split(".")[-1]), at)


def title(field: str) -> str:
    """What people call a measurement, with its unit."""
    unit = UNITS.get(field.split(".")[-1])
    own = field.removeprefix(PUBLISHED)
    whose = "the paper's " if own != field else ""
    return whose + TITLES.get(own, own) + (f" ({unit.name})" if unit else "")


def text(value: Any) -> str:
    """A setting as recipes write it; – where there is none."""
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _raw(table: Table) -> tuple[list[str], Iterator[list[Any]]]:
    """Means spread over plain fields ``x`` and ``x_sd`` (and ``x_n``); every line has them all."""
    counted = ("mean", "sd") if table.n is None else ("mean", "sd", "n")
    cells_of = zip(*table.lines, strict=True)
    means = [any(isinstance(cell, Mean) for cell in cells) for cells in cells_of]
    parts = [counted if mean else ("mean",) for mean in means]
    header = [
        f"{column.field}{'' if part == 'mean' else f'_{part}'}{column.at}"
        for column, own in zip(table.columns, parts, strict=True)
        for part in own
    ]
    spread = (
        [
            getattr(cell, part) if isinstance(cell, Mean) else cell if part == "mean" else None
            for cell, own in zip(line, parts, strict=True)
            for part in own
        ]
        for line in table.lines
    )
    return header, spread


def _csv(table: Table) -> str:
    header, lines = _raw(table)
    out = io.StringIO()
    writer = csv.writer(out)  # its own line ends: it quotes those, and no others
    writer.writerow(header)
    writer.writerows(["" if cell is None else text(cell) for cell in line] for line in lines)
    return out.getvalue().replace("\r\n", "\n")


def _json(table: Table) -> str:
    header, lines = _raw(table)
    named = [dict(zip(header, line, strict=True)) for line in lines]
    return json.dumps(named, indent=2, ensure_ascii=False, default=str) + "\n"


def _markdown(table: Table) -> str:
    header, *cells = _shown(table, _MARKDOWN)
    rule = ["---:" if right else "---" for right in _numeric(table)]
    head = f"{table.head.translate(_MARKDOWN)}\n\n" if table.head else ""
    note = f"\n{table.note.translate(_MARKDOWN)}\n" if table.note else ""
    body = "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *cells))
    return head + body + note


def _latex(table: Table) -> str:
    header, *cells = (f"{' & '.join(row)} \\\\\n" for row in _shown(table, _LATEX))
    align = "".join("r" if right else "l" for right in _numeric(table))
    note = f"% {table.note.translate(_LATEX)}\n" if table.note else ""
    start = f"{note}\\begin{{tabular}}{{{align}}}\n\\toprule\n{_spanner(table)}{header}\\midrule\n"
    return f"{start}{''.join(cells)}\\bottomrule\n\\end{{tabular}}\n"


def _spanner(table: Table) -> str:
    """The head over all columns but the keys."""
    if not table.head:
        return ""
    first, last = table.keys + 1, len(table.columns)
    head = f"\\multicolumn{{{last - table.keys}}}{{c}}{{{table.head.translate(_LATEX)}}}"
    return f"{'& ' * table.keys}{head} \\\\\n\\cmidrule(lr){{{first}-{last}}}\n"


def _numeric(table: Table) -> list[bool]:
    cells_of = zip(*table.lines, strict=True)
    return [not any(isinstance(cell, str) for cell in cells) for cells in cells_of]


def _shown(table: Table, escapes: Mapping[int, str]) -> list[list[str]]:
    """The header and the cells as escaped text."""
    header = [column.title for column in table.columns]
    cells = [
        [
            _cell(cell, column, line[-1] if table.n is None else table.n)
            for cell, column in zip(line, table.columns, strict=True)
        ]
        for line in table.lines
    ]
    return [[shown.translate(escapes) for shown in row] for row in (header, *cells)]


def _cell(value: Any, column: Column, n: int) -> str:
    unit = column.unit or Unit("", 1, ".4g")
    if not isinstance(value, Mean):
        scaled = isinstance(value, float) or (column.unit and is_number(value))
        return f"{unit.scale * value:g}" if scaled else text(value)
    shown = f"{unit.scale * value.mean:{unit.digits}}"
    if value.sd is not None:
        shown += f" ± {unit.scale * value.sd:{unit.digits}}"
    return shown if value.n == n else f"{shown} (n = {value.n})"


WRITERS: Mapping[str, Callable[[Table], str]] = {
    "md": _markdown, "csv": _csv, "latex": _latex, "json": _json,
}  # fmt: skip
"""How each ``Format`` is written."""
