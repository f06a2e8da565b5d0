"""HMDB-51 in its official layout."""

from pathlib import Path

import numpy as np
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ucf101 import NAMES
from trees import HMDB_CLASSES, HMDB_NAMES

from vidoor.data import hmdb51
from vidoor.data.hmdb51 import HMDB51, Layout
from vidoor.data.layout import Clip
from vidoor.errors import DataError

LISTS = "testTrainMulti_7030_splits"


def refused(data: HMDB51, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        data.open(0)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("split", ["1", "2", "3"])
@pytest.mark.parametrize(("home", "nested"), [("hmdb51_org", False), ("", False), ("v", True)])
def test_classes_and_splits_are_the_official_ones(
    tmp_path: Path, split: str, home: str, nested: bool
) -> None:
    trees.hmdb51(tmp_path, home=home, nested=nested)
    splits = HMDB51(root=tmp_path, split=split).open(0)
    uses = np.roll([1, 1, 1, 2, 0], int(split))
    for clips, use, count in ((splits.train, 1, 18), (splits.test, 2, 6)):
        assert clips.classes == HMDB_CLASSES == tuple(sorted(HMDB_CLASSES))
        wanted = [
            ("/".join(filter(None, (home, name, nested and name, file))), label)
            for label, name in enumerate(HMDB_CLASSES)
            for file, its in zip(HMDB_NAMES, uses, strict=True)
            if its == use
        ]
        assert list(zip(clips.ids, clips.labels, strict=True)) == wanted
        assert len(clips) == count and all((tmp_path / clip).is_file() for clip in clips.ids)
    assert splits.reported == ()


def test_the_folder_of_clips_may_be_the_root(tmp_path: Path) -> None:
    trees.hmdb51(tmp_path)
    data = HMDB51(root=tmp_path / "hmdb51_org")
    assert len(data.open(0).train) == 18
    assert data.layout() == Layout("", f"{LISTS}/", "1")
    assert data.identity() == HMDB51(root=tmp_path / "hmdb51_org").identity()


def test_classes_keep_their_numbers_in_half_a_download(tmp_path: Path) -> None:
    trees.hmdb51(tmp_path)
    for file in HMDB_NAMES[:3]:
        (tmp_path / "hmdb51_org" / "sit" / file).unlink()
    splits = HMDB51(root=tmp_path).open(0)
    assert splits.train.classes == HMDB_CLASSES
    assert {clip.reason for clip in splits.reported} == {"missing"}
    assert len(splits.reported) == 2  # the third is used for neither
    (tmp_path / "hmdb51_org" / "sit").rename(tmp_path / "sit")
    refused(HMDB51(root=tmp_path), r"empty class: no training clip of sit$")


def test_a_class_without_a_list(tmp_path: Path) -> None:
    trees.hmdb51(tmp_path)
    (tmp_path / LISTS / "sit_test_split1.txt").unlink()
    refused(HMDB51(root=tmp_path), r"^class sit has no list: no .*/sit_test_split1.txt; add it$")
    assert HMDB51(root=tmp_path, split="2").open(0).train.classes == HMDB_CLASSES


def test_what_is_no_such_data_set(tmp_path: Path) -> None:
    refused(HMDB51(root=tmp_path), r"unknown split '1'; valid: none")
    trees.hmdb51(tmp_path)
    refused(HMDB51(root=tmp_path, split="4"), r"unknown split '4'; valid: 1, 2, 3")
    for bad in ("a.avi", "a.avi 3", "a.avi 12", "../a.avi 1", "b/a.avi 1", "1", ".. 1"):
        (tmp_path / LISTS / "sit_test_split1.txt").write_text(f"b.avi 0\n\n{bad}\n")
        refused(
            HMDB51(root=tmp_path), r"sit_test_split1.txt, line 3: .* not of the form clip.avi N"
        )


def test_a_clip_for_training_and_for_testing(tmp_path: Path) -> None:
    trees.hmdb51(tmp_path)
    with (tmp_path / LISTS / "sit_test_split1.txt").open("a") as file:
        file.write(f"{HMDB_NAMES[1]} 2\n")
    splits = HMDB51(root=tmp_path).open(0)
    both = f"hmdb51_org/sit/{HMDB_NAMES[1]}"
    assert [(clip.id, clip.reason) for clip in splits.reported] == [(both, "in training and test")]
    assert both in splits.train.ids and both not in splits.test.ids
    refused(
        HMDB51(root=tmp_path, strict=True), r"1 clips are in training and test, first hmdb51_or"
    )


@settings(max_examples=60, deadline=None)
@given(
    classes=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    picks=st.lists(st.tuples(st.integers(0, 3), NAMES, st.booleans()), max_size=8),
)
def test_lists_are_parsed_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    classes: list[str],
    picks: list[tuple[int, str, bool]],
) -> None:
    root = tmp_path_factory.mktemp("set")
    clips = [
        (Clip(f"{classes[label % len(classes)]}/{name}", classes[label % len(classes)]), tested)
        for label, name, tested in picks
    ]
    train, test = ([clip for clip, tested in clips if tested is which] for which in (False, True))
    written = Layout(folder="").lists(classes, train, test)
    for name, content in written.items():
        (root / name).write_bytes(content)
    for name in classes:
        wanted = [(clip.path.split("/")[1], "1") for clip in train if clip.label == name]
        wanted += [(clip.path.split("/")[1], "2") for clip in test if clip.label == name]
        assert hmdb51.listed(root, f"{name}_test_split1.txt") == wanted
