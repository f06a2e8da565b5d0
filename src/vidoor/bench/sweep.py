"""Many runs as one job: the stages that are missing, each made once, in the order of their needs.

Two processes, on one machine or on two, may work on the same sweep: a stage that another one is at
is left to it and looked for again. A stage that fails takes the runs that need it, and no others.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from vidoor import SCHEMA
from vidoor.bench import store
from vidoor.bench.board import Board, Failure
from vidoor.bench.engines import Executor, Handle
from vidoor.bench.evaluate import finished
from vidoor.bench.executors import executor
from vidoor.bench.make import Outcome
from vidoor.bench.plan import Cell
from vidoor.bench.stages import Stage
from vidoor.files import make_folder
from vidoor.progress import say, steps


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep came to: folders of complete runs and failures, each in the order of the cells,
    and how many stages were made here."""

    folders: tuple[Path, ...]
    failures: tuple[Failure, ...]
    made: int


def sweep(cells: Sequence[Cell]) -> Swept:
    """Make what the cells lack. They are of one document, hence of one runtime.

    DataError if the output folder cannot be written to.
    """
    runtime = cells[0].recipe.runtime
    board, made = Board(cells, runtime.out), 0
    if board.waiting:
        make_folder(runtime.out)
        quiet = len(cells) > 1
        for cell in board.live.values():  # what failed before is tried again
            (runtime.out / cell.stage.folder / store.ERROR).unlink(missing_ok=True)
        # Of a single run the stages themselves tell how far they are.
        shown = steps("stages", len(board.waiting)) if quiet else nullcontext(lambda *_: None)
        with executor(runtime, quiet=quiet) as engine, shown as tell:
            made = _work(board, engine, tell)
    complete = [cell.stage.folder for cell in cells if cell.stage.folder not in board.failed]
    folders = tuple(runtime.out / name for name in dict.fromkeys(complete))
    for folder in folders:
        finished(folder)
    failed = [board.failed.get(cell.stage.folder) for cell in cells]
    return Swept(folders, tuple(failure for failure in failed if failure), made)


def _work(board: Board, engine: Executor, tell: Callable[[str, int], None]) -> int:
    """Hand over stages until none is left to be made; how many were made."""
    running: list[tuple[Stage, Handle]] = []
    made = 0
    while board.waiting:
        running += [(stage, engine.submit(stage)) for stage in board.take(engine.free())]
        looked = [(*pair, pair[1].done()) for pair in running]
        running = [(stage, handle) for stage, handle, done in looked if not done]
        ended = [(stage, handle) for stage, handle, done in looked if done]
        for stage, handle in ended:
            outcome = handle.result()
            made += outcome.status == "made"
            if stage.folder in board.waiting:  # else nobody wants it any more
                _settle(board, stage, outcome, tell)
        if not ended:
            time.sleep(engine.pause)
    return made


def _settle(board: Board, stage: Stage, outcome: Outcome, tell: Callable[[str, int], None]) -> None:
    what, before = board.describe(stage), len(board.waiting)
    if outcome.status in ("made", "found") and not store.done(board.out / stage.folder):
        where = f"{board.out} is not the folder that the worker wrote to; give one that all see"
        outcome = Outcome("failed", problem=where)
    if outcome.status == "busy":
        board.postpone(stage.folder)
    elif outcome.status == "failed":
        failures = board.fail(stage.folder, outcome)
        for failure in failures:
            _write_error(board.out / failure.cell.stage.folder, failure)
        say(f"FAILED: {what}: {outcome.problem} ({len(failures)} of the runs need it)")
        tell("", before - len(board.waiting))
    else:
        board.complete(stage.folder)
        tell(f"{what}: {outcome.seconds:.1f} s" if outcome.status == "made" else "", 1)


def _write_error(folder: Path, failure: Failure) -> None:
    """Why a run is missing, where it would be; as far as the disk can hold it."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "schema": SCHEMA,
            "run_id": folder.name,
            "label": failure.cell.label,
            "stage": failure.stage,
            "problem": failure.outcome.problem,
            "details": failure.outcome.details,
        }
        store.write_json(folder / store.ERROR, document)
