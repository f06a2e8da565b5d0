"""Folders of frames are clips too. Pillow writes them here, and PNG keeps every byte."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from videos import noise, scene

from vidoor.data import _container, video
from vidoor.errors import ClipError
from vidoor.types import Geometry


def save(folder: Path, clip: Tensor, name: str = "{}.png", first: int = 1, **how: Any) -> Path:
    """The frames of a clip as pictures, numbered without leading zeros."""
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(clip.permute(0, 2, 3, 1).numpy(), start=first):
        Image.fromarray(frame).save(folder / name.format(number), **how)
    return folder


def reason(folder: Path, **how: Any) -> str:
    with pytest.raises(ClipError) as caught:
        video.read(folder, **how)
    assert caught.value.clip == str(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.reason.startswith(video.REASONS)
    return caught.value.reason


def test_frames_come_in_natural_order(tmp_path: Path) -> None:
    clip = noise(25, 3, 12, 16)
    save(tmp_path, clip)
    assert video.find_frames(tmp_path)[:3] == ["1.png", "2.png", "3.png"]
    assert torch.equal(video.read(tmp_path), clip)
    assert torch.equal(video.read(str(tmp_path), Geometry(4, 12, 16)), clip[[0, 8, 16, 24]])


def test_folders_are_scaled_and_padded_as_files_are(tmp_path: Path) -> None:
    clip = scene(5, 48, 64)
    save(tmp_path / "frames", clip)
    video.write(tmp_path / "a.mkv", clip)
    for geometry in (Geometry(8, 20, 30), Geometry(3, 48, 48), None):
        ours = video.read(tmp_path / "frames", geometry)
        assert torch.equal(ours, video.read(tmp_path / "a.mkv", geometry))


@pytest.mark.parametrize("name", ["{}.jpg", "{}.JPEG", "frame {:03}.Jpg"])
def test_jpeg(tmp_path: Path, name: str) -> None:
    clip = scene(12)
    save(tmp_path, clip, name, quality=95, subsampling=0)
    found = video.read(tmp_path)
    assert found.shape == clip.shape
    assert (found.float() - clip.float()).abs().mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "RGB"])
def test_every_kind_of_picture_is_rgb(tmp_path: Path, mode: str) -> None:
    """An alpha channel and a palette's transparency are dropped."""
    picture = Image.fromarray(noise(12, 16, 3).numpy()).convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(0)
    how = {"transparency": bytes(range(256))} if mode == "P" else {}
    picture.save(tmp_path / "1.png", **how)
    expected = picture.convert("RGBA" if mode == "P" else mode).convert("RGB")
    clip = video.read(tmp_path)
    assert torch.equal(clip[0], torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_what_is_no_frame_is_passed_by(tmp_path: Path) -> None:
    save(tmp_path, clip := noise(3, 3, 12, 16))
    (tmp_path / "notes.txt").write_text("taken on a Monday")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "4.png").mkdir()
    assert video.find_frames(tmp_path) == ["1.png", "2.png", "3.png"]
    assert torch.equal(video.read(tmp_path), clip)


def test_which_folders_are_clips(tmp_path: Path) -> None:
    save(tmp_path / "clip", noise(1, 3, 12, 16))
    video.write(tmp_path / "a.mkv", noise(1, 3, 12, 16))
    assert video.is_frames(tmp_path / "clip")
    assert not video.is_frames(tmp_path)
    assert not video.is_frames(tmp_path / "a.mkv")
    assert not video.is_frames(tmp_path / "none")
    assert video.find(tmp_path) == ["a.mkv"], "files alone"


def test_refusals(tmp_path: Path) -> None:
    assert reason(tmp_path) == "no frames: a folder without .jpg, .jpeg or .png files"
    save(tmp_path, noise(3, 3, 12, 16))
    assert reason(tmp_path, least=4) == "too short: frames: 3, asked for: 4 or more"
    save(tmp_path, noise(1, 3, 12, 20), first=4)
    sizes = "4.png is 20×12, 1.png is 16×12"
    assert reason(tmp_path) == f"unreadable: frames of several sizes: {sizes}"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.9])
def test_a_broken_frame(tmp_path: Path, suffix: str, part: float) -> None:
    """Its header counts even where its pixels are not asked for."""
    save(tmp_path, noise(5, 3, 48, 64), "{}." + suffix)
    broken = tmp_path / f"3.{suffix}"
    broken.write_bytes(broken.read_bytes()[: int(broken.stat().st_size * part)])
    assert reason(tmp_path).startswith(f"damaged: 3.{suffix}")
    if not part:
        assert reason(tmp_path, geometry=Geometry(2, 8, 8)).startswith(f"damaged: 3.{suffix}")


def test_a_frame_that_is_no_picture(tmp_path: Path) -> None:
    save(tmp_path, noise(2, 3, 12, 16))
    (tmp_path / "3.jpg").write_text("not a picture")
    assert reason(tmp_path) == "damaged: 3.jpg is neither JPEG nor PNG"


def test_sixteen_bits_are_not_guessed_at(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "1.png")
    assert reason(tmp_path) == "unreadable: 1.png has more than 8 bits a channel"


def test_large_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our own limit, and by Pillow's where that is stricter: as a warning, then as an error."""
    Image.new("L", (5000, 4000)).save(tmp_path / "1.png")
    size = "too large: pictures of 5000×4000, at most 16.8 million pixels are read"
    assert reason(tmp_path) == size
    for limit in (15_000_000, 5_000_000):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert reason(tmp_path) == "too large: 1.png has more pixels than PIL reads"


def test_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, noise(5, 3, 4, 4))
    monkeypatch.setattr(_container, "MOST_FRAMES", 4)
    assert reason(tmp_path) == "too large: 5 frames of 4×4 at once"
    assert len(video.read(tmp_path, Geometry(2, 4, 4))) == 2
    monkeypatch.setattr(_container, "MOST_PICTURES", 4)
    assert reason(tmp_path, geometry=Geometry(2, 4, 4)) == (
        "too large: 5 pictures or more, at most 4 are read"
    )
