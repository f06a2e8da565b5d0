"""A sweep as a folder that is kept: the recipe, the command, the records, the table, a sentence.

A recipe says in ``[table]`` how its runs are laid out, and what they show::

    [table]
    rows = ["trigger.kind"]
    columns = ["poisoning.rate"]
    values = ["asr"]
    finding = "What one reads in the table, in a sentence."

and in ``[figure.NAME]`` tables which charts stand beside the table, see ``lines``.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from vidoor.errors import RecipeError, VidoorError
from vidoor.files import whole, write_text
from vidoor.options import as_table, build
from vidoor.report import published, tables
from vidoor.report.lines import figures, plot
from vidoor.report.pivot import Query
from vidoor.report.plot import Plot, png, svg
from vidoor.report.record import RECORDS, RESULT

FINDING = "finding"
NAMES = ("README.md", "recipe.toml", "table.md", "table.csv", RECORDS)
"""What the folder of a result holds, beside the figures that its recipe names."""

KINDS: Mapping[str, Callable[[Plot], bytes]] = {"svg": svg, "png": png}
"""Suffixes of a chart's files, and what draws them."""


def query(recipe: Mapping[str, Any]) -> Query:
    """How the ``[table]`` of a recipe document lays out its runs. RecipeError if it says it ill."""
    table = dict(as_table(recipe.get("table", {}), "table"))
    finding = table.pop(FINDING, "")
    if not isinstance(finding, str):
        raise RecipeError(f"table.{FINDING} must be a sentence, not {finding!r}")
    found: Query = build(Query, table, "table")
    if found.paper:
        published.lookup(found.paper)  # now, rather than after all runs
    return found


def save(folder: Path, recipe: Mapping[str, Any], runs: Sequence[Path]) -> None:
    """Write a result: README.md, recipe.toml, table.md, table.csv and records/<run>.json.

    The same sweep may be saved again; records that it no longer has are removed. VidoorError if
    the folder holds anything that is no part of a result, or cannot be written to.
    """
    try:
        check(folder, recipe)
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        for name, text in _contents(recipe, runs).items():
            write_text(folder / name, text)
        for name, picture in _pictures(recipe, runs).items():
            with whole(folder / name) as partial:
                partial.write_bytes(picture)
        kept = {f"{run.name}.json" for run in runs}
        for path in (folder / RECORDS).glob("*.json"):
            if path.name not in kept:
                path.unlink()
    except OSError as error:
        raise VidoorError(f"{folder} cannot be written ({error.strerror or error})") from error


def check(folder: Path, recipe: Mapping[str, Any] | None = None) -> None:
    """VidoorError if the folder holds what is no part of a result; hidden files do not count."""
    known = {*NAMES, *(f"{name}.{kind}" for name in figures(recipe or {}) for kind in KINDS)}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and not folder.is_dir():
        raise VidoorError(f"{folder} is a file; give a folder for the result")
    if strange := sorted(name for name in found - known if not name.startswith(".")):
        raise VidoorError(
            f"{folder} holds {strange[0]}, which is no part of a result; give another folder"
        )


def _contents(recipe: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, str]:
    """The files of a result by their names."""
    records = [tables.read(run) for run in runs]
    flat, layout = tables.flatten(records), query(recipe)
    # Where it ran is no part of a result.
    settled = {key: value for key, value in recipe.items() if key != "runtime"}
    table = tables.render(flat, "md", layout)
    return {
        **{f"{RECORDS}/{run.name}.json": tables.read_text(run / RESULT) for run in runs},
        "recipe.toml": tomli_w.dumps(settled),
        "table.md": table,
        "table.csv": tables.render(flat, "csv", layout),
        "README.md": _readme(recipe, records, table),
    }


def _pictures(recipe: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, bytes]:
    """The charts by the names of their files."""
    if not (asked := figures(recipe)):
        return {}
    flat = tables.flatten(map(tables.read, runs))
    plots = {name: plot(flat, figure) for name, figure in asked.items()}
    return {f"{name}.{kind}": draw(plots[name]) for name in plots for kind, draw in KINDS.items()}


def _readme(recipe: Mapping[str, Any], records: Sequence[tables.Record], table: str) -> str:
    finding = (recipe.get("table") or {}).get(FINDING, "")
    work = sum(record["seconds"]["total"] for record in records)
    where = sorted({_environment(record["environment"]) for record in records})
    parts = [
        f"# {recipe.get('name', 'run')}",
        recipe.get("note", ""),
        finding,
        "    vidoor sweep recipe.toml --out RUNS --save RESULT",
        table.rstrip("\n"),
        *(f"![{figure.title}]({name}.png)" for name, figure in figures(recipe).items()),
        f"{len(records)} runs, {work / 60:.0f} minutes of work (stages that runs share counted for "
        f"each), on {'; '.join(where)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _environment(environment: Mapping[str, Any]) -> str:
    where = environment.get("gpu") or environment.get("cpu")
    versions = ", ".join(f"{name} {environment.get(name)}" for name in ("vidoor", "torch"))
    return f"{where} ({versions})"
