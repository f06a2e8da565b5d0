"""From run folders to flat runs, and from these to the text of a table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from vidoor import SCHEMA
from vidoor.errors import VidoorError, unknown
from vidoor.report import record as form
from vidoor.report.layout import WRITERS
from vidoor.report.layout import Format as Format
from vidoor.report.pivot import ALL, tabulate
from vidoor.report.pivot import Query as Query
from vidoor.report.runs import Run

Record: TypeAlias = dict[str, Any]
"""``result.json`` of one run."""


def read(run_dir: Path) -> Record:
    """The record of one finished run; VidoorError if there is none, or as ``record`` says."""
    path = run_dir / form.RESULT
    if not path.exists():
        raise VidoorError(f"{run_dir} has no result.json; a finished run has: let the run finish")
    return record(path)


def record(path: Path) -> Record:
    """A record; VidoorError if it is damaged or not of this schema."""
    content = read_json(path)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA or isinstance(schema, bool):
        known = f"this vidoor reads schema {SCHEMA}: run the recipe again"
        raise VidoorError(f"{path} has schema {schema!a:.40}; {known}")
    form.check(content, path)
    return dict(content)


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


def load(runs: Path) -> list[Record]:
    """The records of one run folder, of every finished run in a folder of them, by folder name, or
    of a sweep that was saved.

    Unfinished runs (without ``result.json``) are skipped. VidoorError if ``runs`` is no folder.
    """
    if not runs.is_dir():
        raise VidoorError(f"{runs} is no folder; give a run's folder or the folder of the runs")
    if (runs / form.RESULT).is_file():
        return [read(runs)]
    if (runs / form.RECORDS).is_dir():
        return [record(path) for path in sorted((runs / form.RECORDS).glob("*.json"))]
    return [read(path.parent) for path in sorted(runs.glob("*/result.json"))]


def flatten(records: Iterable[Record]) -> list[Run]:
    """One flat run each. A recipe's lists become text, a result's are left out, but for the curves
    of the poisoned victim: ``epochs.3.asr``."""
    return [dict(_leaves({**record, "epochs": _epochs(record)})) for record in records]


def _epochs(record: Record) -> dict[str, Any]:
    curve = (record.get("curves") or {}).get("poisoned") or []
    return {str(point["epoch"]): point for point in curve}


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        field = f'{prefix}"{key}"' if "." in key else f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{field}.")
        elif not isinstance(value, list):
            yield field, value
        elif prefix.startswith("recipe."):
            yield field, str(value)


def render(runs: Sequence[Run], format: Format = "md", query: Query = ALL) -> str:
    """The table that ``query`` asks for as text that ends in a newline.

    ``md`` and ``latex`` (booktabs) are for people: percent and dB, mean ± sd, and a – where no run
    is; n is told where it is not that of the table's head. ``csv`` and ``json`` are for programs:
    unrounded, fractions as fractions, the sd in a field of its own, nothing or null where no run
    is; ``asr_sd[poisoning.rate=0.1]`` belongs to the runs of that rate.
    VidoorError for an unknown format, if there are no runs, or as ``pivot.summarise`` says.
    """
    if format not in WRITERS:
        raise VidoorError(unknown("table format", format, WRITERS))
    if not runs:
        raise VidoorError(
            "no finished run to tabulate: there is no result.json, and nothing was saved here; run "
            "a recipe"
        )
    text = WRITERS[format](tabulate(runs, query))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # no lone surrogate goes out
