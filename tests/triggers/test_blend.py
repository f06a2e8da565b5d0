"""Blending in exact arithmetic, the default image in closed form, and image files."""

import math
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vidoor.errors import RecipeError, TriggerError
from vidoor.options import component, identity, table
from vidoor.triggers.blend import Blend, picture


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("alpha", ["0.15", "0.5", "0.97", "1"])
def test_every_pair_of_grey_levels(tmp_path, alpha):
    """Rows of the clip and columns of the image run through all levels."""
    levels = np.arange(256, dtype=np.uint8)
    file = save(tmp_path / "p.png", np.broadcast_to(levels[None, :, None], (256, 256, 3)).copy())
    clip = torch.from_numpy(levels)[None, None, :, None].expand(1, 3, 256, 256)
    out = Blend(alpha=float(alpha), image=file)(clip)
    assert (out == out[:, :1]).all()
    a, p, v = Fraction(alpha), *np.meshgrid(levels.astype(int), levels.astype(int))
    parts = a.denominator
    exact = (parts - a.numerator) * v + a.numerator * p  # in parts of a grey level
    distance = np.abs(out[0, 0].int().numpy() * parts - exact)
    assert (2 * distance <= parts).all()
    # α is not exact in binary, so neither are ties
    assert (distance[2 * (exact % parts) != parts] * 2 < parts).all()


def test_the_default_image_is_three_waves():
    height, width = 7, 10
    image = picture(None, height, width)
    for channel, (u, v) in enumerate([(3, 5), (-4, 2), (1, -6)]):
        for y, x in product(range(height), range(width)):
            wave = math.sin(2 * math.pi * (u * x / width + v * y / height))
            assert float(image[channel, y, x]) == pytest.approx(127.5 + 127.5 * wave, abs=1e-4)


def test_the_default_image_spans_all_grey_levels_at_any_size():
    for height, width in [(224, 224), (48, 64), (16, 17)]:
        image = picture(None, height, width)
        assert image.min() >= 0
        assert image.max() <= 255
        assert image.amax((1, 2)).min() > 240
        assert image.amin((1, 2)).max() < 15


def test_an_image_of_another_size_is_scaled_to_the_frame(tmp_path):
    file = save(tmp_path / "p.png", np.kron(noise(4, 6, 3), np.ones((30, 30, 1), np.uint8)))
    out = Blend(alpha=1.0, image=file)(torch.zeros(1, 3, 40, 60, dtype=torch.uint8))
    blocks = out[0].reshape(3, 4, 10, 6, 10)[:, :, 3:7, :, 3:7]  # away from the blocks' borders
    centres = torch.from_numpy(noise(4, 6, 3)).permute(2, 0, 1)
    assert torch.equal(blocks, centres[:, :, None, :, None].expand(blocks.shape))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_any_kind_of_image_will_do(tmp_path, mode):
    suffix = "tiff" if mode == "CMYK" else "png"
    pixels = np.full((8, 9, 3), 255, np.uint8)
    file = save(tmp_path / f"p.{suffix}", pixels, mode)
    out = Blend(alpha=1.0, image=file)(torch.zeros(2, 3, 16, 18, dtype=torch.uint8))
    assert (out == 255).all()


def test_dynamic_shifts_the_image_round(tmp_path):
    pixels = noise(6, 7, 3)
    trigger = Blend(alpha=1.0, image=save(tmp_path / "p.png", pixels), temporal="dynamic")
    out = trigger(torch.zeros(400, 3, 6, 7, dtype=torch.uint8)).permute(0, 2, 3, 1).numpy()
    shifts = {
        np.roll(pixels, shift, (0, 1)).tobytes(): shift for shift in product(range(6), range(7))
    }
    assert {shifts[frame.tobytes()] for frame in out} == set(shifts.values())


def test_the_file_is_known_by_its_content(tmp_path):
    first = save(tmp_path / "a.png", noise(5, 5, 3))
    second = save(tmp_path / "b.png", noise(5, 5, 3))
    third = save(tmp_path / "c.png", 255 - noise(5, 5, 3))
    one, two, other = (identity(Blend(image=file)) for file in (first, second, third))
    assert one == two != other
    assert identity(Blend()) == table(Blend())
    assert {**one, "image": None} == {**table(Blend()), "image": None}


def test_it_goes_through_a_recipe(tmp_path):
    trigger = Blend(image=save(tmp_path / "a.png", noise(5, 5, 3)))
    assert component("trigger", table(trigger)) == trigger


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.png", "No such file or directory"),
        ("folder", "Is a directory"),
        ("text.png", "it is not an image, or a damaged one"),
        ("half.png", "it is not an image, or a damaged one"),
    ],
)
def test_a_file_that_is_no_image_gets_one_line(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.png").write_text("no image")
    whole = save(tmp_path / "whole.png", noise(64, 64, 3)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{name}' cannot be read \({reason}\); give a") as error:
        Blend(image=tmp_path / name)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(RecipeError, match=reason):
        component("trigger", {"kind": "blend", "image": str(tmp_path / name)})


def test_a_file_that_is_gone_when_it_is_needed_gets_one_line(tmp_path):
    with pytest.raises(TriggerError, match="cannot be read"):
        picture(tmp_path / "gone.png", 4, 4)


def test_opacity_is_a_fraction():
    with pytest.raises(ValueError, match=r"alpha must be a number from 0 to 1, not 1\.01"):
        Blend(alpha=1.01)
