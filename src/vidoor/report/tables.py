"""From run folders to tidy rows, and from rows to a table: mean ± sd over seeds.

Runs are averaged only when everything but the seed agrees: the name, the whole recipe, the kind of
every part and the definition of ASR. ``sd`` is the sample standard deviation (n − 1) over seeds.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

from vidoor import SCHEMA
from vidoor.errors import VidoorError, unknown
from vidoor.report import record as form
from vidoor.report.layout import WRITERS, Mean
from vidoor.report.layout import Format as Format
from vidoor.report.layout import Row as Row

Record: TypeAlias = dict[str, Any]
"""``result.json`` of one run, with its recipe under ``recipe``."""

SETTINGS = (
    "name", "recipe.", "data.", "trigger.", "poisoning.", "victim.", "training.", "detector.",
)  # fmt: skip
"""Fields that say what was run; a number elsewhere is a measurement and gets a mean and an sd."""

MEASURES = ("clean_acc", "acc", "asr", "flagged.tpr", "flagged.fpr", "psnr", "ssim")


def read(run_dir: Path) -> Record:
    """The record of one finished run; VidoorError if there is none, or it is damaged or not of
    this schema."""
    path = run_dir / "result.json"
    if not path.exists():
        raise VidoorError(f"{run_dir} has no result.json; a finished run has: let the run finish")
    record = read_json(path)
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA or isinstance(schema, bool):
        known = f"this vidoor reads schema {SCHEMA}: run the recipe again"
        raise VidoorError(f"{path} has schema {schema!a:.40}; {known}")
    form.check(record, path)
    return {**record, "recipe": _recipe(run_dir / "recipe.toml")}


def read_json(path: Path) -> Any:
    """The content of a JSON file; VidoorError if it cannot be read or is not JSON."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise VidoorError(f"{path} is not JSON ({error}); run its recipe again") from error


def read_text(path: Path) -> str:
    """The content of a UTF-8 file; names that are not UTF-8 become lone surrogates, as in paths.

    VidoorError if the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise VidoorError(f"{path} cannot be read ({error.strerror}); mend or remove it") from error


def _recipe(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path)) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        why = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
        raise VidoorError(f"{path} is not TOML ({why}); restore the recipe of the run") from error


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


def summarise(rows: Sequence[Row], columns: Sequence[str] = ()) -> list[Row]:
    """One row per setting: its ``columns`` (settings as they are, measurements as Mean) and n.

    ``columns`` are dotted fields; a field of the recipe needs no ``recipe.`` in front. By default
    they are the name, every recipe field that differs between rows, and the measurements there are.
    Copies of a run count once; VidoorError if two runs differ in nothing, not even in the seed.
    """
    columns = columns or _default_columns(rows)
    known = {field.removeprefix("recipe.") for row in rows for field in row}
    for column in columns:
        if column.removeprefix("recipe.") not in known:
            raise VidoorError(unknown("column", column, sorted(known)))
    groups: dict[tuple[Any, ...], dict[Any, Row]] = {}
    for row in rows:
        first = groups.setdefault(_identity(row), {}).setdefault(row.get("seed"), row)
        if _run(first) != _run(row):
            raise VidoorError(
                f"runs {_run(first)!a:.60} and {_run(row)!a:.60} have the same settings and the "
                f"same seed {row.get('seed')}; keep one of them in this folder"
            )
    return [
        {column: _cell(column, list(seeds.values())) for column in columns} | {"n": len(seeds)}
        for seeds in groups.values()
    ]


def _run(row: Row) -> str:
    return str(row.get("run_id") or sorted(row.items(), key=repr))


def _is_setting(field: str) -> bool:
    # A method's own seed is a setting; where the clips lie is none, they are told by data.content.
    if field.startswith("recipe."):
        chance_or_place = field in ("recipe.seed", "recipe.data.root")
        return not chance_or_place and not field.startswith("recipe.runtime.")
    return field in ("name", "asr_variant", "data.content") or field.endswith(".kind")


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
    if all(map(_is_number, values)) and not (column.startswith(SETTINGS) and len(set(values)) == 1):
        return Mean(fmean(values), stdev(values) if len(values) > 1 else None, len(values))
    return values[0] if len({repr(v) for v in values}) == 1 else "varies"


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= form.LARGEST


def render(rows: Sequence[Row], format: Format = "md", columns: Sequence[str] = ()) -> str:
    """The table of ``summarise(rows, columns)`` as text that ends in a newline.

    ``md`` and ``latex`` (booktabs) are for people: percent and dB, mean ± sd. ``csv`` and ``json``
    are for programs: unrounded, fractions as fractions, the sd in a field of its own.
    VidoorError for an unknown column or format, or if there are no rows.
    """
    if format not in WRITERS:
        raise VidoorError(unknown("table format", format, WRITERS))
    if not rows:
        raise VidoorError("no finished run to tabulate; a table needs one or more: run a recipe")
    text = WRITERS[format](summarise(rows, columns))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # no lone surrogate goes out
