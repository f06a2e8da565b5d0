"""The command `vidoor sweep`: killed, shared, on other engines, and short of everything."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from records import finished, records

PLUGIN = Path(__file__).parents[1] / "faulty_plugin"
SWEEP = """
name = "small"
[grid]
seeds = 2
trigger = [{ kind = "dft", rms = 4.0 }, { kind = "sample-corner" }]
poisoning.rate = [0.2, 0.4]
[data]
kind = "shapes"
train = 32
test = 16
frames = 4
size = [16, 16]
classes = 4
[trigger]
kind = "dft"
rms = 4.0
[victim]
kind = "r2plus1d"
width = 4
depth = [1]
[training]
epochs = 2
batch_size = 8
[detector.coherence]
[runtime]
device = "cpu"
"""
STAGES = 2 * 2 + 8 * 4
"""Data and a clean victim for each seed; attack, victim, verdict and record for each run."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="module")
def expected(recipe, vidoor_command, tmp_path_factory):
    """The records of an uninterrupted sweep, and where they are."""
    out = tmp_path_factory.mktemp("uninterrupted")
    done = vidoor_command("sweep", recipe, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), records(out), out


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command in the background."""
    plugins = os.pathsep.join([str(PLUGIN), str(PLUGIN.with_name("sample_plugin"))])
    return subprocess.Popen(
        [sys.executable, "-m", "vidoor", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": plugins, "COLUMNS": "200"},
        start_new_session=True,
    )


def wait_for(true, process: subprocess.Popen[str] | None = None, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_sweep_ends_with_its_table_and_again_is_a_no_op(expected, recipe, vidoor_command):
    document, found, out = expected
    assert document["complete"] == len(found) == 8
    assert document["failed"] == []
    assert len(document["table"]) == 4
    assert all(row["n"] == 2 for row in document["table"])
    assert len(finished(out)) == STAGES
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    begin = time.perf_counter()
    again = vidoor_command("sweep", recipe, "--out", out)
    assert time.perf_counter() - begin < 2
    assert "sample-corner" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_one_more_rate_makes_only_the_new_runs(expected, recipe, vidoor_command):
    _, found, out = expected
    before = finished(out)
    more = ("--set", "grid.poisoning.rate=[0.2, 0.3, 0.4]")
    foreseen = json.loads(
        vidoor_command("sweep", recipe, "--out", out, *more, "--dry-run", "--json").stdout
    )
    assert (len(foreseen["cells"]), foreseen["complete"], foreseen["missing"]) == (12, 8, 16)
    assert foreseen["unknown"] == 0
    assert foreseen["seconds"] > 0
    assert finished(out) == before
    done = vidoor_command("sweep", recipe, "--out", out, *more, "--json")
    assert json.loads(done.stdout)["complete"] == 12
    after = finished(out)
    assert len(after) == len(before) + 16
    assert before.items() <= after.items()
    assert found.items() <= records(out).items()


def test_killed_twenty_times_it_ends_like_an_uninterrupted_one(expected, recipe, tmp_path):
    """And nothing that was complete is ever made again."""
    _, found, _ = expected
    rng, complete = random.Random(0), {}
    for _ in range(20):
        process = start("sweep", recipe, "--out", tmp_path)
        before = len(complete)
        wait_for(lambda: len(finished(tmp_path)) > before, process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        now = finished(tmp_path)
        assert complete.items() <= now.items()
        complete = now
        if len(complete) > STAGES - 3:
            break
    else:
        assert len(complete) < STAGES
    done = start("sweep", recipe, "--out", tmp_path)
    _, errors = done.communicate()
    assert done.returncode == 0, errors
    after = finished(tmp_path)
    assert complete.items() <= after.items()
    assert len(after) == STAGES
    assert records(tmp_path) == found
    assert not list(tmp_path.rglob(".partial*"))


def test_two_processes_share_the_work_and_agree(expected, recipe, tmp_path):
    _, found, _ = expected
    pair = [start("sweep", recipe, "--out", tmp_path, "--json") for _ in range(2)]
    ended = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ended
    assert records(tmp_path) == found
    tables = [json.loads(out)["table"] for out, _ in ended]
    assert tables[0] == tables[1]
    # Each says what it made: together every stage, and each stage once.
    made = [line for _, errors in ended for line in errors.splitlines() if line.startswith("[")]
    assert len(made) == STAGES


def test_a_running_sweep_is_seen_from_another_terminal(recipe, vidoor_command, tmp_path):
    process = start("sweep", recipe, "--out", tmp_path, "--set", "training.epochs=400")
    try:
        wait_for(lambda: list(tmp_path.glob("stages/train-*/checkpoint.safetensors")), process)
        (seen,) = json.loads(vidoor_command("status", tmp_path, "--json").stdout)
        assert any(stage["stage"].startswith("train") for stage in seen["running"])
        assert {cell["state"] for cell in seen["cells"]} & {"running", "partly", "missing"}
        assert "0 of 8 runs complete" in vidoor_command("status", tmp_path).stdout
    finally:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "vidoor: interrupted; the same command continues"


def test_ray_gives_the_same_records_and_retries_a_worker_that_was_killed(
    expected, recipe, tmp_path
):
    pytest.importorskip("ray")
    _, found, _ = expected
    died = tmp_path / "died"
    faulty = ("--set", "detector.faulty.how=die once", "--set", f"detector.faulty.once={died}")
    process = start("sweep", recipe, "--out", tmp_path / "R", "--executor", "ray", *faulty)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert died.exists()
    ours = {record["seed"]: record for record, _ in records(tmp_path / "R").values()}
    assert len(records(tmp_path / "R")) == 8
    local = {
        (r["seed"], r["trigger"]["kind"], r["poisoning"]["rate"]): r for r, _ in found.values()
    }
    for record, _ in records(tmp_path / "R").values():
        other = local[record["seed"], record["trigger"]["kind"], record["poisoning"]["rate"]]
        for key in ("clean_acc", "acc", "asr", "psnr", "ssim", "victim", "curves", "environment"):
            assert record[key] == other[key], key
        coherence = other["detectors"]["coherence"]
        assert record["detectors"]["coherence"] == coherence
    assert ours


def test_ray_interrupted_goes_on(expected, recipe, tmp_path):
    pytest.importorskip("ray")
    _, found, _ = expected
    arguments = ("sweep", recipe, "--out", tmp_path, "--executor", "ray")
    process = start(*arguments)
    wait_for(lambda: len(finished(tmp_path)) > 3, process)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    before = finished(tmp_path)
    assert 3 < len(before) < STAGES
    again = start(*arguments)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert before.items() <= finished(tmp_path).items()
    assert records(tmp_path) == found


def test_slurm_jobs_give_the_same_records(expected, recipe, tmp_path):
    """Through submitit, which runs them as plain processes where there is no Slurm."""
    pytest.importorskip("submitit")
    _, found, _ = expected
    less = (
        "--set",
        "grid.seeds=1",
        "--set",
        "grid.trigger=[]",
        "--set",
        "grid.poisoning.rate=[0.2]",
    )
    less = (*less[:2], *less[4:])
    one = ("--set", "grid.trigger=[{kind='dft', rms=4.0}]")
    process = start("sweep", recipe, "--out", tmp_path, "--executor", "slurm", *less, *one)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    ours = records(tmp_path)
    assert len(ours) == 1
    assert ours.items() <= found.items()


@pytest.mark.parametrize(
    ("how", "status", "line"),
    [
        ("raise", 3, "RuntimeError: a detector with a fault"),
        ("lines", 3, "ValueError: one line and another"),
        ("exit", 3, "SystemExit: 0"),
        ("short", 2, "scores for"),
        ("nan", 2, "no numbers"),
        ("alien", 2, "ids are not those of the clips"),
        ("memory", 2, "out of memory (Unable to allocate"),
        ("die", 2, "ended from outside"),
    ],
)
def test_a_run_that_fails_leaves_the_others_done(recipe, tmp_path, how, status, line):
    arms = f"{{good={{detector.faulty.how='back'}}, bad={{detector.faulty.how='{how}'}}}}"
    arguments = (
        "sweep", recipe, "--out", tmp_path,
        "--set", "grid.seeds=1", "--set", "grid.poisoning.rate=[0.2]", "--set", f"grid.arms={arms}",
    )  # fmt: skip
    if how not in ("raise", "exit", "die"):  # nothing ends its process: one is enough
        arguments = (*arguments, "--executor", "here")
    process = start(*arguments)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == status, errors
    told = [text for text in errors.splitlines() if text.startswith("vidoor: ")]
    assert len(told) == 2
    assert all("bad" in text and line in text for text in told)
    assert len(out.strip().splitlines()) == 4  # head, rule, and the two runs of the good arm
    assert len(list(tmp_path.glob("*/error.json"))) == 2
    assert len(list(tmp_path.glob("*/result.json"))) == 2
    for path in tmp_path.glob("*/scores.npz"):  # the good arm tells its clips backwards
        assert np.load(path)["faulty.scores"].tolist() == list(range(32))
    assert not list(tmp_path.rglob(".partial*"))
    before = finished(tmp_path)
    again = start(*arguments)
    again.communicate(timeout=200)
    assert again.returncode == status
    assert before.items() <= finished(tmp_path).items()


def test_a_limit_on_memory_fails_what_asks_for_more(recipe, tmp_path):
    big = ("--set", "data.size=[256, 256]", "--set", "data.train=2000", "--set", "data.frames=8")
    one = ("--set", "grid.seeds=1", "--set", "grid.poisoning.rate=[0.2]")
    small = ("--set", "runtime.memory=4.0", "--set", "runtime.workers=1")
    process = start("sweep", recipe, "--out", tmp_path, *big, *one, *small)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2, errors
    assert "vidoor: " in errors


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system; skips where that is not allowed."""
    folders = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mount-{len(folders)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("no file system can be mounted here")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_gets_a_line_and_the_sweep_goes_on_with_room(
    expected, recipe, vidoor_command, mounted
):
    _, found, _ = expected
    out = mounted("size=1500k")
    arguments = ("sweep", recipe, "--out", out, "--json")
    done = vidoor_command(*arguments)
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.rglob(".partial*"))
    complete = finished(out)
    subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
    again = vidoor_command(*arguments)
    assert again.returncode == 0, again.stderr
    assert complete.items() <= finished(out).items()
    assert records(out) == found


def test_a_folder_that_cannot_be_written_gets_one_line(recipe, vidoor_command, mounted):
    out = mounted("ro")
    done = vidoor_command("sweep", recipe, "--out", out / "R")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Read-only file system" in done.stderr


def test_a_thousand_runs_are_foreseen_in_seconds(recipe, vidoor_command, tmp_path):
    rates = ", ".join(str(rate / 1000) for rate in range(100, 600))
    begin = time.perf_counter()
    done = vidoor_command(
        "sweep", recipe, "--out", tmp_path, "--dry-run", "--json",
        "--set", f"grid.poisoning.rate=[{rates}]", "--set", "grid.seeds=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - begin < 20  # 5 s on a machine that does nothing else
    assert len(json.loads(done.stdout)["cells"]) == 1000
    assert list(tmp_path.iterdir()) == []
