"""Runs that a result folder has already, taken over by a sweep that asks for them.

A result (see ``report.saved``) holds the record of every run under its id, and an id tells all that
a run depends on. So a sweep that is saved there goes on where another one ended, on whatever
machine that was: what it takes over is the record and its page, not the stages behind it.
"""

from collections.abc import Sequence
from pathlib import Path

from vidoor.bench import store
from vidoor.bench.evaluate import RECIPE
from vidoor.bench.plan import Cell
from vidoor.errors import VidoorError
from vidoor.files import write_text
from vidoor.progress import say
from vidoor.recipe import dumps
from vidoor.report import tables
from vidoor.report.page import write_page
from vidoor.report.saved import RECORDS


def known(result: Path, runs: Sequence[str]) -> set[str]:
    """Which of the runs a result folder has. VidoorError if a record of one is damaged."""
    return {run for run in runs if (path := _path(result, run)).is_file() and _checked(path, run)}


def adopt(result: Path, cells: Sequence[Cell], out: Path) -> None:
    """Make complete folders of runs below ``out`` from the records of a result folder."""
    missing = {cell.stage.folder: cell for cell in cells if not store.done(out / cell.stage.folder)}
    found = known(result, list(missing))
    for run in sorted(found):
        folder = out / run
        folder.mkdir(parents=True, exist_ok=True)
        with store.locked(folder) as ours:
            if not ours:  # the sweep finds out what the other process makes of it
                continue
            store.tidy(folder)
            (folder / store.ERROR).unlink(missing_ok=True)
            write_text(folder / RECIPE, dumps(missing[run].recipe))
            write_text(folder / store.RESULT, tables.read_text(_path(result, run)))
            write_page(folder)
            store.finish(folder, {}, adopted=str(result))
    if found:
        say(f"taken over from {result}: {len(found)} runs")


def _path(result: Path, run: str) -> Path:
    return result / RECORDS / f"{run}.json"


def _checked(path: Path, run: str) -> bool:
    told = tables.record(path).get("run_id")
    if told != run:
        raise VidoorError(f"{path} is the record of run {told!a:.40}; remove it, or run it again")
    return True
