"""One stage: found complete, left to another process, or made here. Errors become outcomes."""

import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from vidoor.bench import clips, detected, evaluate, mitigated, probed, store, trained
from vidoor.bench.environment import environment
from vidoor.bench.stages import Stage
from vidoor.bench.work import Work
from vidoor.document import digest
from vidoor.errors import VidoorError
from vidoor.files import make_folder
from vidoor.meter import metered
from vidoor.recipe import Runtime

MAKERS: Mapping[str, Callable[[Work], None]] = {
    "data": clips.read,
    "poison": clips.poison,
    "train": trained.train,
    "mitigate": mitigated.mitigate,
    "activations": detected.activate,
    "detect": detected.detect,
    "probe": probed.probe,
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
        return _failed(str(error))
    except OSError as error:
        where = error.filename or runtime.out / stage.folder
        return _failed(f"{where}: {error.strerror or error}")
    except MemoryError as error:
        return _short_of_memory(error)
    except (Exception, SystemExit) as error:  # of vidoor's or of a plug-in's making
        if _wants_memory(error):
            return _short_of_memory(error)
        if "os error" in str(error):  # what safetensors makes of an OSError
            return _failed(f"{runtime.out / stage.folder}: {error}")
        return _failed(f"{type(error).__name__}: {error}", traceback.format_exc())


def _failed(problem: str, details: str = "") -> Outcome:
    return Outcome("failed", problem=" ".join(problem.split()), details=details)


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
    _seed(stage)
    with metered() as meter:
        MAKERS[stage.kind](Work(stage.parts, needs, folder, runtime))
    about = {"label": stage.label, "like": stage.like, "environment": environment(runtime.device)}
    store.finish(folder, asdict(meter.cost), **about)
    for leftover in (store.ERROR, store.CHECKPOINT):
        (folder / leftover).unlink(missing_ok=True)
    return Outcome("made", meter.cost.seconds)


def _seed(stage: Stage) -> None:
    """Let a method that draws from global generators, as none should, do it alike every time."""
    seed = int(digest(stage.folder), 16)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def _wants_memory(error: BaseException) -> bool:
    """Does torch say, in one of its ways, that memory ran out?"""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _short_of_memory(error: BaseException) -> Outcome:
    detail = (str(error).splitlines() or [""])[0][:200]
    advice = "lower the batch size, the clips' size or runtime.workers, or raise runtime.memory"
    return _failed(f"out of memory ({detail or 'no details'}); {advice}")
