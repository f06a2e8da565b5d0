"""``vidoor audit`` as a user meets it: exit statuses, one document on stdout, kills survived."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_a_poisoned_set_leaves_with_one_and_a_clean_set_with_zero(
    poisoned: Path, clean: Path, planted: set[str], vidoor_command, tmp_path: Path
) -> None:
    done = vidoor_command("audit", poisoned, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    out = tmp_path / "audit-poisoned"
    assert document == json.loads((out / "audit.json").read_text())
    assert {one["clip"] for one in document["suspicious"]} == planted
    again = vidoor_command("audit", poisoned, cwd=tmp_path)
    assert again.returncode == 1 and "page: audit-poisoned/index.html" in again.stdout
    assert again.stdout.startswith("Signs of a backdoor: ")
    assert document["suspicious"][0]["clip"] in again.stdout and "left out" in again.stdout
    # A table of the clips that are left is a set like any other, and nothing is found in it.
    copy = shutil.copytree(poisoned, tmp_path / "copy")
    shutil.copy(out / "clean.csv", copy)
    rest = vidoor_command("audit", copy / "clean.csv", "--json", cwd=tmp_path)
    assert rest.returncode == 0, rest.stderr
    document = json.loads(rest.stdout)
    assert document["clips"]["kind"] == "manifest" and document["verdict"]["status"] == "clean"
    assert document["clips"]["judged"] == 72 - len(planted)
    assert (tmp_path / "audit-clean" / "index.html").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["."], "holds no clips and no class folders"),
        ([".", "--size", "9"], "HEIGHTxWIDTH"),
        ([".", "--address", "local"], "give --workers 2 or more"),
        ([".", "--kind", "shape"], "hmdb51, manifest, ucf101, unlabelled"),
    ],
)
def test_mistakes_get_one_line(vidoor_command, tmp_path: Path, arguments, line) -> None:
    done = vidoor_command("audit", *arguments, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1 and line in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ray_goes_through_the_clips_to_the_same_verdict(
    poisoned: Path, vidoor_command, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    found = []
    for name, more in (("alone", ()), ("ray", ("--workers", 2))):
        few = ("--set", "detector.coherence.clips=64")
        done = vidoor_command("audit", poisoned, "--out", tmp_path / name, "--json", *few, *more)
        assert done.returncode == 1, done.stderr
        document = json.loads(done.stdout)
        found.append((document["suspicious"], document["findings"], document["verdict"]["text"]))
    assert found[0] == found[1]


def test_a_budget_that_is_too_short_clears_nothing(clean: Path, vidoor_command, tmp_path) -> None:
    done = vidoor_command("audit", clean, "--out", tmp_path / "out", "--budget", 1e-9, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["verdict"]["status"] == "unfinished"
    assert done.stderr.strip().splitlines()[-1].startswith("the budget is spent")


def test_a_killed_audit_goes_on_where_it_was(
    poisoned: Path, finished, tmp_path: Path, vidoor_command
) -> None:
    """Killed once the clips have been read; they are not read again."""
    record, _ = finished
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "vidoor", "audit", str(poisoned), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("stages/clips-*/done.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    (read,) = out.glob("stages/clips-*/done.json")
    before = read.stat().st_mtime_ns
    done = vidoor_command("audit", poisoned, "--out", out, "--json")
    assert done.returncode == 1, done.stderr
    assert read.stat().st_mtime_ns == before
    found = json.loads(done.stdout)
    assert [one["clip"] for one in found["suspicious"]] == [s.clip for s in record.suspicious]
    assert [one["score"] for one in found["suspicious"]] == [s.score for s in record.suspicious]
