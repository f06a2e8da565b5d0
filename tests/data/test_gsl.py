"""Greek Sign Language in its official layout."""

from pathlib import Path

import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ucf101 import NAMES
from trees import GLOSSES

from vidoor.data import gsl
from vidoor.data.gsl import GSL, Layout
from vidoor.data.layout import Clip
from vidoor.errors import DataError

LISTS = Path("GSL_split", "GSL_isolated")
HOME = "Greek_isolated/GSL_isol/"


def refused(data: GSL, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        data.open(0)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("test", "signer"), [("test", 3), ("dev", 2)])
def test_glosses_and_splits_are_the_official_ones(tmp_path: Path, test: str, signer: int) -> None:
    splits = GSL(root=trees.gsl(tmp_path), classes=0, test=test).open(0)
    for clips, whose in ((splits.train, 1), (splits.test, signer)):
        assert clips.classes == GLOSSES  # without "blank"
        assert clips.labels == tuple(range(len(GLOSSES)))
        assert clips.ids == tuple(
            f"{HOME}police1_signer{whose}_rep1_glosses/glosses{number:04d}.mp4"
            for number in range(len(GLOSSES))
        )
    assert splits.reported == ()


def test_clips_are_folders_of_frames(tmp_path: Path) -> None:
    trees.gsl(tmp_path, trees.stills, suffix="")
    train = GSL(root=tmp_path, classes=0, frames=5, size=(24, 30)).open(0).train
    assert train.ids[2] == f"{HOME}police1_signer1_rep1_glosses/glosses0002"
    assert train.read(2).shape == (5, 3, 24, 30)
    error = (train.read(2).float() - trees.noise(12).float()).abs().mean()
    assert error < (train.read(3).float() - trees.noise(12).float()).abs().mean() / 1.5


def test_a_subset_is_drawn_from_its_own_seed(tmp_path: Path) -> None:
    trees.gsl(tmp_path)
    drawn = {
        seed: [
            GSL(root=tmp_path, classes=n, subset_seed=seed).open(9).train.classes for n in (2, 4)
        ]
        for seed in range(8)
    }
    assert len({classes for pair in drawn.values() for classes in pair}) > 8
    for few, more in drawn.values():
        assert (len(few), len(more)) == (2, 4) and set(few) < set(more)
        assert list(more) == [gloss for gloss in GLOSSES if gloss in more]
    clips = GSL(root=tmp_path, classes=2).open(0)
    assert len(clips.train) == len(clips.test) == 2
    assert clips.train.ids == GSL(root=tmp_path, classes=2).open(1).train.ids
    assert not GSL(root=tmp_path).seeded


def test_without_a_list_of_glosses(tmp_path: Path) -> None:
    trees.gsl(tmp_path)
    (tmp_path / LISTS / "iso_classes.csv").unlink()
    assert GSL(root=tmp_path, classes=0).open(0).train.classes == tuple(sorted(GLOSSES))


def test_missing_clips_of_other_glosses_do_not_matter(tmp_path: Path) -> None:
    trees.gsl(tmp_path)
    (tmp_path / HOME / "police1_signer3_rep1_glosses" / "glosses0003.mp4").unlink()
    found = {n: GSL(root=tmp_path, classes=n).open(0) for n in range(2, 7)}
    for splits in found.values():
        assert len(splits.reported) == (GLOSSES[3] in splits.train.classes)
    assert [clip.reason for clip in found[6].reported] == ["missing"]


def test_what_is_no_such_data_set(tmp_path: Path) -> None:
    refused(GSL(root=tmp_path), r"no train_greek_iso.csv in it or in its folders; put the lists")
    trees.gsl(tmp_path)
    refused(GSL(root=tmp_path), r": 6 glosses, and classes = 50; give at most that many, or 0")
    for bad in ("police1/glosses0000", "a/b|", "|ΓΕΙΑ", "../b|ΓΕΙΑ", "/a/b|ΓΕΙΑ"):
        (tmp_path / LISTS / "test_greek_iso.csv").write_text(f"a/b|ΓΕΙΑ\n{bad}\n")
        refused(
            GSL(root=tmp_path), r"test_greek_iso.csv, line 2: .* not of the form folder/clip\|G"
        )
    (tmp_path / LISTS / "test_greek_iso.csv").write_text("a/b|ΓΙΕΑ\n")
    refused(GSL(root=tmp_path), r"line 1: gloss 'ΓΙΕΑ' is not in iso_classes.csv; add it there")
    (tmp_path / LISTS / "iso_classes.csv").write_text("ΓΕΙΑ\nΓΕΙΑ\n")
    refused(GSL(root=tmp_path), r"iso_classes.csv: gloss ΓΕΙΑ is there twice; keep one")
    for classes in (-1, 1):
        with pytest.raises(ValueError, match=f"gsl: classes is {classes}; give 2 or more, or 0"):
            GSL(root=tmp_path, classes=classes)


def test_a_clip_with_two_glosses(tmp_path: Path) -> None:
    trees.gsl(tmp_path)
    with (tmp_path / LISTS / "train_greek_iso.csv").open("a") as file:
        file.write("police1_signer1_rep1_glosses/glosses0001|ΓΕΙΑ\n")
    refused(GSL(root=tmp_path, classes=0), r"glosses0001.mp4 is of class ΑΔΕΙΑ and of class ΓΕΙΑ")


GLOSS = NAMES.filter(lambda gloss: "|" not in gloss and gloss != "blank")


@settings(max_examples=60, deadline=None)
@given(
    glosses=st.lists(GLOSS, min_size=1, max_size=4, unique=True),
    picks=st.lists(st.tuples(st.integers(0, 3), NAMES), max_size=8),
)
def test_lists_are_parsed_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, glosses: list[str], picks: list[tuple[int, str]]
) -> None:
    root = tmp_path_factory.mktemp("set")
    clips = [Clip(f"s 1/{name}", glosses[label % len(glosses)]) for label, name in picks]
    for name, content in Layout().lists(glosses, clips, []).items():
        (root / name).write_bytes(content)
    assert gsl.parsed(root, "train_greek_iso.csv", glosses) == clips
    assert gsl.parsed(root, "test_greek_iso.csv", glosses) == []
