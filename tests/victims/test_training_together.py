"""Several processes train one victim: what one process would, or a clear end."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import train_child
from safetensors.numpy import load_file
from train_child import CLIPS

from vidoor.victims.company import company, first, summon

CHILD = Path(__file__).with_name("train_child.py")
OPTIONS = {"epochs": 4, "batch_size": 8, "lr": 1e-2, "optimizer": "sgd"}
"""41 clips in batches of 8: 24 steps, and the last batch of each epoch is one clip: one of two
processes has no share in it, and passes that clip all the same."""


def launch(folder, processes, **options):
    """All processes, as a launcher would start them; their exit codes and what they said."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    sizes = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    asked = json.dumps({**OPTIONS, **options, "together": True})
    started = [
        subprocess.Popen(
            [sys.executable, CHILD, folder, asked],
            env={**os.environ, **world, **sizes, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    return [process.returncode for process in started], said


def alone(folder, **options):
    folder.mkdir(exist_ok=True, parents=True)
    train_child.main(folder, **{**OPTIONS, **options})


def assert_alike(folder, other):
    a, b = (load_file(f / "weights.safetensors") for f in (folder, other))
    assert max(abs(a[name] - b[name]).max() for name in a) < 1e-4
    (curve, forward), (history, passes) = (
        json.loads((f / "history.json").read_text()) for f in (folder, other)
    )
    for at, same in zip(curve, history, strict=True):
        assert at == pytest.approx(same, abs=1e-4)
    assert forward == 4 * CLIPS
    assert passes == forward + 4


def test_processes_of_torchrun_train_what_one_does_and_join_the_first(tmp_path):
    tasks = [
        {**OPTIONS, "name": "sgd"},
        {**OPTIONS, "name": "adamw", "optimizer": "adamw", "lr": 1e-3, "accumulate": 2, "seed": 2},
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         CHILD, tmp_path, json.dumps(tasks)],
        check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.stderr.count("epoch 4, loss") == 2  # one of them speaks
    assert [ended.stderr.count(word) for word in ("first\n", "done\n")] == [1, 1]
    for task in tasks:
        name = task.pop("name")
        alone(tmp_path / "one" / name, **task)
        assert_alike(tmp_path / "one" / name, tmp_path / name)


def test_where_one_process_is_killed_the_other_ends_and_both_go_on(tmp_path):
    alone(tmp_path / "one")
    codes, said = launch(tmp_path / "two", 2, die=[1, 70])
    assert codes == [2, -9]
    assert "another process of this training is gone" in said[0]
    assert "Traceback" not in said[0]
    codes, said = launch(tmp_path / "two", 2)
    assert codes == [0, 0], said
    assert "goes on after epoch" in said[0]
    assert_alike(tmp_path / "one", tmp_path / "two")


def test_where_one_process_cannot_go_on_no_other_waits_for_it(tmp_path):
    codes, said = launch(tmp_path, 2, damaged=[0, 50])
    assert codes == [2, 2]
    assert "is damaged" in said[0]
    assert "another process of this training is gone" in said[1]


def test_without_a_launcher_one_process_does_it_all():
    with company("cpu", pytest.fail) as working:
        assert working
        summon("nobody")
    assert first()


def test_a_loss_that_is_no_number_in_one_process_ends_all(tmp_path):
    codes, said = launch(tmp_path, 2, nan=1)
    assert codes == [2, 2]
    assert all("the loss is no longer finite; lower training.lr" in line for line in said)


def test_processes_that_find_different_checkpoints_are_refused(tmp_path):
    alone(tmp_path)
    codes, said = launch(tmp_path, 2, elsewhere=1)
    assert codes == [2, 2]
    assert all("do not find the same checkpoint" in line for line in said)
