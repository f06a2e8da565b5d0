"""From run folders to tidy rows, and from rows to a table: mean ± sd over seeds.

Runs are averaged only when everything but the seed agrees: the name, the whole recipe, the kind of
every part and the definition of ASR. ``sd`` is the sample standard deviation (n − 1) over seeds.
"""

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, TypeAlias

from vidoor.errors import VidoorError, unknown

Record: TypeAlias = dict[str, Any]
"""``result.json`` of one run, with its recipe under ``recipe``."""

Row: TypeAlias = dict[str, Any]
"""One run, flat: dotted field -> number, string, bool or None."""

Format: TypeAlias = Literal["md", "csv", "latex", "json"]

SCHEMA = 1

SETTINGS = ("name", "recipe.", "data.", "trigger.", "poisoning.", "victim.")
"""Fields that say what was run; a number elsewhere is a measurement and gets a mean and an sd."""

MEASURES = ("clean_acc", "acc", "asr", "flagged.tpr", "flagged.fpr", "psnr", "ssim")

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


def read(run_dir: Path) -> Record:
    """The record of one finished run; VidoorError if there is none or it is not schema 1."""
    path = run_dir / "result.json"
    if not path.is_file():
        raise VidoorError(f"{run_dir} has no result.json; a finished run has: let the run finish")
    record = read_json(path)
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        known = f"this vidoor reads schema {SCHEMA}: run the recipe again"
        raise VidoorError(f"{path} has schema {schema!r}; {known}")
    return {**record, "recipe": _recipe(run_dir / "recipe.toml")}


def read_json(path: Path) -> Any:
    """The content of a JSON file; VidoorError if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VidoorError(f"{path} is not JSON ({error}); run its recipe again") from error


def _recipe(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise VidoorError(f"{path} is not TOML ({error}); restore the recipe of the run") from error


def load(runs: Path) -> list[Record]:
    """The records of one run folder, or of every finished run in a folder of them, by folder name.

    Unfinished runs (without ``result.json``) are skipped. VidoorError if ``runs`` is no folder.
    """
    if not runs.is_dir():
        raise VidoorError(f"{runs} is no folder; give a run's folder or the folder of the runs")
    if (runs / "result.json").is_file():
        return [read(runs)]
    return [read(path.parent) for path in sorted(runs.glob("*/result.json"))]


def flatten(records: Iterable[Record]) -> list[Row]:
    """One tidy row per run. A recipe's lists become text, a result's (curves, …) are left out."""
    return [dict(_leaves(record)) for record in records]


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value
        elif prefix.startswith("recipe."):
            yield f"{prefix}{key}", str(value)


@dataclass(frozen=True, slots=True)
class Mean:
    """A measurement over ``n`` seeds; ``sd`` is None for a single one."""

    mean: float
    sd: float | None
    n: int


def summarise(rows: Sequence[Row], columns: Sequence[str] = ()) -> list[Row]:
    """One row per setting: its ``columns`` (settings as they are, measurements as Mean) and n.

    ``columns`` are dotted fields; a field of the recipe needs no ``recipe.`` in front. By default
    they are the name, every recipe field that differs between rows, and the measurements there are.
    """
    columns = columns or _default_columns(rows)
    known = {field.removeprefix("recipe.") for row in rows for field in row}
    for column in columns:
        if column.removeprefix("recipe.") not in known:
            raise VidoorError(unknown("column", column, sorted(known)))
    groups: dict[tuple[Any, ...], dict[Any, Row]] = {}
    for row in rows:
        groups.setdefault(_identity(row), {})[row.get("seed")] = row
    return [
        {column: _cell(column, list(seeds.values())) for column in columns} | {"n": len(seeds)}
        for seeds in groups.values()
    ]


def _is_setting(field: str) -> bool:
    recipe = field.startswith("recipe.") or field in ("name", "asr_variant")
    return (recipe or field.endswith(".kind")) and field.split(".")[-1] not in ("seed", "seeds")


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(sorted((field, repr(row[field])) for field in row if _is_setting(field)))


def _default_columns(rows: Sequence[Row]) -> list[str]:
    fields = dict.fromkeys(field for row in rows for field in row)
    varying = [
        field.removeprefix("recipe.")
        for field in fields
        if _is_setting(field) and len({repr(row.get(field)) for row in rows}) > 1
    ]
    present = [field for field in MEASURES if any(row.get(field) is not None for row in rows)]
    return list(dict.fromkeys(["name", *varying, *present]))


def _cell(column: str, rows: Sequence[Row]) -> Any:
    found = [row.get(column, row.get(f"recipe.{column}")) for row in rows]
    values = [value for value in found if value is not None]
    if not values:
        return None
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if numeric and not (column.startswith(SETTINGS) and len(set(values)) == 1):
        return Mean(fmean(values), stdev(values) if len(values) > 1 else None, len(values))
    return values[0] if len({repr(v) for v in values}) == 1 else "varies"


def render(rows: Sequence[Row], format: Format = "md", columns: Sequence[str] = ()) -> str:
    """The table of ``summarise(rows, columns)`` as text that ends in a newline.

    ``md`` and ``latex`` (booktabs) are for people: percent and dB, mean ± sd. ``csv`` and ``json``
    are for programs: unrounded, fractions as fractions, the sd in a field of its own.
    VidoorError for an unknown column or format, or if there are no rows.
    """
    writers = {"md": _markdown, "csv": _csv, "latex": _latex, "json": _json}
    if format not in writers:
        raise VidoorError(unknown("table format", format, writers))
    if not rows:
        raise VidoorError("no finished run to tabulate; a table needs one or more: run a recipe")
    return writers[format](summarise(rows, columns))


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
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


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
