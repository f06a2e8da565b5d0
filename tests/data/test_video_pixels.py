"""What pictures of every kind become: RGB, 8 bits, the right way up.

Exact wherever arithmetic says what is right: lossless codecs of RGB, grey and palette pictures.
"""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from videos import decode, encode, noise, scene

from vidoor.data import video
from vidoor.types import Geometry


def stored(path: Path, pictures: list[np.ndarray], pixels: str, encoder: str = "ffv1") -> Path:
    """A lossless file of pictures in the very format that they are given in."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for index, array in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(array, format=pixels)
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def random(*shape: int, high: int = 256, dtype: type = np.uint8) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, high, (4, *shape), dtype=dtype))


def test_grey_is_repeated(tmp_path: Path) -> None:
    grey = random(24, 32)
    clip = video.read(stored(tmp_path / "a.mkv", grey, "gray"))
    assert torch.equal(clip, torch.from_numpy(np.stack(grey))[:, None].repeat(1, 3, 1, 1))


@pytest.mark.parametrize(("pixels", "shift"), [("gray10le", 2), ("gray16le", 8)])
def test_deep_grey_keeps_its_upper_bits(tmp_path: Path, pixels: str, shift: int) -> None:
    deep = random(24, 32, high=2 ** (8 + shift), dtype=np.uint16)
    clip = video.read(stored(tmp_path / "a.mkv", deep, pixels))
    expected = torch.from_numpy((np.stack(deep) >> shift).astype(np.int32))[:, None]
    assert ((clip.int() - expected).abs() <= 1).all()


@pytest.mark.parametrize("encoder", ["ffv1", "libx264", "libx265"])
def test_ten_bits(tmp_path: Path, encoder: str) -> None:
    """Of 4:2:0 luma and chroma, in lossless files and in those of phones."""
    clip = scene(8)
    options = {} if encoder == "ffv1" else {"crf": "5", "preset": "fast"}
    if encoder == "libx265":
        options["x265-params"] = "log-level=none"
    path = encode(tmp_path / "a.mkv", clip, encoder, "yuv420p10le", **options)
    found = video.read(path)
    assert found.dtype == torch.uint8 and found.shape == clip.shape
    assert (found.float() - clip.float()).abs().mean() < 3


def test_alpha_is_dropped(tmp_path: Path) -> None:
    """Colours under full transparency show, as they do to the usual loaders."""
    rgba = random(24, 32, 4)
    for array in rgba:
        array[:12, :, 3] = 0
    bgra = [np.ascontiguousarray(array[..., [2, 1, 0, 3]]) for array in rgba]
    clip = video.read(stored(tmp_path / "a.mkv", bgra, "bgra"))
    assert torch.equal(clip, torch.from_numpy(np.stack(rgba))[..., :3].permute(0, 3, 1, 2))


def gif(path: Path, frames: int = 12) -> tuple[Path, Tensor]:
    """Written by Pillow, with at most 256 colours, so that it is lossless; times vary."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (200, 3), dtype=np.uint8)
    pixels = colours[rng.integers(0, 200, (frames, 24, 32))]
    first, *rest = (Image.fromarray(picture) for picture in pixels)
    first.save(
        path, save_all=True, append_images=rest, duration=[40 + 20 * i for i in range(frames)]
    )
    return path, torch.from_numpy(pixels).permute(0, 3, 1, 2)


def test_an_animated_gif(tmp_path: Path) -> None:
    path, pixels = gif(tmp_path / "a.gif")
    assert torch.equal(video.read(path), pixels)
    assert torch.equal(video.read(path, Geometry(4, 24, 32)), pixels[[0, 3, 7, 11]])
    assert 1 < video.about(path).rate < 25
    assert video.find(tmp_path) == ["a.gif"]


def test_a_gif_that_only_stores_what_changes(tmp_path: Path) -> None:
    """A small square moves over a still picture; Pillow, which reads it too, agrees."""
    pixels = np.zeros((9, 24, 32, 3), np.uint8)
    pixels[:, ::2] = (0, 90, 0)
    for index in range(9):
        pixels[index, 4:8, 3 * index : 3 * index + 4] = (255, 0, 40)
    first, *rest = (Image.fromarray(picture) for picture in pixels)
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, optimize=True)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 9
    clip = video.read(tmp_path / "a.gif")
    assert torch.equal(clip, torch.from_numpy(pixels).permute(0, 3, 1, 2))


@pytest.mark.parametrize("encoder", ["libvpx", "libvpx-vp9"])
def test_webm(tmp_path: Path, encoder: str) -> None:
    path = encode(tmp_path / "a.webm", scene(40), encoder, deadline="good", **{"cpu-used": "5"})
    every = decode(path)
    assert len(every) == 40
    assert torch.equal(video.read(path), every)
    assert torch.equal(video.read(path, Geometry(5, 48, 64)), every[[0, 9, 19, 29, 39]])


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p", "yuv420p", "yuv410p"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (47, 63)])
def test_odd_sizes(tmp_path: Path, pixels: str, size: tuple[int, int]) -> None:
    path = encode(tmp_path / "a.mkv", noise(3, 3, *size), "ffv1", pixels, level="3", slices="1")
    every = decode(path)
    assert torch.equal(video.read(path), every)
    assert video.read(path, Geometry(2, 16, 16)).shape == (2, 3, 16, 16)


def test_a_variable_frame_rate_is_sampled_by_number(tmp_path: Path) -> None:
    """Frame i at i² ticks: the middle one by number, not by time."""
    path = encode(tmp_path / "a.mkv", scene(31), "ffv1", "bgr0", times=(i * i for i in range(31)))
    assert torch.equal(video.read(path, Geometry(3, 48, 64)), decode(path)[[0, 15, 30]])
