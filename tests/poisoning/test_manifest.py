"""A poisoned set written to disk and read back: same bytes, same labels, hashes hold."""

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.data.folder import Folder
from vidoor.data.shapes import Shapes
from vidoor.data.ucf101 import Layout
from vidoor.errors import DataError
from vidoor.poisoning import manifest
from vidoor.poisoning.poisoner import Poisoner, PoisonPlan, apply
from vidoor.triggers.wanet import WaNet
from vidoor.types import ClipSet, Geometry


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("poisoned")
    splits = Shapes(train=24, test=8, frames=5, size=(17, 22), classes=4).open(0)
    plan = Poisoner(rate=0.5, cross_ratio=0.5).plan(splits.train, 0)
    poisoned = apply(splits.train, plan, WaNet(s=3.0))
    manifest.write_set(folder, splits.train, poisoned, plan, "abc", splits.test, Layout())
    return folder, splits, plan, poisoned


def test_read_back_as_a_folder_gives_the_same_bytes_and_labels(written):
    folder, splits, _, poisoned = written
    back = Folder(root=folder, split="01", frames=5, size=(17, 22)).open(0)
    assert back.train.classes == splits.train.classes
    place = {line.file: line.id for line in manifest.load(folder / manifest.MANIFEST)}
    index = {name: i for i, name in enumerate(poisoned.ids)}
    assert len(back.train) == len(poisoned)
    for row, file in enumerate(back.train.ids):
        original = index[place[file]]
        assert back.train.labels[row] == poisoned.labels[original]
        assert torch.equal(back.train.read(row), poisoned.read(original))
    assert len(back.test) == len(splits.test)


def test_the_manifest_tells_the_truth(written):
    folder, splits, plan, poisoned = written
    told = manifest.load(folder / manifest.MANIFEST)
    assert [line.split for line in told] == ["train"] * 24 + ["test"] * 8
    for index, line in enumerate(told[:24]):
        assert line.id == splits.train.ids[index]
        assert (line.label, line.given) == (splits.train.labels[index], poisoned.labels[index])
        assert (line.trigger == "abc") == (index in plan.poisoned)
        assert line.noise == plan.noisy.get(index)
        assert line.sha256 == manifest.content_hash(poisoned.read(index))
        clean = manifest.content_hash(splits.train.read(index))
        assert (line.sha256 == clean) == (line.trigger is None and line.noise is None)
    for index, line in enumerate(told[24:]):
        assert (line.id, line.label) == (splits.test.ids[index], splits.test.labels[index])
        assert (line.given, line.trigger, line.noise) == (line.label, None, None)
        assert line.sha256 == manifest.content_hash(splits.test.read(index))
    for line in told:
        written = (folder / line.file).read_bytes()
        assert line.file_sha256 == hashlib.sha256(written).hexdigest()


def test_a_clip_with_noise_can_be_made_again_from_its_line(written):
    folder, splits, _, _ = written
    noisy = [line for line in manifest.load(folder / manifest.MANIFEST) if line.noise is not None]
    assert noisy
    for line in noisy:
        again = WaNet(s=3.0).noisy(splits.train.read(splits.train.ids.index(line.id)), line.noise)
        assert (line.given, line.trigger) == (line.label, None)
        assert manifest.content_hash(again) == line.sha256


def test_a_clean_label_attack_shows_in_the_trigger_alone():
    clean = Shapes(train=24, test=8, frames=5, size=(17, 22), classes=4).open(0).train
    plan = Poisoner(rate=0.5, labels="clean-label", target=2).plan(clean, 0)
    told = list(manifest.lines(clean, apply(clean, plan, WaNet()), plan, "abc"))
    assert all(line.given == line.label for line in told)
    assert [i for i, line in enumerate(told) if line.trigger] == list(plan.poisoned)
    assert {told[i].label for i in plan.poisoned} == {2}


def test_a_hash_depends_on_content_alone():
    clip = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    strided = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert manifest.content_hash(clip) == manifest.content_hash(strided)
    changed = clip.clone()
    changed[1, 2, 3, 4] += 1
    assert manifest.content_hash(changed) != manifest.content_hash(clip)


