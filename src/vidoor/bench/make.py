"""One stage: found complete, left to another process, or made here. Errors become outcomes."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import torch

from vidoor.bench import clips, evaluate, store, trained, verdicts
from vidoor.bench.stages import Stage
from vidoor.bench.work import Work
from vidoor.errors import VidoorError
from vidoor.files import make_folder
from vidoor.meter import metered
from vidoor.recipe import Runtime

KINDS: Mapping[str, Callable[[Work], None]] = {
    "data": clips.read,
    "poison": clips.poison,
    "train": trained.train,
    "mitigate": trained.mitigate,
    "detect": verdicts.detect,
    "run": evaluate.run,
}
"""What makes a stage of each kind."""

Status: TypeAlias = Literal["made", "found", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stage. ``problem`` is one line; ``details`` a traceback where vidoor or a
    plug-in is at fault, empty where the user can mend it."""

    status: Status
    seconds: float = 0.0
    problem: str = ""
    details: str = ""


def make(stage: Stage, runtime: Runtime) -> Outcome:
    """Make ``stage``, whose needs are complete. ``busy`` if another process is at it."""
    try:
        return _make(stage, runtime)
    except VidoorError as error:
        return Outcome("failed", problem=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Outcome("failed", problem=f"{where}{error.strerror or error}")
    except MemoryError as error:
        return _short_of_memory(error)
    except Exception as error:  # of vidoor's or of a plug-in's making
        if _wants_memory(error):
            return _short_of_memory(error)
        if "os error" in str(error):  # what safetensors makes of an OSError
            return Outcome("failed", problem=str(error))
        problem = f"{type(error).__name__}: {error}"
        return Outcome("failed", problem=problem, details=traceback.format_exc())


def _make(stage: Stage, runtime: Runtime) -> Outcome:
    folder = runtime.out / stage.folder
    if not store.done(folder):
        make_folder(folder)
        with store.locked(folder) as ours:
            if not ours:
                return Outcome("busy")
            if not store.done(folder):
                return _work(stage, runtime)
    return Outcome("found")


def _work(stage: Stage, runtime: Runtime) -> Outcome:
    folder = runtime.out / stage.folder
    store.tidy(folder)
    needs = {name: runtime.out / need.folder for name, need in stage.needs.items()}
    torch.set_num_threads(runtime.threads)
    with metered() as meter:
        KINDS[stage.kind](Work(stage.parts, needs, folder, runtime))
    store.finish(folder, asdict(meter.cost), label=stage.label, like=stage.like)
    (folder / store.ERROR).unlink(missing_ok=True)
    return Outcome("made", meter.cost.seconds)


def _wants_memory(error: Exception) -> bool:
    """Does torch say, in one of its ways, that memory ran out?"""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _short_of_memory(error: BaseException) -> Outcome:
    detail = (str(error).splitlines() or [""])[0][:200]
    advice = "lower the batch size, the clips' size or runtime.workers, or raise runtime.memory"
    return Outcome("failed", problem=f"out of memory ({detail or 'no details'}); {advice}")
