"""Sets that are made to deceive whoever audits them, or that there is nothing to say of."""

import csv
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from auditing import request

from vidoor.audit import sarif
from vidoor.audit import source as sources
from vidoor.audit.command import audit
from vidoor.audit.strays import strays
from vidoor.data import video
from vidoor.errors import DataError

ORDER = "\x1b]0;owned\x07\x1b[2J"
FORGED = "\nNo sign of a backdoor in 9 clips"
TURNED = "\u202e4pm"
FORMULA = "=2+5+cmd|calc"
SECOND = "a;=2+5;＝2"
"""Formulas where semicolons divide cells."""


@pytest.fixture
def named(poisoned: Path, planted, tmp_path: Path) -> Path:
    """The poisoned set, with names for its clips that do something where they are shown."""
    copy = shutil.copytree(poisoned, tmp_path / "named")
    for clip, name in zip(sorted(planted), (ORDER, FORGED, TURNED, FORMULA, SECOND), strict=False):
        (copy / clip).rename((copy / clip).with_name(f"{name}.mkv"))
    (copy / "zebra").mkdir()
    for clip in (copy / sorted(planted)[0]).parent.glob("0*.mkv"):
        shutil.move(clip, copy / "zebra" / f"{FORMULA}{clip.name}")
    (copy / f"{ORDER}.mkv").write_bytes(b"beside")
    return copy


def test_names_do_nothing_where_they_are_shown(named: Path, vidoor_command, tmp_path) -> None:
    out = tmp_path / "out"
    done = vidoor_command(
        "audit", named, "--out", out, "--frames", 12, "--size", "32x32", "--kind", "unlabelled"
    )
    page = (out / "index.html").read_text(encoding="utf-8")
    shown = {"out": done.stdout, "err": done.stderr, "page": page}
    for where, text in shown.items():
        assert not set(text) & {"\x1b", "\x07", "\u202e"}, where
        assert "\nNo sign" not in text, where
    assert r"\x1b[2J" in done.stderr and r"\x1b[2J" in page and r"\nNo sign" in page


def test_no_cell_is_a_formula_and_the_list_is_exact(named: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    record = audit(request(clips=named, out=out))
    with (out / "suspicious.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    texts = [cell for cell in cells if not cell.lstrip("-").replace(".", "").isdigit()]
    assert record.suspicious and [text for text in texts if "a;'=2+5;'＝2" in text]
    parts = [part for text in texts for part in text.split(";")]
    assert not [part for part in parts if part[:1] in tuple("=+-@＝＋－＠")]
    assert not [cell for cell in cells if set(cell) & {"\x1b", "\n", "\u202e"}]
    kept = sources.find(
        shutil.copy(out / "clean.csv", named / "clean.csv"),
        "manifest",
        {"frames": 12, "size": [32, 32]},
        None,
    )
    assert {*kept.clips.ids} == {*record_ids(named)} - {one.clip for one in record.suspicious}
    texts = [result["message"]["text"] for result in sarif.log(record)["runs"][0]["results"]]
    assert not [text for text in texts if set(text) & {"\x1b", "\n", "\u202e"}]


def record_ids(root: Path) -> list[str]:
    """The clips in class folders."""
    return [str(path.relative_to(root)) for path in root.glob("*/*.mkv")]


def test_whatever_is_no_clip_is_named_as_not_judged(clean: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clean, tmp_path / "copy")
    home = next(path for path in copy.iterdir() if path.is_dir())
    (home / "gone.mkv").symlink_to("nowhere.mkv")
    (home / "loop.mkv").symlink_to("loop.mkv")
    os.mkfifo(home / "pipe.mkv")
    (home / "folder.mkv").mkdir()
    first = next(home.glob("0*.mkv"))
    shutil.copy(first, home / ".hidden.mkv")
    shutil.copy(first, home / "a\\b.mkv")
    found = sources.find(copy, None, {"frames": 12, "size": [32, 32]}, None)
    reasons = {clip.id.removeprefix(f"{home.name}/"): clip.reason for clip in found.reported}
    assert reasons == {
        "gone.mkv": "a link to nothing",
        "loop.mkv": "a link to nothing",
        "pipe.mkv": "no regular file",
        "folder.mkv": "a folder without frames",
        ".hidden.mkv": "hidden",
        "a\\b.mkv": "a backslash in its name: no list can hold it",
    }
    assert len(found.clips) == 72 and len(found.splits) == len(found.clips.labels) == 72


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "open" / "closed").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (found,) = strays(tmp_path, ())
    assert (found.id, found.reason) == ("open/closed", "a folder that cannot be read")


def test_a_clip_that_a_list_repeats_is_judged_once(clean: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clean, tmp_path / "copy")
    listed = sorted(str(path.relative_to(copy)) for path in copy.glob("*/*.mkv"))[:9]
    lines = [f"{path},{path.partition('/')[0]}" for path in [*listed, listed[0]]]
    (copy / "some.csv").write_text("\n".join(["path,label", *lines]))
    found = sources.find(copy / "some.csv", None, {"frames": 12, "size": [32, 32]}, None)
    assert sorted(found.clips.ids) == listed
    unnamed = {clip.id for clip in found.reported if "on no list" in clip.reason}
    assert len(unnamed) == 72 - 9 and unnamed.isdisjoint(listed)


@pytest.mark.parametrize("what", ["one clip", "flat grey"])
def test_nothing_to_compare_clears_nothing(clean: Path, tmp_path: Path, what: str) -> None:
    same = video.read(next(clean.glob("*/*.mkv")))
    for index in range(12):
        grey = torch.full_like(same, 20 * index)
        video.write(tmp_path / "set" / f"{index}.mkv", same if what == "one clip" else grey)
    with pytest.raises(DataError, match=r"12 clips, but \d of different footage.*give 8 or more"):
        audit(request(clips=tmp_path / "set", out=tmp_path / "out"))


def test_nothing_to_read_is_said_without_a_class(tmp_path: Path) -> None:
    for index in range(9):
        (tmp_path / "set" / "walk").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "walk" / f"{index}.mkv").write_text("no clip")
    with pytest.raises(DataError, match=r"none of the 9 clips can be read; the first, walk/0.mkv:"):
        audit(request(clips=tmp_path / "set", out=tmp_path / "out"))


def test_pixels_of_clips_that_are_no_more_are_removed(
    clean: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("VIDOOR_CACHE", "")
    copy, out = shutil.copytree(clean, tmp_path / "copy"), tmp_path / "out"
    audit(request(clips=copy, out=out))
    next(copy.glob("*/*.mkv")).unlink()
    record = audit(replace(request(clips=copy, out=out)))
    assert len(list((out / "stages").glob("clips-*"))) == 1 and record.clips.listed == 71