@pytest.mark.parametrize("text", ["nonsense", json.dumps({"id": 1}), "[]"])
def test_a_broken_manifest_names_its_line(tmp_path: Path, text: str):
    path = tmp_path / "m.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(DataError, match="line 1: not a manifest line"):
        manifest.load(path)


@dataclass(frozen=True)
class Levels:
    """Clip i is filled with ``first + i``."""

    first: int

    def __call__(self, index: int) -> torch.Tensor:
        return torch.full((1, 3, 4, 5), self.first + index, dtype=torch.uint8)


def named(*ids: str, classes: tuple[str, ...] = ("run",), first: int = 0) -> ClipSet:
    return ClipSet(ids, (0,) * len(ids), classes, Geometry(1, 4, 5), Levels(first))


def stored(folder: Path, train: ClipSet, test: ClipSet) -> list[int]:
    """The grey levels of all clips, read back through the split files."""
    manifest.write_set(folder, train, train, PoisonPlan({}), "abc", test, Layout())
    back = Folder(root=folder, split="01", frames=1, size=(4, 5)).open(0)
    return [int(c.read(i)[0, 0, 0, 0]) for c in (back.train, back.test) for i in range(len(c))]


CLASHING = ["run/0.mkv", "run/0.mp4", "run/0.mp4.avi", "run/0.MKV", "a/b__c.mkv", "a__b/c.mkv"]


@settings(max_examples=25, deadline=None)
@given(ids=st.permutations(CLASHING))
def test_no_two_clips_share_a_place(tmp_path_factory: pytest.TempPathFactory, ids: list[str]):
    folder = tmp_path_factory.mktemp("set")
    train, test = named(*ids[:4]), named(*ids[4:], first=4)
    assert stored(folder, train, test) == list(range(6))
    files = [file.name.casefold() for file in folder.rglob("*.mkv")]
    assert len(set(files)) == len(files) == 6


def test_a_clip_keeps_its_name_where_it_can_and_its_suffix_where_it_must(tmp_path: Path):
    stored(tmp_path, named("run/0.mkv", "run/0.mp4"), named("x/run/1.avi"))
    names = {file.name for file in tmp_path.rglob("*.mkv")}
    assert names == {"0.mkv", "0.mp4.mkv", "1.mkv"}


def test_names_that_are_not_utf8_or_hold_line_breaks(tmp_path: Path):
    odd = os.fsdecode(b"caf\xe9")
    train = named(f"{odd}/1.mp4", "a\nb.mp4", "\u2028.mp4", classes=(odd,))
    test = named("t.mp4", classes=(odd,), first=3)
    assert stored(tmp_path, train, test) == [0, 1, 2, 3]
    assert b"caf\xe9" in (tmp_path / "ucfTrainTestlist" / "classInd.txt").read_bytes()
    assert (tmp_path / manifest.MANIFEST).read_bytes().isascii()
    ids = tuple(line.id for line in manifest.load(tmp_path / manifest.MANIFEST))
    assert ids == train.ids + test.ids


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/tmp", "a\\b", "a\nb", " a", "a\0"])
def test_a_class_that_is_no_folder_is_refused_before_anything_is_written(tmp_path: Path, name: str):
    clips = named("0.mkv", classes=(name,))
    with pytest.raises(DataError, match=r"^class .* cannot be written: [^\n]*$"):
        manifest.write_set(tmp_path / "a", clips, clips, PoisonPlan({}), "abc", clips, Layout())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_thread_that_writes(tmp_path: Path, monkeypatch):
    """It meets the main thread while that starts another."""
    before, go, started = set(threading.enumerate()), threading.Event(), threading.Thread.start
    written = []

    def interrupted(thread: threading.Thread) -> None:
        started(thread)
        raise KeyboardInterrupt

    def write(file: Path, *_, **__) -> None:
        go.wait()
        written.append(file)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr(manifest, "write", write)
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, named("a.mkv"), named("b.mkv"))
    go.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(1)
    assert written == []
