"""The command in processes of its own that need not load everything anew."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

LOADED = ["torch._dynamo", "vidoor.cli", "vidoor.audit.command", "vidoor.bench.sweep"]
FORKS = sys.platform == "linux"  # elsewhere frameworks do not bear it, or nothing forks


def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None
) -> subprocess.CompletedProcess[str]:
    """``python -m vidoor`` with these arguments, in ``folder``."""
    if not FORKS:
        command = [sys.executable, "-m", "vidoor", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=environment, check=False
        )
    processes = get_context("forkserver")
    processes.set_forkserver_preload(LOADED)
    with TemporaryDirectory() as place:
        told = [Path(place, "stdout"), Path(place, "stderr")]
        for path in told:
            path.touch()
        process = processes.Process(target=_perform, args=(arguments, environment, folder, told))
        process.start()
        try:
            process.join()
        finally:
            process.kill()
            process.join()
        texts = [path.read_text() for path in told]
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _perform(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None,
    told: Sequence[Path],
) -> None:
    for stream, path in enumerate(told, start=1):
        os.dup2(os.open(path, os.O_WRONLY), stream)
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    sys.argv = ["vidoor", *arguments]
    runpy.run_module("vidoor", run_name="__main__", alter_sys=True)
