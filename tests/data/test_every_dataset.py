"""What every registered data set must do. Registering one, with a way to make it, is enough."""

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import trees
from travel import sent
from trees import Make

from vidoor.bench.sources import data_set, recognise
from vidoor.data import video
from vidoor.data.layout import Clip
from vidoor.errors import DataError
from vidoor.options import build, table
from vidoor.registry import lookup, methods
from vidoor.types import ClipSet, Geometry


class Sample(NamedTuple):
    """A small data set: its tree if it lies in files, and options for it."""

    tree: Callable[[Path, Make], Path] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


SAMPLES = {
    "folder": Sample(trees.folder),
    "gsl": Sample(lambda root, make: trees.gsl(root, make, ".mkv"), {"classes": 4}),
    "hmdb51": Sample(trees.hmdb51),
    "manifest": Sample(trees.table),
    "shapes": Sample(options={"train": 24, "test": 8}),
    "ucf101": Sample(trees.ucf101),
}
GEOMETRY = {"frames": 4, "size": (20, 26)}
FILES = [name for name, sample in SAMPLES.items() if sample.tree]


def make(name: str, root: Path, how: Make = trees.line, **options: Any) -> Any:
    sample = SAMPLES[name]
    place = {"root": sample.tree(root, how)} if sample.tree else {}
    return lookup("data", name)(**place, **GEOMETRY, **{**sample.options, **options})


def clips_of(data: Any) -> list[ClipSet]:
    splits = data.open(0)
    return [splits.train, splits.test]


def test_all_of_them_are_here() -> None:
    assert set(SAMPLES) == set(methods("data"))


@pytest.mark.parametrize("name", SAMPLES)
class TestEveryDataset:
    def test_the_splits_are_apart_and_of_the_same_classes(self, name: str, tmp_path: Path) -> None:
        train, test = clips_of(make(name, tmp_path))
        assert train.classes == test.classes and train.geometry == test.geometry
        assert train.geometry == Geometry(4, 20, 26)
        assert set(train.labels) == set(range(len(train.classes)))
        assert set(test.labels) <= set(train.labels) and len(test)
        assert len({*train.ids, *test.ids}) == len(train) + len(test)

    def test_the_same_clips_every_time(self, name: str, tmp_path: Path) -> None:
        data = make(name, tmp_path)
        assert clips_of(data) == clips_of(data)

    def test_the_seed_changes_them_if_it_is_said_to(self, name: str, tmp_path: Path) -> None:
        data = make(name, tmp_path)
        if getattr(data, "seeded", True):
            assert data.open(0) != data.open(1)
        else:
            assert data.open(0) == data.open(1)

    def test_clips_are_read_anywhere(self, name: str, tmp_path: Path) -> None:
        for clips in clips_of(make(name, tmp_path, trees.film)):
            again = sent(clips)
            clip = again.read(len(clips) - 1)
            assert clip.shape == (4, 3, 20, 26) and clip.dtype == torch.uint8
            assert torch.equal(clip, clips.read(len(clips) - 1))

    def test_it_goes_through_a_recipe_unchanged(self, name: str, tmp_path: Path) -> None:
        data = make(name, tmp_path)
        written = table(data)
        assert written.pop("kind") == name
        assert build(type(data), written, "data") == data

    def test_sizes_that_no_clip_has_are_refused(self, name: str, tmp_path: Path) -> None:
        for options in ({"frames": 0}, {"size": (20, 0)}, {"frames": 10**6}):
            with pytest.raises(ValueError, match=rf"^{name}: [^\n]*give [^\n]*$"):
                replace(make(name, tmp_path / str(options)), **options)


