"""UCF-101 in its official layout: its order, its numbers, its splits."""

from pathlib import Path

import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import UCF_CLASSES, ucf_clip

from vidoor.data import ucf101
from vidoor.data.layout import Clip
from vidoor.data.ucf101 import UCF101, Layout
from vidoor.errors import DataError

LISTS = "ucfTrainTestlist"


def refused(data: UCF101, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        data.open(0)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("split", ["01", "02", "03"])
@pytest.mark.parametrize("home", ["UCF-101", ""])
def test_classes_and_splits_are_the_official_ones(tmp_path: Path, split: str, home: str) -> None:
    splits = UCF101(root=trees.ucf101(tmp_path, home=home), split=split).open(0)
    start = f"{home}/" if home else ""
    expected = [
        [
            (start + ucf_clip(name, group, clip), label)
            for label, name in enumerate(UCF_CLASSES)
            for group in (1, 2, 3)
            for clip in (1, 2)
            if (group == int(split)) is tested
        ]
        for tested in (False, True)
    ]
    for clips, (wanted, count) in zip(
        (splits.train, splits.test), zip(expected, (12, 6), strict=True), strict=True
    ):
        assert clips.classes == UCF_CLASSES
        assert list(zip(clips.ids, clips.labels, strict=True)) == wanted
        assert len(clips) == count
        assert all((tmp_path / clip).is_file() for clip in clips.ids)
    assert splits.reported == ()


def test_the_folder_of_clips_may_be_the_root(tmp_path: Path) -> None:
    trees.ucf101(tmp_path)
    splits = UCF101(root=tmp_path / "UCF-101").open(0)
    assert (len(splits.train), len(splits.test)) == (12, 6)
    assert splits.train.ids[0] == "YoYo/v_YoYo_g02_c01.avi"
    assert UCF101(root=tmp_path / "UCF-101").layout() == Layout("", f"{LISTS}/", "01")


def test_a_class_spelt_in_two_ways(tmp_path: Path) -> None:
    train = UCF101(root=trees.ucf101(tmp_path)).open(0).train
    spelt = "UCF-101/HandstandPushups/v_HandStandPushups_g02_c01.avi"
    assert train.labels[train.ids.index(spelt)] == 1


def test_missing_clips_are_reported_and_counted(tmp_path: Path) -> None:
    trees.ucf101(tmp_path)
    for group in (1, 2):
        (tmp_path / "UCF-101" / ucf_clip("YoYo", group, 1)).unlink()
    splits = UCF101(root=tmp_path).open(0)
    assert (len(splits.train), len(splits.test)) == (11, 5)
    assert [(clip.id, clip.reason) for clip in splits.reported] == [
        ("UCF-101/YoYo/v_YoYo_g02_c01.avi", "missing"),
        ("UCF-101/YoYo/v_YoYo_g01_c01.avi", "missing"),
    ]
    refused(
        UCF101(root=tmp_path, strict=True),
        r"trainlist01.txt: 1 clips are missing, first UCF-101/YoYo/v_YoYo_g02_c01.avi$",
    )


def test_frames_take_the_place_of_a_clip(tmp_path: Path) -> None:
    trees.ucf101(tmp_path)
    clip = tmp_path / "UCF-101" / ucf_clip("YoYo", 2, 1)
    clip.unlink()
    trees.stills(clip.with_suffix(""), 0)
    splits = UCF101(root=tmp_path, frames=5, size=(24, 30)).open(0)
    assert splits.train.ids[0] == "UCF-101/YoYo/v_YoYo_g02_c01" and not splits.reported
    assert splits.train.read(0).shape == (5, 3, 24, 30)


def test_what_is_no_such_data_set(tmp_path: Path) -> None:
    refused(UCF101(root=tmp_path / "nowhere"), r"no folder .*; set data.root")
    refused(UCF101(root=tmp_path), r"no classInd.txt in it or in ucfTrainTestlist/; put")
    trees.ucf101(tmp_path)
    refused(UCF101(root=tmp_path, split="1"), r"unknown split '1'; valid: 01, 02, 03; did you mean")
    (tmp_path / LISTS / "testlist01.txt").write_text("YoYo/a.avi\nYoYo\n")
    refused(UCF101(root=tmp_path), r"testlist01.txt, line 2: 'YoYo' is not of the form Class/clip")
    for name in UCF_CLASSES:
        (tmp_path / "UCF-101" / name).rename(tmp_path / "UCF-101" / f"{name}_old")
    refused(UCF101(root=tmp_path, split="02"), r"trainlist02.txt: all 12 clips are missing, first")


NAMES = st.text(
    st.characters(exclude_characters="/\\", exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")),
    min_size=1,
    max_size=8,
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(
    classes=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    home=st.sampled_from(["", "UCF-101/"]),
    picks=st.lists(st.tuples(st.integers(0, 3), NAMES, st.booleans()), max_size=8),
)
def test_lists_are_parsed_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    classes: list[str],
    home: str,
    picks: list[tuple[int, str, bool]],
) -> None:
    root = tmp_path_factory.mktemp("set")
    parts: dict[bool, list[Clip]] = {True: [], False: []}
    for label, name, tested in picks:
        label_name = classes[label % len(classes)]
        parts[tested].append(Clip(f"{home}{label_name}/{name}.avi", label_name))
    for name, content in Layout(home).lists(classes, parts[False], parts[True]).items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    assert ucf101.numbered(root, ucf101.PLACES)[1] == tuple(classes)
    for tested, name in ((False, "trainlist01.txt"), (True, "testlist01.txt")):
        assert ucf101.listed(root, f"{LISTS}/{name}", home, classes) == parts[tested]
