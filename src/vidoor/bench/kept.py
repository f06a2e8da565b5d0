"""Runs that a result folder has already, taken over by a sweep that asks for them.

A result (see ``report.saved``) holds the record of every run under its id, which tells what the run
depends on (options, data, revisions). So a sweep that is saved there goes on where another one
ended, on whatever machine: it takes over the record and draws the page, without the stages behind.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from vidoor.bench import store
from vidoor.bench.engines import PAUSE
from vidoor.bench.evaluate import RECIPE
from vidoor.bench.plan import Cell
from vidoor.errors import DataError, VidoorError
from vidoor.files import write_text
from vidoor.progress import say
from vidoor.recipe import Recipe, dumps
from vidoor.report import tables
from vidoor.report.page import write_page
from vidoor.report.record import RECORDS, RESULT


def known(result: Path, runs: Sequence[str]) -> set[str]:
    """Which of the runs a result folder has. VidoorError if a record of one is damaged."""
    return {run for run in runs if (path := _path(result, run)).is_file() and _checked(path, run)}


def adopt(result: Path, cells: Sequence[Cell], out: Path) -> None:
    """Make complete folders of runs below ``out`` from the records of a result folder. VidoorError
    if a record is damaged, or a folder cannot be written."""
    recipes = {cell.stage.folder: cell.recipe for cell in cells}
    missing = [run for run in recipes if not store.done(out / run)]
    for run in sorted(found := known(result, missing)):
        try:
            _take(_path(result, run), recipes[run], out / run)
        except OSError as error:
            why = f"{out / run} cannot be written ({error.strerror or error})"
            raise DataError(f"{why}; make room, or give another folder with --out") from None
    if found:
        say(f"taken over from {result}: {len(found)} runs")


def _take(record: Path, recipe: Recipe, folder: Path) -> None:
    """The folder of one run. Another process may be at it, and may do the same: then it does."""
    folder.mkdir(parents=True, exist_ok=True)
    while not store.done(folder):
        with store.locked(folder) as ours:
            if ours and not store.done(folder):
                store.tidy(folder)
                (folder / store.ERROR).unlink(missing_ok=True)
                write_text(folder / RECIPE, dumps(recipe))
                write_text(folder / RESULT, tables.read_text(record))
                write_page(folder)
                store.finish(folder, {}, adopted=str(record))
        if not ours:
            time.sleep(PAUSE)


def _path(result: Path, run: str) -> Path:
    return result / RECORDS / f"{run}.json"


def _checked(path: Path, run: str) -> bool:
    told = tables.record(path).get("run_id")
    if told != run:
        raise VidoorError(f"{path} is the record of run {told!a:.40}; remove it, or run it again")
    return True