@pytest.mark.parametrize("name", FILES)
class TestEveryDatasetOfFiles:
    def test_files_are_read_where_they_can_do_no_harm(self, name: str, tmp_path: Path) -> None:
        assert all(clips.read.untrusted for clips in clips_of(make(name, tmp_path)))

    def test_identity_is_of_the_content(self, name: str, tmp_path: Path) -> None:
        data = make(name, tmp_path / "a")
        copy = replace(data, root=shutil.copytree(tmp_path / "a", tmp_path / "b" / "c"))
        assert data.identity() == copy.identity() != replace(data, strict=True).identity()
        assert str(tmp_path) not in repr(data.identity())
        (copy.root / copy.open(0).test.ids[0]).write_text("another clip")
        assert data.identity() != copy.identity()

    def test_links_do_not_lead_out(self, name: str, tmp_path: Path) -> None:
        data = make(name, tmp_path / "set")
        clip = data.root / data.open(0).train.ids[0]
        clip.symlink_to(clip.rename(tmp_path / "secret"))
        for use in (lambda: data.open(0), data.identity):
            with pytest.raises(DataError, match=r"is a link out of [^\n]*; put a copy there$"):
                use()

    def test_a_folder_that_is_not_there(self, name: str, tmp_path: Path) -> None:
        data = make(name, tmp_path)
        with pytest.raises(DataError, match=r"^no folder [^\n]*; set data.root"):
            replace(data, root=tmp_path / "nowhere").open(0)
        with pytest.raises(DataError, match=r"^data.root is empty; give"):
            replace(data, root=Path()).open(0)
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"^[^\n]*empty[^\n]*$"):
            replace(data, root=tmp_path / "empty").open(0)

    def test_it_is_recognised_as_what_it_is(self, name: str, tmp_path: Path) -> None:
        root = make(name, tmp_path).root
        assert recognise(root) == name
        assert type(data_set(root, None, {})) is lookup("data", name)

    def test_it_can_be_written_again(self, name: str, tmp_path: Path) -> None:
        """The same clips under the same names in the same order, given the same labels."""
        data = make(name, tmp_path / "in")
        if "holdout" in {spec.name for spec in fields(data)}:
            data = replace(data, holdout=0.0)
        sets, layout = clips_of(data), data.layout()
        parts = [
            [
                Clip(layout.place(clip, clips.classes[label]), clips.classes[label])
                for clip, label in zip(clips.ids, clips.labels, strict=True)
            ]
            for clips in sets
        ]
        for clip in (clip for part in parts for clip in part):
            trees.line(tmp_path / "out" / clip.path, 0)
        for file, content in layout.lists(sets[0].classes, *parts).items():
            (tmp_path / "out" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "out" / file).write_bytes(content)
        assert recognise(tmp_path / "out") == name
        for before, after in zip(sets, clips_of(replace(data, root=tmp_path / "out")), strict=True):
            assert (after.ids, after.labels) == (before.ids, before.labels)
            assert after.classes == before.classes


LISTED = [name for name in FILES if name != "folder"]


@pytest.mark.parametrize("name", LISTED)
def test_clips_that_lists_name_in_vain_are_reported(name: str, tmp_path: Path) -> None:
    data = make(name, tmp_path)
    train, test = clips_of(data)
    gone = test.ids[0]
    (tmp_path / gone).unlink()
    splits = data.open(0)
    assert (splits.train, splits.test.ids) == (train, test.ids[1:])
    assert [clip.reason for clip in splits.reported] == ["missing"]
    assert gone.startswith(splits.reported[0].id)
    with pytest.raises(DataError, match=r"^[^\n]*: 1 clips are missing, first [^\n]*$"):
        replace(data, strict=True).open(0)


def test_two_kinds_in_one_folder(tmp_path: Path) -> None:
    trees.ucf101(tmp_path)
    trees.table(tmp_path)
    with pytest.raises(DataError, match=r"like manifest and like ucf101; say which with --kind$"):
        recognise(tmp_path)
    assert type(data_set(tmp_path, "ucf101", {})).__name__ == "UCF101"
    assert type(data_set(tmp_path / "clips.csv", None, {})).__name__ == "Manifest"


def test_what_cannot_be_a_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        data_set(tmp_path / "nowhere", None, {})
    with pytest.raises(DataError, match=r"kind shapes is not in files; valid: folder, gsl, hmdb51"):
        data_set(tmp_path, "shapes", {})


def test_real_clips_are_recognised(shared_data: Path) -> None:
    data = data_set(
        shared_data / "arid6-mini", None, {"split": "04", "frames": 4, "size": [28, 40]}
    )
    splits = data.open(0)
    assert type(data).__name__ == "UCF101"
    assert splits.train.classes == ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")
    assert len(splits.train) + len(splits.test) == 246 and not splits.reported
    assert torch.equal(
        splits.train.read(0), video.read(data.root / splits.train.ids[0], Geometry(4, 28, 40))
    )
