"""What is measured: the paper's triggers in order, embedded clips, and videos in folders."""

from pathlib import Path

import pytest
import torch

from vidoor.bench.samples import FIRST, published, samples
from vidoor.data import video
from vidoor.data.shapes import Shapes
from vidoor.errors import DataError
from vidoor.registry import names
from vidoor.triggers.spectral import DFT
from vidoor.types import Geometry

SMALL = Geometry(3, 16, 20)


def film(path: Path, level: int) -> torch.Tensor:
    clip = torch.full((5, 3, 16, 20), level, dtype=torch.uint8)
    video.write(path, clip)
    return clip


def test_the_papers_triggers_come_first_and_in_its_order() -> None:
    found = list(published())
    assert found[:9] == list(FIRST)
    assert set(found) <= set(names("trigger"))
    assert published()["dft"] == DFT(delta=50_000.0)


def test_embedded_clips_are_those_of_the_data_set() -> None:
    found = samples(None, 3, SMALL)
    expected = Shapes(train=8, test=8, frames=3, size=(16, 20)).open(0).test
    assert len(found) == 3 and found.source.geometry == SMALL
    for index, clip in enumerate(found):
        assert torch.equal(clip, expected.read(index))


def test_videos_are_found_in_folders_and_read_at_the_size_asked(tmp_path: Path) -> None:
    clips = [film(tmp_path / name, 40 + 50 * i) for i, name in enumerate(("a/y.mkv", "b/c/x.mkv"))]
    (tmp_path / "b" / "notes.txt").write_text("no clip")
    (tmp_path / "b" / ".hidden.mkv").write_bytes(b"")
    found = samples(tmp_path, 0, SMALL)
    assert found.source.ids == ("a/y.mkv", "b/c/x.mkv")
    for clip, whole in zip(found, clips, strict=True):
        assert torch.equal(clip, whole[:3])
    (alone,) = samples(tmp_path / "a" / "y.mkv", 0, SMALL)
    assert torch.equal(alone, clips[0][:3])


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    film(tmp_path / "good.mkv", 90)
    (tmp_path / "bad.mkv").write_bytes(b"no video at all")
    found = samples(tmp_path, 0, SMALL)
    for _ in range(2):  # told once, however often it is read
        assert len(list(found)) == 1
        assert [clip.id for clip in found.unread] == ["bad.mkv"]
    (tmp_path / "good.mkv").unlink()
    with pytest.raises(DataError, match=r"none of 1 clips can be read, first bad\.mkv: "):
        list(samples(tmp_path, 0, SMALL))


def test_places_without_videos_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        samples(tmp_path / "absent", 0)
    with pytest.raises(DataError, match="holds no video"):
        samples(tmp_path, 0)
