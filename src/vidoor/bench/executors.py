"""Where work runs: here, or in processes of its own side by side.

A small network gains nothing from a second thread, and two of them gain everything from a second
process: a victim on one thread each is the fastest way to use the cores, and the number of cores
then changes no result.
"""

import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from vidoor import progress
from vidoor.errors import TrainingError, VidoorError


def apart(function: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> None:
    """Call ``function`` once for each of ``calls``, each in a fresh process, all at once.

    ``function`` and arguments must pickle. What a VidoorError of one says is raised here again as a
    TrainingError, once all have ended; so is an end from outside. No process outlives the caller.
    """
    context = get_context("spawn")  # a forked copy of a process with threads may hang
    running = []
    try:
        for call in calls:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(sender, function, call), daemon=True)
            process.start()
            sender.close()
            running.append((process, receiver))
        outcomes = [_outcome(process, receiver) for process, receiver in running]
    finally:
        for process, receiver in running:
            process.kill()
            process.join()
            receiver.close()
    for problem in outcomes:
        if problem is not None:
            raise problem


def _work(sender: Connection, function: Callable[..., None], call: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides, and ends us
    Thread(target=_end_with_parent, daemon=True).start()
    progress.plain()
    try:
        function(*call)
    except VidoorError as error:
        sender.send(str(error))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _outcome(process: Any, receiver: Connection) -> VidoorError | None:
    process.join()
    if receiver.poll():
        try:
            return TrainingError(receiver.recv())
        except EOFError:
            pass
    if process.exitcode == 0:
        return None
    if process.exitcode < 0:
        return TrainingError(
            f"a training process was ended from outside (signal {-process.exitcode}), often for "
            "want of memory; the same command continues, and runtime.workers=1 needs less"
        )
    raise RuntimeError("a training process failed; its traceback is above")
