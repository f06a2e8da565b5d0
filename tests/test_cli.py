"""The command as a user meets it: documents on stdout, one line for mistakes, exit statuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from records import timeless

import vidoor
from vidoor.cli import shared
from vidoor.data import video

RECIPE = """
name = "tiny"
[data]
kind = "shapes"
train = 48
test = 16
frames = 8
size = [24, 24]
classes = 4
[trigger]
kind = "dft"
rms = 4.0
[victim]
kind = "r2plus1d"
width = 4
depth = [1, 1]
[training]
epochs = 3
batch_size = 8
lr = 0.003
[detector.coherence]
[runtime]
device = "cpu"
executor = "here"
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(recipe, vidoor_command, tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    side_by_side = ("--set", "runtime.executor=local", "--set", "runtime.workers=2")
    done = vidoor_command("run", recipe, "--out", out, *side_by_side, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_run_prints_one_document_and_leaves_the_records(finished):
    _, document = finished
    expected = {"clean_acc", "acc", "asr", "psnr", "flagged", "seconds", "report", "runs"}
    assert expected <= set(document)
    assert set(document["flagged"]) == {"detector", "tpr", "fpr"}
    (run,) = document["runs"]
    folder = Path(run["folder"])
    names = {"recipe.toml", "result.json", "scores.npz", "frames.npz", "done.json", "report.html"}
    assert {path.name for path in folder.iterdir()} - {".lock"} == names
    record = json.loads((folder / "result.json").read_text())
    assert record["run_id"] == folder.name
    assert [row["epoch"] for row in record["curves"]["poisoned"]] == [1, 2, 3]
    assert all("asr" in row for row in record["curves"]["poisoned"])
    assert len(np.load(folder / "scores.npz")["coherence.scores"]) == 48


def test_the_same_command_again_does_nothing(finished, recipe, vidoor_command):
    out, document = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = vidoor_command("run", recipe, "--out", out, "--json")
    assert json.loads(again.stdout) == document
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def weights(out: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in out.rglob("weights.safetensors")}


def test_another_folder_gives_the_same_bytes_and_another_seed_does_not(
    finished, recipe, vidoor_command, tmp_path
):
    out, document = finished
    same = vidoor_command("run", recipe, "--out", tmp_path / "a", "--json")
    assert timeless(json.loads(same.stdout)) == timeless(document)
    assert weights(tmp_path / "a") == weights(out)
    other = vidoor_command("run", recipe, "--out", tmp_path / "b", "--set", "seed=1", "--json")
    assert timeless(json.loads(other.stdout)) != timeless(document)
    assert set(weights(tmp_path / "b").values()).isdisjoint(weights(out).values())


@pytest.mark.parametrize("victim", [1, 2], ids=["clean victim", "poisoned victim"])
def test_a_killed_run_started_again_ends_like_an_uninterrupted_one(
    finished, recipe, vidoor_command, tmp_path, victim
):
    """Killed once the first or the second training has written its first checkpoint."""
    out, document = finished
    arguments = ["run", str(recipe), "--out", str(tmp_path), "--json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "vidoor", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120

    def trainings() -> int:
        started = {path.parent for path in tmp_path.glob("stages/*/checkpoint.safetensors")}
        return len(started | {path.parent for path in tmp_path.glob("stages/*/history.json")})

    while trainings() < victim:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    resumed = vidoor_command(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert timeless(json.loads(resumed.stdout)) == timeless(document)
    assert weights(tmp_path) == weights(out)


def test_run_is_for_one_setting(recipe, vidoor_command, tmp_path):
    axis = ("--set", "grid.trigger.rms=[1.0, 2.0]")
    done = vidoor_command("run", recipe, "--out", tmp_path / "out", *axis)
    assert "give it to vidoor sweep" in one_line(done)
    assert not (tmp_path / "out").exists()


def test_any_field_is_a_row_or_a_column(finished, vidoor_command):
    out, _ = finished
    fields = ("--rows", "trigger.kind", "--columns", "seed", "--values", "asr")
    table = vidoor_command("report", out, *fields).stdout
    assert table.startswith("ASR (%) by seed")
    assert "| dft |" in table
    assert "did you mean" in one_line(vidoor_command("report", out, "--rows", "trigger.kid"))


def test_seeds_share_one_table(recipe, vidoor_command, tmp_path):
    sets = ["--set", "grid.seeds=2", "--set", "training.epochs=1", "--set", "data.train=16"]
    done = vidoor_command("run", recipe, "--out", tmp_path, *sets, "--json")
    document = json.loads(done.stdout)
    assert document["n"] == 2
    assert [run["seed"] for run in document["runs"]] == [0, 1]
    accuracies = [run["acc"] for run in document["runs"]]
    assert document["acc"] == pytest.approx(np.mean(accuracies))
    assert document["sd"]["acc"] == pytest.approx(np.std(accuracies, ddof=1))
    table = vidoor_command("report", tmp_path, "--format", "csv")
    assert len(table.stdout.strip().splitlines()) == 2


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("vidoor: ")
    return done.stderr


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.epoch=3", "did you mean 'epochs'"),
        ("training.epochs='3'", "training.epochs"),
        ("trigger.kind=dfft", "did you mean 'dft'"),
        ("trigger.delta=1.0", "exactly one of delta and rms"),
        ("poisoning.target=4", "target = 4 is out of range: the data has 4 classes; give 0..3"),
        ("poisoning.rate=1.5", "[0, 1], not 1.5"),
        ("trigger.components=25", "24-pixel axis"),
        ("data.train=0", "train"),
    ],
)
def test_bad_recipes_get_one_line_and_leave_nothing(
    recipe, vidoor_command, tmp_path, override, line
):
    done = vidoor_command("run", recipe, "--out", tmp_path / "out", "--set", override, "--json")
    assert line in one_line(done)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_missing_or_have_an_empty_class(recipe, vidoor_command, tmp_path):
    text = recipe.read_text().partition("[trigger]")
    missing = tmp_path / "folder.toml"
    root = tmp_path / "clips"
    missing.write_text(f'[data]\nkind = "folder"\nroot = "{root}"\n[trigger]{text[2]}')
    out = tmp_path / "out"
    assert f"no folder {root}" in one_line(vidoor_command("run", missing, "--out", out))
    (root / "walk").mkdir(parents=True)
    (root / "run").mkdir()
    for index in range(2):
        clip = torch.zeros(3, 3, 24, 24, dtype=torch.uint8)
        video.write(root / "walk" / f"{index}.mkv", clip)
    assert "run" in one_line(vidoor_command("run", missing, "--out", out))
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments", [["reprt"], ["run"], ["run", "absent.toml"], ["list", "trigers"], ["--nonsense"]]
)
def test_mistyped_commands_get_one_line(vidoor_command, arguments):
    one_line(vidoor_command(*arguments))


def test_list_shows_methods_and_plug_ins(vidoor_command):
    listing = json.loads(vidoor_command("list", "--json").stdout)
    assert {"dft", "sample-corner"} <= set(listing["triggers"])
    assert listing["triggers"]["dft"]["presets"]["paper"] == {"delta": 50_000.0}
    assert listing["triggers"]["sample-corner"]["options"] == {"side": 3}
    assert "sample-corner" in vidoor_command("list", "triggers").stdout


def test_a_plug_in_runs_from_a_recipe(recipe, vidoor_command, tmp_path):
    path = tmp_path / "plugin.toml"
    path.write_text(
        RECIPE.replace('kind = "dft"\nrms = 4.0', 'kind = "sample-corner"\nside = 4').replace(
            "epochs = 3", "epochs = 1"
        )
    )
    done = vidoor_command("run", path, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    trigger = json.loads(done.stdout)["runs"][0]["trigger"]
    assert trigger == {"kind": "sample-corner", "side": 4}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    frames = rng.integers(0, 256, (12, 3, 40, 50), dtype=np.uint8)
    video.write(path, torch.from_numpy(frames))
    return path


def test_embed_writes_the_triggered_clip_losslessly(clip, vidoor_command, tmp_path):
    from vidoor.triggers.spectral import DFT

    arguments = ("embed", clip, tmp_path / "out.mkv", "--trigger", "dft", "--set", "rms=3.0")
    done = vidoor_command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    written = video.read(tmp_path / "out.mkv")
    assert torch.equal(written, DFT(rms=3.0)(video.read(clip)))
    assert 30 < document["psnr"] < 45


def test_embed_poisons_a_folder(clip, vidoor_command, tmp_path):
    for label in ("run", "walk"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for index in range(5):
            (tmp_path / "in" / label / f"{index}.mkv").write_bytes(clip.read_bytes())
    options = ("--trigger", "dft", "--set", "rms=3.0", "--frames", 8, "--size", "24x30")
    done = vidoor_command("embed", tmp_path / "in", tmp_path / "out", *options, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts == {"clips": 10, "poisoned": 1, "test": 0, "quarantined": []}
    text = (tmp_path / "out/manifest.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert sum(line["trigger"] is not None for line in lines) == 1
    again = vidoor_command("embed", tmp_path / "in", tmp_path / "out", *options)
    assert "not empty" in one_line(again)


def test_inspect_draws_and_measures(clip, vidoor_command, tmp_path):
    picture = tmp_path / "sheet.png"
    arguments = ("--trigger", "dft", "--set", "rms=3.0", "--picture", picture, "--json")
    done = vidoor_command("inspect", clip, *arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["rms"] == pytest.approx(3.0)
    assert document["transform_frames"] == 45
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["inspect", "absent.mp4", "--trigger", "dft", "--set", "rms=1"], "absent.mp4"),
        (["embed", "absent.mp4", "o.mkv", "--trigger", "dft", "--set", "rms=1"], "no such file"),
        (["embed", ".", "o", "--trigger", "dft"], "exactly one of delta and rms"),
        (["embed", ".", "o", "--trigger", "dft", "--set", "rms=1", "--size", "9"], "HEIGHTxWIDTH"),
    ],
)
def test_impossible_embeddings_get_one_line(vidoor_command, tmp_path, arguments, line):
    assert line in one_line(vidoor_command(*arguments, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_tables_and_lines_do_nothing_to_a_terminal(capsys):
    shared.tell("a\x1b]0;owned\x07\nb\u202ec")
    assert capsys.readouterr().out == "a\\x1b]0;owned\\x07\nb\\u202ec\n"


def test_the_version_and_unknown_commands(vidoor_command):
    assert vidoor_command("--version").stdout == f"vidoor {vidoor.__version__}\n"
    done = vidoor_command("udit")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("vidoor: unknown command 'udit'; valid: list, ")
    assert done.stderr.endswith("did you mean 'audit'?\n")


def without_readers(*arguments: object, streams: tuple[str, ...]) -> subprocess.Popen[str]:
    """The command, ended, after nobody read these of its streams."""
    command = [sys.executable, "-m", "vidoor", *map(str, arguments)]
    ways = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.Popen(command, text=True, **ways | dict.fromkeys(streams, subprocess.PIPE))
    for stream in streams:
        getattr(done, stream).close()
    done.wait()
    return done


@pytest.mark.parametrize("arguments", [("list", "data", "--json"), ("--help",)])
def test_a_reader_that_goes_away_is_no_finding(arguments):
    """Status 1 is kept for what an audit found."""
    done = without_readers(*arguments, streams=("stdout",))
    assert done.stderr and (done.stderr.read(), done.returncode) == ("", 0)
    done.stderr.close()


def test_logs_that_nobody_reads_end_no_work(recipe, tmp_path):
    arguments = ("run", recipe, "--out", tmp_path / "runs", "--set", "runtime.executor=local")
    done = without_readers(*arguments, streams=("stdout", "stderr"))
    assert done.returncode == 0
    assert [*(tmp_path / "runs").glob("*/result.json")]
    assert without_readers("udit", streams=("stderr",)).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("list", "data"), ("--help",), ("--version",)])
def test_an_output_that_is_full_gets_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "vidoor", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "standard output cannot be written (No space left on device)" in done.stderr


def test_one_clip_refuses_what_only_sets_take(clip, vidoor_command, tmp_path):
    options = ("--trigger", "dft", "--set", "rms=2", "--rate", 0.9, "--set", "data.classes=3")
    done = vidoor_command("embed", clip, tmp_path / "out.mkv", *options)
    assert done.returncode == 2 and not (tmp_path / "out.mkv").exists()
    assert "is one clip" in done.stderr and "leave out --rate, data.classes" in done.stderr
