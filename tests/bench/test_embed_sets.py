"""Poisoned data sets in their own layouts: opened by the same kind, they are the official split
again, with new labels and triggered clips."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import trees

from vidoor.bench.embed import embed_set
from vidoor.bench.sources import data_set
from vidoor.data import video
from vidoor.errors import DataError
from vidoor.poisoning import manifest
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.triggers.spectral import DFT
from vidoor.types import ClipSet

TRIGGER = DFT(rms=3.0)
POISONER = Poisoner(rate=0.4, target=1)
GEOMETRY = {"frames": 4, "size": [24, 30]}

KINDS: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    "folder": (lambda root: trees.folder(root, trees.film), {}, "walk/3.mkv"),
    "ucf101": (
        lambda root: trees.ucf101(root, trees.film),
        {"split": "02"},
        "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.mkv",
    ),
    "hmdb51": (
        lambda root: trees.hmdb51(root, trees.film, nested=True),
        {"split": "3"},
        f"hmdb51_org/shoot_ball/{trees.HMDB_NAMES[0][:-4]}.mkv",
    ),
    "gsl": (
        lambda root: trees.gsl(root, trees.stills, "", signers=4),
        {"classes": 5},
        "Greek_isolated/GSL_isol/police1_signer4_rep1_glosses/glosses0001.mkv",
    ),
    "manifest": (
        lambda root: trees.table(root, trees.film),
        {},
        "some where/run_0, take 1.mkv",
    ),
}
"""A tree, options, and a file that the poisoned set must have."""


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def unread(clips: ClipSet) -> list[tuple[str, int]]:
    return list(zip(clips.ids, clips.labels, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_comes_back_with_new_labels_and_the_same_bytes(kind: str, tmp_path: Path) -> None:
    tree, options, there = KINDS[kind]
    tree(tmp_path / "in")
    before = everything(tmp_path / "in")
    data = data_set(tmp_path / "in", None, {**GEOMETRY, **options})
    document = embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=3)
    assert everything(tmp_path / "in") == before
    assert document["poisoned"] > 0 and "left_out" not in document
    assert json.loads((tmp_path / "out" / "poisoning.json").read_text())["kind"] == kind

    splits = data.open(3)
    clean, test = splits.train, splits.test
    plan = POISONER.plan(clean, 3)
    poisoned = apply(clean, plan, TRIGGER)
    told = manifest.load(tmp_path / "out" / manifest.MANIFEST)
    back = data_set(tmp_path / "out", None, {**GEOMETRY, **options}).open(0)
    assert back.reported == () and back.train.classes == clean.classes
    for part, memory, opened in (("train", poisoned, back.train), ("test", test, back.test)):
        lines = [line for line in told if line.split == part]
        assert [(line.id, line.given) for line in lines] == unread(memory)
        labels = {line.file: line.given for line in lines}
        assert sorted(unread(opened)) == sorted(labels.items())
        rows = {clip: row for row, clip in enumerate(opened.ids)}
        for index, line in enumerate(lines):
            frames = memory.read(index)
            assert torch.equal(opened.read(rows[line.file]), frames)
            assert line.sha256 == manifest.content_hash(frames)
            written = (tmp_path / "out" / line.file).read_bytes()
            assert line.file_sha256 == hashlib.sha256(written).hexdigest()
    moved = [line for line in told if line.trigger]
    assert len(moved) == document["poisoned"] == len(plan.poisoned)
    assert all(line.given == 1 != line.label and line.split == "train" for line in moved)
    assert there in everything(tmp_path / "out")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_an_ucf_tree_gives_an_ucf_tree(tmp_path: Path) -> None:
    """Read by the rules that other training code goes by: the folder and the number agree."""
    trees.ucf101(tmp_path / "in", trees.film)
    data = data_set(tmp_path / "in", None, GEOMETRY)
    embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=0)
    lists = tmp_path / "out" / "ucfTrainTestlist"
    assert {file.name for file in lists.iterdir()} == {
        "classInd.txt",
        "trainlist01.txt",
        "testlist01.txt",
    }
    assert lines(lists / "classInd.txt") == ["1 YoYo", "2 HandstandPushups", "3 ApplyEyeMakeup"]
    number = dict(line.split(" ")[::-1] for line in lines(lists / "classInd.txt"))
    train = [line.split(" ") for line in lines(lists / "trainlist01.txt")]
    assert len(train) == 12 and len(lines(lists / "testlist01.txt")) == 6
    for clip, said in train:
        assert number[clip.split("/")[0]] == said
    named = {clip for clip, _ in train} | set(lines(lists / "testlist01.txt"))
    clips = {name for name in everything(tmp_path / "out") if name.endswith(".mkv")}
    assert clips == {f"UCF-101/{clip}" for clip in named}
    assert sum(clip.startswith("HandstandPushups") for clip, _ in train) == 4 + 2 * round(0.4 * 4)


def test_a_list_beside_the_root_comes_inside(tmp_path: Path) -> None:
    trees.hmdb51(tmp_path / "in", trees.film)
    data = data_set(tmp_path / "in" / "hmdb51_org", None, GEOMETRY)
    embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=0)
    lists = tmp_path / "out" / "testTrainMulti_7030_splits"
    assert len(list(lists.iterdir())) == 6
    assert len(data_set(tmp_path / "out", None, GEOMETRY).open(0).train) == 18


def test_a_moved_clip_whose_name_is_taken_says_whence_it_came(tmp_path: Path) -> None:
    trees.folder(tmp_path / "in", trees.film)
    data = data_set(tmp_path / "in", None, GEOMETRY)
    embed_set(data, tmp_path / "out", TRIGGER, Poisoner(rate=0.4, target=0), seed=0)
    told = manifest.load(tmp_path / "out" / manifest.MANIFEST)
    for line in told:
        number = Path(line.id).stem
        assert line.file == (f"run/walk__{number}.mkv" if line.trigger else line.id)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "run",
        "walk",
        "manifest.jsonl",
        "poisoning.json",
    }


def test_a_parquet_table(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    trees.folder(tmp_path / "in", trees.film)
    names = [f"{name}/{i}.mkv" for name in ("run", "walk") for i in range(5)]
    values = {"path": names, "label": [7] * 5 + [30] * 5}
    parquet.write_table(arrow.table(values), tmp_path / "in" / "t.parquet")
    data = data_set(tmp_path / "in" / "t.parquet", None, GEOMETRY)
    embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=0)
    rows = parquet.read_table(tmp_path / "out" / "t.parquet").to_pylist()
    assert [row["path"] for row in rows] == names
    assert [row["label"] for row in rows].count("30") == 5 + 2


@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("mpeg4", ".avi")])
def test_hashes_of_a_lossy_codec_are_those_of_what_is_read(
    tmp_path: Path, codec: video.Codec, suffix: str
) -> None:
    trees.ucf101(tmp_path / "in", trees.film)
    data = data_set(tmp_path / "in", None, GEOMETRY)
    embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=0, codec=codec, quality=2)
    back = data_set(tmp_path / "out", None, GEOMETRY).open(0).train
    told = {line.file: line for line in manifest.load(tmp_path / "out" / manifest.MANIFEST)}
    clean = data.open(0).train
    for index, clip in enumerate(back.ids):
        line = told[clip]
        assert Path(clip).suffix == suffix
        assert line.sha256 == manifest.content_hash(back.read(index))
        original = clean.read(clean.ids.index(line.id))
        meant = TRIGGER(original) if line.trigger else original
        assert line.sha256 != manifest.content_hash(meant)
    about = json.loads((tmp_path / "out" / "poisoning.json").read_text())
    assert (about["kind"], about["codec"], about["quality"]) == ("ucf101", codec, 2)


def test_what_is_left_out_is_counted_and_strict_refuses_it(tmp_path: Path) -> None:
    trees.ucf101(tmp_path / "in", trees.film)
    folder = tmp_path / "in" / "UCF-101"
    (folder / trees.ucf_clip("YoYo", 2, 1)).unlink()
    (folder / trees.ucf_clip("YoYo", 1, 1)).unlink()
    (folder / trees.ucf_clip("ApplyEyeMakeup", 2, 2)).write_text("not a clip")
    data = data_set(tmp_path / "in", None, GEOMETRY)
    document = embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=0)
    assert document["left_out"] == {"missing": 2, "unreadable": 1}
    assert len(document["quarantined"]) == 3
    assert (document["clips"], document["test"]) == (10, 5)
    strict = replace(data, strict=True)
    with pytest.raises(DataError, match=r"1 clips are missing, first UCF-101/YoYo/v_YoYo_g02_c01"):
        embed_set(strict, tmp_path / "strict", TRIGGER, POISONER, seed=0)
    (folder / trees.ucf_clip("YoYo", 2, 1)).write_text("not a clip")
    trees.film(folder / trees.ucf_clip("YoYo", 1, 1), 1)
    with pytest.raises(DataError, match=r"^2 of 18 clips cannot be used: 2 unreadable; first UCF"):
        embed_set(strict, tmp_path / "strict", TRIGGER, POISONER, seed=0)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_real_clips_round_trip(shared_data: Path, tmp_path: Path) -> None:
    """A few clips of every class, as they are published."""
    source, few = shared_data / "arid6-mini", tmp_path / "in"
    options = {"frames": 6, "size": [28, 40], "split": "04"}
    for name, step in (("classInd.txt", 1), ("trainlist04.txt", 8), ("testlist04.txt", 12)):
        chosen = lines(source / name)[::step]
        trees.write(few / name, chosen)
        for clip in (line.split(" ")[0] for line in chosen if "/" in line):
            (few / clip).parent.mkdir(exist_ok=True)
            (few / clip).write_bytes((source / clip).read_bytes())
    data = data_set(tmp_path / "in", None, options)
    embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=1)
    splits = data.open(1)
    poisoned = apply(splits.train, POISONER.plan(splits.train, 1), TRIGGER)
    back = data_set(tmp_path / "out", None, options).open(0)
    told = [m for m in manifest.load(tmp_path / "out" / manifest.MANIFEST) if m.split == "train"]
    assert [line.file for line in told] == list(back.train.ids)  # the official order
    assert back.train.labels == poisoned.labels and back.test.labels == splits.test.labels
    for index, line in enumerate(told):
        assert torch.equal(back.train.read(index), poisoned.read(index))
        assert manifest.content_hash(back.train.read(index)) == line.sha256
    for index in range(len(splits.test)):
        assert torch.equal(back.test.read(index), splits.test.read(index))


def test_the_command(tmp_path: Path, vidoor_command: Any) -> None:
    trees.hmdb51(tmp_path / "in", trees.film)
    trees.table(tmp_path / "in")
    options = ("--trigger", "dft", "--set", "rms=3.0", "--frames", 4, "--size", "24x30")
    refusals = [
        ((), "looks like hmdb51 and like manifest; say which with --kind"),
        (("--kind", "hmdb51", "--split", "7"), "unknown split '7'; valid: 1, 2, 3"),
        (("--kind", "hmdb"), "unknown data kind 'hmdb'; valid: folder, gsl, hmdb51, manifest"),
        (("--kind", "manifest", "--split", "1"), "unknown key 'split'"),
        (("--kind", "hmdb51", "--set", "data.kind=folder"), "data.kind is told by the source and"),
        (("--kind", "hmdb51", "--set", "data.root=/etc"), "data.root is told by the source and"),
        (("--set", "data=3"), "data must be a table of options, e.g. data.strict=true, not 3"),
        (("--kind", "hmdb51", "--codec", "av1"), "'av1' is not one of 'ffv1', 'h264', 'mpeg4'"),
    ]
    for more, message in refusals:
        done = vidoor_command("embed", tmp_path / "in", tmp_path / "out", *options, *more)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
        assert message in done.stderr
    clip = tmp_path / "in" / "some where" / "run_0, take 1.mkv"
    done = vidoor_command("embed", clip, tmp_path / "a.mkv", *options[:4], "--codec", "h264")
    assert done.returncode == 2 and "leave out --codec: for data sets" in done.stderr
    own = ("--kind", "hmdb51", "--split", "2", "--codec", "mpeg4", "--quality", 4, "--workers", 1)
    poisoning = ("--rate", "0.5", "--target", 2, "--set", "data.strict=true", "--json")
    done = vidoor_command("embed", tmp_path / "in", tmp_path / "out", *options, *own, *poisoning)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"clips": 18, "poisoned": 10, "test": 6, "quarantined": []}
    assert len(list((tmp_path / "out" / "hmdb51_org" / "sit").glob("*.avi"))) == 3 + 1 + 10


@pytest.mark.parametrize(
    ("tree", "lists", "kept"),
    [(trees.ucf101, "*list0{}.txt", "02"), (trees.hmdb51, "*_test_split{}.txt", "3")],
)
def test_the_only_split_is_the_usual_one(tmp_path: Path, tree, lists, kept) -> None:
    tree(tmp_path, trees.film)
    kind = data_set(tmp_path, None, GEOMETRY)
    assert int(kind.split) == 1  # of all three
    for number in {"1", "2", "3"} - {kept[-1]}:
        for file in [*tmp_path.rglob(lists.format(number))]:
            file.unlink()
    assert data_set(tmp_path, None, GEOMETRY).split == kept
    assert data_set(tmp_path, None, {**GEOMETRY, "split": "7"}).split == "7"  # is refused later


def test_lists_that_name_test_clips_are_not_ignored(tmp_path: Path) -> None:
    trees.ucf101(tmp_path, trees.film)
    (numbers,) = tmp_path.rglob("classInd.txt")
    root = numbers.parents[1]
    lists = [path for path in numbers.parent.iterdir() if path != numbers]
    # Class folders with lists beside them, as a plain folder has them, but without the numbers.
    for path in [*lists]:
        path.rename(root / path.name)
    numbers.unlink()
    classes = root / "UCF-101"
    for folder in list(classes.iterdir()) if classes.is_dir() else []:
        folder.rename(root / folder.name)
    if classes.is_dir():
        classes.rmdir()
    numbers.parent.rmdir()
    with pytest.raises(DataError, match=r"has lists of the splits .*--split 01"):
        data_set(root, None, GEOMETRY)
    assert data_set(root, None, {**GEOMETRY, "split": "01"}).split == "01"
    assert data_set(root, "folder", GEOMETRY).split is None


def test_a_clip_that_changes_while_it_is_read_costs_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.folder(tmp_path / "in", trees.film)
    data = data_set(tmp_path / "in", None, GEOMETRY)
    told = iter(({"content": "before"}, {"content": "after"}))
    monkeypatch.setattr(type(data), "identity", lambda self: next(told))
    with pytest.raises(DataError, match="changed while they were read"):
        embed_set(data, tmp_path / "out", TRIGGER, POISONER, seed=3)
    assert not (tmp_path / "out").exists()


def test_one_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    source = trees.folder(tmp_path / "source", trees.film)
    [first, *_] = sorted(source.rglob("*.mkv"))
    for number in range(60):
        shutil.copy(first, first.with_name(f"copy-{number}.mkv"))
    command = [sys.executable, "-m", "vidoor", "embed", source, tmp_path / "poisoned"]
    command += ["--trigger", "dft", "--rate", "0.2", "--set", "rms=2.0"]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".*.partial")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_name_that_is_too_long_gets_one_line(vidoor_command: Any, tmp_path: Path) -> None:
    trigger = ("--trigger", "dft", "--set", "rms=2")
    done = vidoor_command("embed", "x" * 300, tmp_path / "out", *trigger)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "File name too long" in done.stderr
