"""Stages in processes of their own: what comes back, and nobody left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vidoor.bench.engines import _quietly
from vidoor.bench.executors import executor, gpus
from vidoor.bench.plan import plan
from vidoor.data.ahead import ahead
from vidoor.errors import RecipeError
from vidoor.recipe import Runtime


@pytest.fixture
def data(tiny, tmp_path):
    """The data stage of a tiny recipe, and where it runs."""
    (cell,) = plan(tiny("runtime.executor=local"), tmp_path)
    return cell.stage.needs["data"], cell.recipe.runtime


def ended(handle):
    deadline = time.monotonic() + 60
    while not handle.done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return handle.result()


def test_a_stage_is_made_in_another_process_and_found_the_second_time(data, tmp_path):
    stage, runtime = data
    with executor(replace(runtime, workers=1)) as engine:
        assert engine.free() == 1
        handle = engine.submit(stage)
        assert engine.free() == 0
        assert ended(handle).status == "made"
        assert engine.free() == 1
        assert ended(engine.submit(stage)).status == "found"
    assert (tmp_path / stage.folder / "done.json").exists()


def test_a_stage_that_another_process_is_at_is_left_to_it(data, tmp_path):
    from vidoor.bench import store

    stage, runtime = data
    folder = tmp_path / stage.folder
    folder.mkdir(parents=True)
    with store.locked(folder) as ours, executor(replace(runtime, workers=1)) as engine:
        assert ours
        assert ended(engine.submit(stage)).status == "busy"


def test_a_process_that_dies_costs_its_stage_alone(data):
    stage, runtime = data
    with executor(replace(runtime, workers=2)) as engine:
        first = engine.submit(stage)
        (pid,) = engine.workers[0].pool._processes
        os.kill(pid, signal.SIGKILL)
        outcome = ended(first)
        assert outcome.status == "failed"
        assert "ended from outside" in outcome.problem
        assert "\n" not in outcome.problem
        assert engine.free() == 2
        assert ended(engine.submit(stage)).status == "made"


def test_no_process_outlives_the_block_or_a_killed_caller(data, tmp_path):
    stage, runtime = data
    with executor(replace(runtime, workers=1)) as engine:
        engine.submit(stage)
        (pid,) = engine.workers[0].pool._processes
    assert not running(pid)
    script = tmp_path / "caller.py"
    script.write_text(
        "import os, sys, time\nfrom pathlib import Path\n"
        "from vidoor.bench.executors import _Worker, _local\n"
        "from vidoor.recipe import Runtime\n"
        "if __name__ == '__main__':\n"
        "    with _local(Runtime(workers=1), True) as engine:\n"
        "        worker = engine.workers[0]\n"
        "        worker.start().submit(time.sleep, 300)\n"
        "        (pid,) = worker.pool._processes\n"
        f"        Path({str(tmp_path / 'pid')!r}).write_text(str(pid))\n"
        "        time.sleep(300)\n"
    )
    caller = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(3)  # for the child to have come up
    child = int((tmp_path / "pid").read_text())
    caller.kill()
    caller.wait()
    while running(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize(
    ("count", "share", "workers", "expected"),
    [
        (0, 1.0, 3, [None, None, None]),
        (2, 1.0, 8, [0, 1]),
        (2, 0.5, 8, [0, 1, 0, 1]),
        (2, 0.5, 3, [0, 1, 0]),
        (4, 1.0, 2, [0, 1]),
        (1, 2.0, 2, [0]),
    ],
)
def test_each_worker_has_its_gpu(monkeypatch, count, share, workers, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert list(gpus(Runtime(gpus=share, workers=workers))) == expected
    assert list(gpus(Runtime(gpus=share, workers=workers, device="cpu"))) == [None] * workers


def test_an_executor_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with (
        pytest.raises(RecipeError, match=r"pip install 'vidoor\[submitit\]'"),
        executor(Runtime(executor="slurm")),
    ):
        pass


@pytest.mark.parametrize(("cores", "ahead_of_time"), [(1, False), (2, True)])
def test_a_ray_worker_with_one_core_reads_no_clip_ahead(cores, ahead_of_time):
    def readers(part):
        found = []

        def read(index):
            found.append(threading.current_thread())
            return torch.tensor(index)

        assert [int(clip) for clip in ahead(read, part)] == [*part]
        return set(found)

    found = _quietly(readers, range(4), cores)
    assert (found != {threading.current_thread()}) is ahead_of_time
